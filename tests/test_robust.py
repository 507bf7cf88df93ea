"""Broken targets and broken drivers: the report is whole, and names what is wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from command import doctor
from standin import build_libcuda, build_standin, compiler, describe, gpu
from targets import BOMBS, make_venv, put_package, put_record, site_packages

needs_compiler = pytest.mark.skipif(not compiler(), reason="no C compiler (cc, gcc or clang)")


def listing(folder: Path) -> set[tuple[str, int]]:
    return {(str(p), p.lstat().st_mtime_ns) for p in folder.rglob("*")}


@pytest.mark.parametrize("kind", BOMBS)
def test_nothing_of_the_target_is_executed(tmp_path: Path, kind: str) -> None:
    env = tmp_path / "env"
    python = make_venv(env)
    marker = tmp_path / "was-imported"
    body = f"open({str(marker)!r}, 'w').close()\n{BOMBS[kind]}\n"
    put_package(site_packages(env), "torch", "2.6.0+cu126", "12.6", body)
    (site_packages(env) / "bomb.pth").write_text(f"import os; {body.splitlines()[0]}\n")
    before = listing(env)
    ran = doctor("--python", python, "--format", "json", "--assume", "RTX 5070,driver=580")
    assert not marker.exists()
    assert listing(env) == before
    assert ran.code == 1, ran.err
    assert ran.document["first"] == "torch-lacks-arch:1"
    assert ran.err == ""


def test_record_without_package_and_package_without_record(tmp_path: Path) -> None:
    for kind, word in (("record", "its files are not"), ("package", "its record is not")):
        env = tmp_path / kind
        python = make_venv(env)
        if kind == "record":
            put_record(site_packages(env), "torch", "2.14.1")
        else:
            put_package(site_packages(env), "torch", "2.14.1+cu130", "13.0", record=False)
        ran = doctor("--python", python, "--format", "json", "--assume", "RTX 5070,driver=580")
        assert ran.code == 1
        found = next(f for f in ran.document["findings"] if f["check"] == "torch-broken")
        assert found["verdict"] == "fail" and word in found["title"]
        assert found["fixes"][0]["id"] == "install-torch"


def test_interpreters_that_cannot_be_used(tmp_path: Path) -> None:
    dangling = tmp_path / "env" / "bin" / "python"
    dangling.parent.mkdir(parents=True)
    dangling.symlink_to(tmp_path / "gone" / "python3")
    empty = tmp_path / "a folder"
    empty.mkdir()
    text = tmp_path / "python.txt"
    text.write_text("hello")
    for path, word in ((dangling, "does not exist"), (empty, "folder"), (text, "not a program")):
        ran = doctor("--python", path, "--format", "json")
        found = next(f for f in ran.document["findings"] if f["check"] == "python-broken")
        assert (ran.code, found["verdict"]) == (1, "fail"), path
        assert word in found["detail"]
        assert ran.verdicts()["torch-missing"] == "skipped"


def test_python_2_is_named(tmp_path: Path) -> None:
    root = tmp_path / "old"
    (root / "bin").mkdir(parents=True)
    (root / "lib" / "python2.7" / "site-packages").mkdir(parents=True)
    python = root / "bin" / "python2.7"
    python.write_bytes(b"\x7fELF" + bytes(60))
    python.chmod(0o755)
    ran = doctor("--python", python, "--format", "json")
    assert ran.verdicts()["python-too-old"] == "fail"
    torch = next(f for f in ran.document["findings"] if f["check"] == "torch-missing")
    assert torch["because"] == "python-too-old:1"


def test_a_target_that_does_not_exist_is_wrong_usage(tmp_path: Path) -> None:
    ran = doctor("--python", tmp_path / "nowhere")
    assert ran.code == 2 and "no such file" in ran.err and ran.out == ""


def test_without_home_and_account_the_report_is_whole(tmp_path: Path) -> None:
    ran = doctor("--format", "json", drop=("HOME", "USER", "LOGNAME", "USERPROFILE"))
    assert ran.code in (0, 1, 3) and ran.document["findings"]
    assert "Traceback" not in ran.err


def test_a_diagnosis_writes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    folders = {name: str(home) for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA")}
    env = {**folders, "XDG_CACHE_HOME": str(home / "c"), "XDG_STATE_HOME": str(home / "s")}
    doctor("--format", "json", env=env, cwd=tmp_path)
    assert list(home.iterdir()) == []
    assert {p.name for p in tmp_path.iterdir()} == {"home"}


# --- drivers ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("drivers")
    return (
        build_standin(root / "nvml").parent,
        build_libcuda(root / "cuda", "loads").parent,
    )


def with_driver(tmp_path: Path, libraries: tuple[Path, Path], *lines: str) -> dict[str, str]:
    full = describe(tmp_path, lines, *libraries)
    return {name: full[name] for name in ("LD_LIBRARY_PATH", "NVML_STANDIN")}


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in is a Linux library")
@pytest.mark.parametrize(
    ("lines", "first"),
    [
        (("init=hang",), "driver-broken:1"),
        (("init=crash",), "driver-broken:1"),
        (("init=error 18",), "driver-library-mismatch:1"),
        (("init=error 9",), "gpu-not-found:1"),
        (("init=error 999",), "driver-broken:1"),
        (("count=0",), "gpu-not-found:1"),
    ],
)
def test_a_driver_in_trouble_is_named(
    tmp_path: Path, libraries: tuple[Path, Path], lines: tuple[str, ...], first: str
) -> None:
    env = with_driver(tmp_path, libraries, *lines)
    ran = doctor("--format", "json", env=env)
    assert ran.code == 1, ran.err
    assert ran.document["first"] == first
    assert ran.verdicts()["probe-failed"] == "pass"


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in is a Linux library")
def test_a_good_card_and_a_wrong_torch(tmp_path: Path, libraries: tuple[Path, Path]) -> None:
    env = tmp_path / "env"
    python = make_venv(env)
    put_package(site_packages(env), "torch", "2.6.0+cu124", "12.4")
    card = gpu(0, name="NVIDIA GeForce RTX 5070", cc="12.0", uuid="GPU-5a3c-secret")
    ran = doctor("--python", python, "--format", "json",
                 env=with_driver(tmp_path, libraries, *card))  # fmt: skip
    assert ran.document["first"] == "torch-lacks-arch:1"
    assert "secret" not in ran.out
    repair = next(f for f in ran.document["findings"] if f["check"] == "torch-lacks-arch")["fixes"]
    assert repair[0]["commands"][0].endswith(
        "-m pip install torch==2.14.1+cu130 torchvision==0.29.1+cu130 "
        "--index-url https://download.pytorch.org/whl/cu130"
    )
    hidden = {**with_driver(tmp_path, libraries, *card), "CUDA_VISIBLE_DEVICES": "GPU-9"}
    assert doctor("--format", "json", env=hidden).verdicts()["gpu-hidden"] == "fail"
    chosen = doctor("--gpu", "GPU-5a3c", "--format", "json", env=hidden)
    assert chosen.document["facts"]["visible"]["known"]["chosen"] == 0
    wrong = doctor("--gpu", "3", env=with_driver(tmp_path, libraries, *card))
    assert wrong.code == 2 and "no such GPU" in wrong.err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX pipe")
def test_a_closed_pipe_is_no_crash() -> None:
    import subprocess

    from command import clean_environment

    run = subprocess.Popen([sys.executable, "-m", "klein_doctor", "explain"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           env=clean_environment())  # fmt: skip
    assert run.stdout is not None and run.stderr is not None
    run.stdout.close()
    assert b"Traceback" not in run.stderr.read()
    run.stderr.close()
    assert run.wait(30) == 0
