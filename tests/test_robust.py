"""Broken targets and odd surroundings: the report is whole, names the fault, leaves no trace."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from command import FORMATS, Ran, doctor, one_line, stranger
from targets import BOMBS, make_venv, put_package, put_record, site_packages

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX links and layouts")
ASSUMED = ("--route", "diffusers", "--format", "json", "--assume", "RTX 5070,driver=580")


def listing(folder: Path) -> dict[str, int]:
    """Every path below a folder, with its time of change."""
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


# --- torch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOMBS)
def test_nothing_of_the_target_is_executed(tmp_path: Path, kind: str) -> None:
    env = tmp_path / "env"
    python = make_venv(env)
    marker = tmp_path / "was-imported"
    leave_mark = f"open({str(marker)!r}, 'w').close()"
    body = f"{leave_mark}\n{BOMBS[kind]}\n"
    site = site_packages(env)
    for name in ("torch", "torchvision", "torchaudio"):
        put_package(site, name, "2.6.0+cu126", "12.6", body)
    (site / "torch" / "version.py").write_text(
        (site / "torch" / "version.py").read_text() + body, encoding="utf-8"
    )
    (site / "bomb.pth").write_text(f"import os; {leave_mark}\n")
    (site / "sitecustomize.py").write_text(body)
    before = listing(tmp_path)
    ran = doctor("--python", python, *ASSUMED)
    assert not marker.exists()
    assert listing(tmp_path) == before
    assert (ran.code, ran.err) == (1, "") and ran.whole
    assert ran.document["first"] == "torch-lacks-arch:1"


@pytest.mark.parametrize(("kind", "word"), [("record", "its files are not"),
                                            ("package", "its record is not")])  # fmt: skip
def test_half_removed_torch(tmp_path: Path, kind: str, word: str) -> None:
    python = make_venv(tmp_path / "env")
    site = site_packages(tmp_path / "env")
    if kind == "record":
        put_record(site, "torch", "2.14.1")
    else:
        put_package(site, "torch", "2.14.1+cu130", "13.0", record=False)
    ran = doctor("--python", python, *ASSUMED)
    found = ran.finding("torch-broken")
    assert ran.code == 1 and ran.whole
    assert found["verdict"] == "fail" and word in found["title"]
    assert found["fixes"][0]["id"] == "install-torch"


def test_no_torch_and_no_pip(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "env")
    ran = doctor("--python", python, *ASSUMED)
    assert ran.code == 1 and ran.whole
    assert ran.document["facts"]["interpreter"]["known"]["has_pip"] is False
    found = ran.finding("torch-missing")
    assert found["verdict"] == "fail" and found["fixes"]
    assert ran.document["first"] == "torch-missing:1"


@pytest.mark.parametrize(
    "version",
    ["", "\0" * 100, "__version__ = ", "(" * 5000, "__version__ = 2\ncuda = 13\n", "é" * 100_000,
     "__version__ = '" + "9" * 100_000 + "'"],
    ids=["empty", "zeroes", "cut-short", "nested", "numbers", "letters", "endless"],
)  # fmt: skip
def test_a_damaged_version_file(tmp_path: Path, version: str) -> None:
    python = make_venv(tmp_path / "env")
    site = site_packages(tmp_path / "env")
    package = put_package(site, "torch", "2.14.1", "13.0", record=False)
    (package / "version.py").write_text(version, encoding="utf-8")
    ran = doctor("--python", python, *ASSUMED)
    assert ran.code in (1, 3) and ran.err == "" and ran.whole


def test_libraries_that_are_none(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "env")
    lib = put_package(site_packages(tmp_path / "env"), "torch", "2.14.1+cu130", "13.0") / "lib"
    lib.mkdir()
    for content in (b"", b"\x7fELF", b"\x7fELF\x02\x01" + b"\xff" * 4000, b"MZ" + b"\xff" * 4000):
        for name in ("libtorch_python.so", "libtorch_cuda.so"):
            (lib / name).write_bytes(content)
        ran = doctor("--python", python, *ASSUMED)
        assert ran.code == 1 and ran.err == "" and ran.whole
        assert "is not a library" in ran.finding("torch-broken")["detail"]


# --- the interpreter -------------------------------------------------------------------------


def unusable(ran: Ran, word: str) -> bool:
    """Whether the report says that the target's Python is not usable, for this reason."""
    found = ran.finding("python-broken")
    rest = ran.verdicts()["torch-missing"], ran.verdicts()["torch-lacks-arch"]
    return (
        (ran.code, found["verdict"]) == (1, "fail")
        and word in found["detail"]
        and rest == ("skipped", "skipped")
        and ran.whole
    )


@posix
def test_a_broken_link(tmp_path: Path) -> None:
    dangling = tmp_path / "env" / "bin" / "python"
    dangling.parent.mkdir(parents=True)
    dangling.symlink_to(tmp_path / "gone" / "python3")
    assert unusable(doctor("--python", dangling, *ASSUMED), "does not exist")
    assert unusable(doctor("--python", tmp_path / "env", *ASSUMED), "does not exist")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    ran = doctor("--python", loop, *ASSUMED)
    assert ran.code == 2 and one_line(ran.err) if ran.code == 2 else unusable(ran, "")


