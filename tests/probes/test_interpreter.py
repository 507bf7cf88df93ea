"""Interpreters read from folder trees: real environments and the layouts of other platforms."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from targets import make_venv, site_packages

from klein_doctor.model import Interpreter, Known, Unknown
from klein_doctor.privacy import Redactor
from klein_doctor.probes.interpreter import find_executable, read_interpreter
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.shims import behind
from klein_doctor.target import TargetError, Wish, resolve

PROGRAM = b"\x7fELF" + bytes(60)


def outside(platform: str = "linux", **env: str) -> Outside:
    return Outside(Path("/"), env, platform, Redactor((), (), ()), prefix="/doctor",
                   executable="/doctor/bin/python")  # fmt: skip


def read(path: Path, platform: str = "linux", **env: str) -> Interpreter:
    return read_interpreter(outside(platform, **env), str(path))


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(PROGRAM)
    path.chmod(0o755)
    return path


def folders(found: Interpreter) -> list[str]:
    return [folder.real for folder in found.site_packages]


def test_a_real_environment(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "my env ü")
    found = read(python)
    assert found.fault.real == "" and found.kind == "venv" and not found.has_pip
    assert isinstance(found.version, Known) and found.version.value[:2] == sys.version_info[:2]
    assert folders(found)[:1] == [str(site_packages(tmp_path / "my env ü"))]
    (site_packages(tmp_path / "my env ü") / "pip").mkdir()
    assert read(python).has_pip


def test_an_environment_sees_its_base_only_where_it_says_so(tmp_path: Path) -> None:
    base = program(tmp_path / "base" / "bin" / "python3.12")
    shared = tmp_path / "base" / "lib" / "python3.12" / "site-packages"
    shared.mkdir(parents=True)
    python = program(tmp_path / "env" / "bin" / "python")
    own = tmp_path / "env" / "lib" / "python3.12" / "site-packages"
    own.mkdir(parents=True)
    settings = tmp_path / "env" / "pyvenv.cfg"
    text = f"home = {base.parent}\nversion = 3.12.3\ninclude-system-site-packages = "
    settings.write_text(text + "false\n")
    assert folders(read(python)) == [str(own)]
    settings.write_text(text + "true\nuv = 0.9.1\n")
    found = read(python)
    assert folders(found) == [str(own), str(shared)]
    assert found.kind == "uv venv" and found.has_uv
    shutil.rmtree(tmp_path / "base")
    assert "does not exist any more" in read(python).fault.real


def test_what_is_no_interpreter(tmp_path: Path) -> None:
    cases = {"script": b"#!/bin/sh\nexec python\n", "empty": b"", "text": b"hello"}
    for name, content in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        path.chmod(0o755)
        assert name.replace("text", "not a program") in read(path).fault.real
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert read(loop).fault.real
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "gone")
    assert "which does not exist" in read(dangling).fault.real
    assert "folder" in read(tmp_path).fault.real
    plain = tmp_path / "plain"
    plain.write_bytes(PROGRAM)
    plain.chmod(0o644)
    assert "executable" in read(plain).fault.real


def test_an_environment_folder_stands_for_its_python(tmp_path: Path) -> None:
    python = program(tmp_path / "env" / "bin" / "python")
    assert find_executable(tmp_path / "env") == python
    windows = program(tmp_path / "portable" / "python_embeded" / "python.exe")
    assert find_executable(windows.parent) == windows
    assert find_executable(tmp_path) == tmp_path


def test_windows_portable(tmp_path: Path) -> None:
    root = tmp_path / "ComfyUI_windows_portable" / "python_embeded"
    program(root / "python.exe")
    (root / "python313.dll").write_bytes(b"")
    (root / "python313._pth").write_text("python313.zip\n.\nimport site\n")
    (root / "Lib" / "site-packages" / "pip").mkdir(parents=True)
    user = tmp_path / "Roaming" / "Python" / "Python313" / "site-packages"
    user.mkdir(parents=True)
    found = read(root / "python.exe", "win32", APPDATA=str(tmp_path / "Roaming"))
    assert found.kind == "embedded" and found.version == Known((3, 13))
    assert folders(found) == [str(root / "Lib" / "site-packages")]
    assert found.has_pip


def test_system_python_with_user_and_debian_folders(tmp_path: Path) -> None:
    python = program(tmp_path / "usr" / "bin" / "python3.11")
    (tmp_path / "usr" / "bin" / "python3").symlink_to(python)
    wanted = [
        tmp_path / "home" / ".local" / "lib" / "python3.11" / "site-packages",
        tmp_path / "usr" / "local" / "lib" / "python3.11" / "dist-packages",
        tmp_path / "usr" / "lib" / "python3" / "dist-packages",
    ]
    for folder in wanted:
        folder.mkdir(parents=True)
    found = read(tmp_path / "usr" / "bin" / "python3", HOME=str(tmp_path / "home"))
    assert found.version == Known((3, 11)) and found.kind == "system"
    assert folders(found) == [str(folder) for folder in wanted]


def test_conda_and_python_2(tmp_path: Path) -> None:
    python = program(tmp_path / "conda" / "bin" / "python")
    (tmp_path / "conda" / "conda-meta").mkdir()
    (tmp_path / "conda" / "lib" / "python3.12" / "site-packages").mkdir(parents=True)
    found = read(python)
    assert found.kind == "conda" and found.version == Known((3, 12))
    old = program(tmp_path / "old" / "bin" / "python2.7")
    assert read(old).version == Known((2, 7))
    blank = program(tmp_path / "blank" / "bin" / "python")
    assert isinstance(read(blank).version, Unknown)


def test_an_environment_that_shares_puts_its_own_packages_first(tmp_path: Path) -> None:
    """The environment, what its .pth files add, the user's packages, the base's: in this order."""
    root, base = tmp_path / "env", tmp_path / "base"
    python = program(root / "bin" / "python")
    own, extra, user, shared = wanted = [
        root / "lib" / "python3.12" / "site-packages",
        tmp_path / "checkout",
        tmp_path / "home" / ".local" / "lib" / "python3.12" / "site-packages",
        base / "lib" / "python3.12" / "site-packages",
    ]
    for folder in wanted:
        folder.mkdir(parents=True)
    (own / "x.pth").write_text(f"{extra}\n")
    text = f"home = {base / 'bin'}\nversion = 3.12.3\ninclude-system-site-packages = TRUE\n"
    (root / "pyvenv.cfg").write_text(text)
    found = read(python, HOME=str(tmp_path / "home"))
    assert folders(found) == [str(folder) for folder in (own, extra, user, shared)]


def test_a_shared_base_on_windows_has_no_bin_folder(tmp_path: Path) -> None:
    python = program(tmp_path / "env" / "Scripts" / "python.exe")
    own = tmp_path / "env" / "Lib" / "site-packages"
    shared = tmp_path / "Python312" / "Lib" / "site-packages"
    for folder in (own, shared):
        folder.mkdir(parents=True)
    text = f"home = {tmp_path / 'Python312'}\nversion = 3.12.3\n"
    (tmp_path / "env" / "pyvenv.cfg").write_text(text + "include-system-site-packages = true\n")
    assert folders(read(python, "win32")) == [str(own), str(shared)]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("python313.zip\n.\n#import site\n", []),
        ("python313.zip\n.\nimport site\n", ["Lib/site-packages"]),
        ("Lib/site-packages\n.\n", ["Lib/site-packages"]),
        ("../ComfyUI\n.\nimport site\n", ["../ComfyUI", "Lib/site-packages"]),
        ("", []),
    ],
)
def test_an_embedded_python_imports_only_from_what_it_lists(
    tmp_path: Path, lines: str, expected: list[str]
) -> None:
    root = tmp_path / "python_embeded"
    program(root / "python.exe")
    (root / "python313._pth").write_text(lines)
    (root / "Lib" / "site-packages").mkdir(parents=True)
    (tmp_path / "ComfyUI").mkdir()
    found = read(root / "python.exe", "win32", APPDATA=str(tmp_path))
    assert [Path(f).resolve() for f in folders(found)] == [(root / e).resolve() for e in expected]


def test_a_free_threaded_build_has_its_own_folder(tmp_path: Path) -> None:
    python = program(tmp_path / "bin" / "python")
    folder = tmp_path / "lib" / "python3.14t" / "site-packages"
    folder.mkdir(parents=True)
    (tmp_path / "pyvenv.cfg").write_text("home = /usr\nversion_info = 3.14.0.final.0\n")
    found = read(python)
    assert found.version == Known((3, 14, 0)) and folders(found) == [str(folder)]


def test_garbled_settings_and_loops_of_links_are_survived(tmp_path: Path) -> None:
    env = tmp_path / "env"
    python = program(env / "bin" / "python")
    for name in ("lib", "lib64", "Lib", "conda-meta"):
        (env / name).symlink_to(env / name)
    for text in (b"\xff\xfe\0\0", b"home =\nversion = x.y\n", b"home = \0\n", b"=" * 70000):
        (env / "pyvenv.cfg").write_bytes(text)
        found = read(python, HOME=str(env / "lib"))
        assert isinstance(found.version, Unknown) and folders(found) == []


def test_pth_files_add_folders_and_run_nothing(tmp_path: Path) -> None:
    env = tmp_path / "env"
    python = make_venv(env)
    extra = tmp_path / "src" / "torch-checkout"
    extra.mkdir(parents=True)
    lines = f"# note\nimport os; os.abort()\n{extra}\nnot-there\n../../../../src\n\x00bad\n"
    (site_packages(env) / "extra.pth").write_text(lines)
    found = [Path(folder).resolve() for folder in folders(read(python))]
    assert found == [site_packages(env), extra, extra.parent]


def test_pyenv_shims(tmp_path: Path) -> None:
    root = tmp_path / ".pyenv"
    shim = program(root / "shims" / "python")
    real = program(root / "versions" / "3.12.1" / "bin" / "python")
    other = program(root / "versions" / "3.11.7" / "bin" / "python")
    (root / "version").write_text("3.12.1\n")
    project = tmp_path / "project" / "sub"
    project.mkdir(parents=True)
    assert behind(shim, {}, project) == real
    (project.parent / ".python-version").write_text("3.11.7\n")
    assert behind(shim, {}, project) == other
    assert behind(shim, {"PYENV_VERSION": "3.12.1"}, project) == real
    assert behind(shim, {"PYENV_VERSION": "3.9.9"}, project) == shim
    assert behind(real, {}, project) == real


def test_a_pyenv_version_may_be_abbreviated(tmp_path: Path) -> None:
    root = tmp_path / ".pyenv"
    shim = program(root / "shims" / "python")
    reals = {v: program(root / "versions" / v / "bin" / "python")
             for v in ("3.12.9", "3.12.10", "3.1.2", "comfy")}  # fmt: skip
    for wanted, real in (("3.12", "3.12.10"), ("3.1", "3.1.2"), ("comfy", "comfy"),
                         ("python-3.12.9", "3.12.9")):  # fmt: skip
        assert behind(shim, {"PYENV_VERSION": wanted}, tmp_path) == reals[real]
    for wanted in ("3", "3.13", "system", "..", "3.12.1"):
        assert behind(shim, {"PYENV_VERSION": wanted}, tmp_path) == shim


def test_the_target_and_why(tmp_path: Path) -> None:
    venv = program(tmp_path / "venv" / "bin" / "python")
    conda = program(tmp_path / "conda" / "bin" / "python")
    named = program(tmp_path / "named" / "bin" / "python")
    active = {"VIRTUAL_ENV": str(venv.parents[1]), "CONDA_PREFIX": str(conda.parents[1])}

    def chosen(python: str, **env: str) -> tuple[str, str]:
        target = resolve(outside(**env), Wish(python)).target
        return target.python.real, target.python_from

    assert chosen(str(named), **active) == (str(named), "--python")
    assert chosen(str(named.parents[1])) == (str(named), "--python")
    assert chosen("", **active) == (str(venv), "VIRTUAL_ENV")
    assert chosen("", CONDA_PREFIX=active["CONDA_PREFIX"]) == (str(conda), "CONDA_PREFIX")
    assert chosen("") == ("/doctor/bin/python", "doctor")
    assert chosen("python", PATH=str(named.parent)) == (str(named), "--python")
    for bad in (str(tmp_path / "none"), "no-such-python", "a\0b"):
        with pytest.raises(TargetError, match="--python"):
            chosen(bad)


def test_the_running_interpreter_is_described_as_it_describes_itself() -> None:
    found = read(Path(sys.executable))
    said = subprocess.run(
        [sys.executable, "-c", "import site; print(*site.getsitepackages(), sep='\\n')"],
        capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    assert set(folders(found)) >= {line for line in said if line and Path(line).is_dir()}