def test_an_environment_whose_python_is_gone(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "env")
    settings = tmp_path / "env" / "pyvenv.cfg"
    lines = settings.read_text().splitlines()
    gone = [f"home = {tmp_path / 'gone'}" if ln.startswith("home") else ln for ln in lines]
    settings.write_text("\n".join(gone))
    assert unusable(doctor("--python", python, *ASSUMED), "does not exist any more")


def test_files_and_folders_that_are_no_python(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    text, empty, script = (tmp_path / name for name in ("python.txt", "empty", "python"))
    text.write_text("hello")
    empty.write_text("")
    script.write_text("#!/bin/sh\nexec python3\n")
    script.chmod(0o755)
    assert unusable(doctor("--python", folder, *ASSUMED), "folder")
    assert unusable(doctor("--python", text, *ASSUMED), "not a program")
    assert unusable(doctor("--python", empty, *ASSUMED), "empty")
    assert unusable(doctor("--python", script, *ASSUMED), "script")


@posix
def test_python_2_is_named(tmp_path: Path) -> None:
    root = tmp_path / "old"
    (root / "bin").mkdir(parents=True)
    (root / "lib" / "python2.7" / "site-packages").mkdir(parents=True)
    python = root / "bin" / "python2.7"
    python.write_bytes(b"\x7fELF" + bytes(60))
    python.chmod(0o755)
    ran = doctor("--python", python, *ASSUMED)
    assert ran.code == 1 and ran.whole
    assert ran.verdicts()["python-too-old"] == "fail"
    assert ran.finding("torch-missing")["because"] == "python-too-old:1"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev and /proc")
@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/proc/self/mem", "/", "/proc", "/dev"])
def test_places_that_are_no_target(path: str) -> None:
    for kind in FORMATS:
        ran = doctor("--python", path, "--format", kind)
        assert ran.code == 1 and ran.err == ""


def test_a_target_that_does_not_exist_is_wrong_usage(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path / ("x" * 5000), Path("no-such-python-anywhere")):
        ran = doctor("--python", path)
        assert ran.code == 2 and one_line(ran.err) and ran.out == ""


def test_an_environment_folder_and_its_python_are_the_same_target(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "env")
    by_file = doctor("--python", python, *ASSUMED)
    by_folder = doctor("--python", tmp_path / "env", *ASSUMED)
    relative = doctor("--python", "env", *ASSUMED, cwd=tmp_path)
    active = doctor(*ASSUMED, env={"VIRTUAL_ENV": str(tmp_path / "env")})
    sites = [r.document["facts"]["interpreter"]["known"]["site_packages"]
             for r in (by_file, by_folder, relative, active)]  # fmt: skip
    assert sites[0] and sites == [sites[0]] * 4
    assert active.document["target"]["python_from"] == "VIRTUAL_ENV"


@pytest.mark.parametrize("name", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_that_is_gone_is_told(tmp_path: Path, name: str) -> None:
    ran = doctor("--format", "json", env={name: str(tmp_path / "gone")})
    assert ran.code == 1 and ran.whole
    assert ran.verdicts()["python-broken"] == "fail"


# --- surroundings ----------------------------------------------------------------------------


def test_without_home_the_report_is_whole() -> None:
    names = ("HOME", "USER", "LOGNAME", "USERNAME", "USERPROFILE", "HOMEPATH", "PATH")
    ran = doctor("--format", "json", drop=names)
    assert ran.code in (0, 1, 3) and ran.err == "" and ran.whole


@pytest.mark.skipif(not stranger(), reason="no user namespaces here")
def test_without_account_the_report_is_whole() -> None:
    for drop in ((), ("HOME", "USER", "LOGNAME")):
        ran = doctor("--format", "json", drop=drop, before=stranger())
        assert ran.code in (0, 1, 3) and ran.err == "" and ran.whole


@posix
def test_with_next_to_no_environment_at_all() -> None:
    ran = doctor("--format", "json", before=("env", "-i"))
    assert ran.code in (0, 1, 3) and ran.err == "" and ran.whole


@posix
def test_from_a_folder_that_is_gone(tmp_path: Path) -> None:
    import subprocess

    from command import COMMAND, LIMIT_S, clean_environment

    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    for arguments in ((), ("--python", "relative"), ("--python", sys.executable)):
        gone.mkdir(exist_ok=True)
        ran = subprocess.run(
            ["sh", "-c", script, "sh", gone, *COMMAND, *arguments],
            env=clean_environment(), capture_output=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        assert ran.returncode in (0, 1, 2, 3), ran.stderr
        assert b"Traceback" not in ran.stderr


def test_a_diagnosis_writes_nothing_but_what_history_needs(tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    work.mkdir()
    python = make_venv(home / "env")
    put_package(site_packages(home / "env"), "torch", "2.6.0+cu126", "12.6")
    places = ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TMPDIR", "TEMP", "TMP",
              "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")  # fmt: skip
    env = dict.fromkeys(places, str(home))
    state = tmp_path / "kept" / "state"
    state.parent.mkdir()
    before = listing(home) | listing(work)
    for kind in FORMATS:
        doctor("--python", python, "--state-dir", state, "--format", kind, env=env, cwd=work)
    doctor("explain", env=env, cwd=work)
    assert listing(home) | listing(work) == before
    assert {path.name for path in state.parent.iterdir()} == {"state"}
    assert {path.name for path in state.iterdir()} == {"history"}
