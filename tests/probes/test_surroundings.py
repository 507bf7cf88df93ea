"""What stands around a Python: real environments in trees with the layouts of other machines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from targets import make_venv, put_record, site_packages

from klein_doctor.installation import Surroundings
from klein_doctor.model import Private
from klein_doctor.privacy import Redactor
from klein_doctor.probes.interpreter import read_interpreter
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.surroundings import first_words, named_python, read_surroundings

WATCHED = frozenset({"torch", "numpy"})
MARKER = (
    "[externally-managed]\n"
    "Error=To install Python packages system-wide, try apt install\n"
    " python3-xyz, where xyz is the package you are trying to\n install.\n"
)
pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="programs that are links and shell scripts are needed"
)


def program(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if text else b"\x7fELF" + bytes(60))
    path.chmod(0o755)
    return path


def system_python(root: Path, version: str = "3.12", prefix: str = "usr") -> Path:
    """A Python as a distribution installs it; returns the link people start."""
    real = program(root / prefix / "bin" / f"python{version}")
    (root / prefix / "lib" / f"python{version}").mkdir(parents=True, exist_ok=True)
    link = real.with_name("python3")
    if not link.exists():
        link.symlink_to(real.name)
    return link


def read(
    python: Path, root: Path = Path("/"), platform: str = "linux", prefix: str = "/doctor",
    **env: str,
) -> Surroundings:  # fmt: skip
    outside = Outside(root, env, platform, Redactor(("jane",), (), ()), prefix=prefix)
    return read_surroundings(outside, read_interpreter(outside, str(python)), WATCHED)


def real(value: Private | None) -> str | None:
    return value.real if value is not None else None


def test_a_real_environment_with_nothing_around_it(tmp_path: Path) -> None:
    found = read(make_venv(tmp_path / "env"))
    assert found == Surroundings(None, "", None, (), None, False, None, False, False, (), False)


# --- who manages it --------------------------------------------------------------------------


def test_a_distribution_manages_its_python(tmp_path: Path) -> None:
    python = system_python(tmp_path)
    marker = tmp_path / "usr/lib/python3.12/EXTERNALLY-MANAGED"
    assert read(python).managed is None
    marker.write_text(MARKER)
    found = read(python)
    assert real(found.managed) == str(marker)
    assert found.managed_by == "To install Python packages system-wide, try apt install"


def test_in_an_environment_the_marker_has_no_force(tmp_path: Path) -> None:
    base = system_python(tmp_path)
    (tmp_path / "usr/lib/python3.12/EXTERNALLY-MANAGED").write_text(MARKER)
    env = tmp_path / "env"
    (env / "bin").mkdir(parents=True)
    (env / "bin/python").symlink_to(base)
    (env / "pyvenv.cfg").write_text(f"home = {base.parent}\nversion = 3.12.3\n")
    assert read(env / "bin/python").managed is None


def test_a_uv_python_behind_a_link_is_managed(tmp_path: Path) -> None:
    store = tmp_path / "share/uv/python/cpython-3.12.9"
    base = program(store / "bin/python3.12")
    (store / "lib/python3.12").mkdir(parents=True)
    (store / "lib/python3.12/EXTERNALLY-MANAGED").write_text(
        "[externally-managed]\nError=\n  This Python installation is managed by uv.\n"
    )
    link = tmp_path / "local/bin/python3.12"
    link.parent.mkdir(parents=True)
    link.symlink_to(base)
    assert read(link).managed_by == "This Python installation is managed by uv."


def test_windows_and_free_threaded_layouts(tmp_path: Path) -> None:
    python = program(tmp_path / "w/python.exe")
    (tmp_path / "w/Lib").mkdir()
    (tmp_path / "w/Lib/EXTERNALLY-MANAGED").write_text("junk")
    found = read(python, platform="win32")
    assert found.managed is not None and found.managed_by == ""
    python = program(tmp_path / "t/bin/python3.13")
    (tmp_path / "t/lib/python3.13t").mkdir(parents=True)
    (tmp_path / "t/lib/python3.13t/EXTERNALLY-MANAGED").write_text(MARKER)
    assert read(python).managed is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MARKER, "To install Python packages system-wide, try apt install"),
        ("[externally-managed]\r\nerror = Ask\r\n", "Ask"),
        ("Error=\n\n \n  Ask root\n", "Ask root"),
        ("Error=\nError-de=Frag\n", ""),
        ("Errors=x\n", ""),
        ("", ""),
    ],
)
def test_first_words(text: str, words: str) -> None:
    assert first_words(text) == words


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=20), st.sampled_from(["Error=", " x", "", "error = y"])),
                max_size=8).map("\n".join))  # fmt: skip
def test_any_text_can_be_a_marker(text: str) -> None:
    assert "\n" not in first_words(text)


# --- the user's own packages -----------------------------------------------------------------


def test_the_users_packages_leak_into_a_system_python(tmp_path: Path) -> None:
    python = system_python(tmp_path)
    user = tmp_path / "jane/.local/lib/python3.12/site-packages"
    for name in ("numpy", "torch", "requests"):
        put_record(user, name, "1.0")
    (tmp_path / "usr/lib/python3.12/site-packages").mkdir()
    home = str(tmp_path / "jane")
    found = read(python, HOME=home)
    assert real(found.user_site) == str(user) and found.user_packages == ("numpy", "torch")
    assert read(python, HOME=home, PYTHONNOUSERSITE="1").user_site is None
    assert read(python, HOME=home, PYTHONNOUSERSITE="").user_site is not None
    assert read(python).user_site is None
    assert read(python, HOME="/nowhere", PYTHONUSERBASE=home + "/.local").user_site is not None


def test_environments_are_kept_apart_from_the_users_packages(tmp_path: Path) -> None:
    home = tmp_path / "jane"
    tag = "python{}.{}".format(*sys.version_info[:2])
    put_record(home / ".local/lib" / tag / "site-packages", "torch", "1.0")
    # Even where they lie below ~/.local themselves.
    python = make_venv(home / ".local/share/env")
    put_record(site_packages(home / ".local/share/env"), "torch", "2.0")
    assert read(python, HOME=str(home)).user_site is None


def test_a_python_below_the_users_folder_owns_its_packages(tmp_path: Path) -> None:
    python = program(tmp_path / "jane/.local/bin/python3.12")
    put_record(tmp_path / "jane/.local/lib/python3.12/site-packages", "torch", "1.0")
    assert read(python, HOME=str(tmp_path / "jane")).user_site is None


def test_a_portable_python_does_not_see_the_users_packages(tmp_path: Path) -> None:
    folder = tmp_path / "python_embeded"
    python = program(folder / "python.exe")
    user = tmp_path / "base/Python312/site-packages"
    put_record(user, "torch", "1.0")
    (folder / "python312.dll").write_bytes(b"MZ")
    found = read(python, platform="win32", PYTHONUSERBASE=str(tmp_path / "base"))
    assert real(found.user_site) == str(user) and found.user_packages == ("torch",)
    (folder / "python312._pth").write_text("python312.zip\n.\nimport site\n")
    found = read(python, platform="win32", PYTHONUSERBASE=str(tmp_path / "base"))
    assert found.user_site is None and found.user_packages == ()


# --- PATH ------------------------------------------------------------------------------------


def test_an_active_environment_is_the_target(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "env")
    pip = program(tmp_path / "env/bin/pip", f"#!{python}\nimport sys\n")
    other = system_python(tmp_path)
    found = read(python, PATH=f"{python.parent}:{other.parent}")
    assert real(found.path_python) == str(tmp_path / "env/bin/python3")
    assert found.path_python_is_target
    assert real(found.path_pip) == str(pip) and found.path_pip_is_target


def test_another_python_comes_first(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "env")
    other = system_python(tmp_path)
    program(other.with_name("pip3"), "#!/usr/bin/python3\n")
    found = read(python, PATH=f"::relative:{tmp_path}/absent:{other.parent}:{python.parent}")
    assert real(found.path_python) == str(other) and not found.path_python_is_target
    assert found.path_pip is not None and not found.path_pip_is_target


def test_an_environment_reached_by_another_name_is_the_same(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "env")
    (tmp_path / "alias").symlink_to(tmp_path / "env")
    assert read(python, PATH=str(tmp_path / "alias/bin")).path_python_is_target


def test_two_environments_of_one_python_are_not_the_same(tmp_path: Path) -> None:
    python, other = make_venv(tmp_path / "a"), make_venv(tmp_path / "b")
    assert os.path.realpath(python) == os.path.realpath(other)
    assert not read(python, PATH=str(other.parent)).path_python_is_target
    base = Path(os.path.realpath(python))
    assert not read(python, PATH=str(base.parent)).path_python_is_target


def test_pythons_that_share_a_folder(tmp_path: Path) -> None:
    python = system_python(tmp_path)
    program(tmp_path / "usr/bin/pip", f"#!{python} -s\n")
    newer = program(tmp_path / "usr/bin/python3.13")
    path = str(python.parent)
    found = read(tmp_path / "usr/bin/python3.12", PATH=path)
    assert found.path_python_is_target and found.path_pip_is_target
    found = read(newer, PATH=path)
    assert not found.path_python_is_target and not found.path_pip_is_target


def test_a_moved_environment_keeps_a_pip_of_the_old_place(tmp_path: Path) -> None:
    old, python = make_venv(tmp_path / "old"), make_venv(tmp_path / "new")
    program(tmp_path / "new/bin/pip", f"#!{old}\n")
    assert not read(python, PATH=str(python.parent)).path_pip_is_target
    # One that says nothing is judged by its place.
    program(tmp_path / "new/bin/pip")
    assert read(python, PATH=str(python.parent)).path_pip_is_target


def moved(tmp_path: Path) -> Path:
    """A real environment under another name than it was made with; its Python."""
    make_venv(tmp_path / "old env")
    os.rename(tmp_path / "old env", tmp_path / "new")
    return tmp_path / "new/bin/python"


def test_a_moved_environment_is_switched_on_at_its_old_place(tmp_path: Path) -> None:
    python = moved(tmp_path)
    found = read(python).moved
    assert found is not None
    assert (real(found.activates), found.there, found.pip) == (
        str(tmp_path / "old env"), False, None,
    )  # fmt: skip
    pip = f"#!/bin/sh\n'''exec' \"{tmp_path}/old env/bin/python\" \"$0\"\n"
    program(tmp_path / "new/bin/pip", pip)
    make_venv(tmp_path / "old env")  # one that was copied
    found = read(python).moved
    assert found is not None and found.there
    assert real(found.pip) == str(tmp_path / "old env/bin/python")


def test_what_writes_its_scripts_anew_mends_it_and_keeps_the_packages(tmp_path: Path) -> None:
    python = moved(tmp_path)
    put_record(site_packages(tmp_path / "new"), "torch", "2.14.1")
    subprocess.run([python, "-m", "venv", "--without-pip", tmp_path / "new"], check=True)
    assert read(python).moved is None
    assert (site_packages(tmp_path / "new") / "torch-2.14.1.dist-info").is_dir()


@pytest.mark.parametrize(
    ("line", "leads"),
    [
        ('VIRTUAL_ENV="/made/at"', "/made/at"),
        ("    export VIRTUAL_ENV=/made/at", "/made/at"),
        ("VIRTUAL_ENV='/made at'", "/made at"),
        ('export VIRTUAL_ENV=$(cygpath "/x")\nelse\n  export VIRTUAL_ENV="/made/at"', "/made/at"),
        ("VIRTUAL_ENV=''\"$(dirname -- \"$0\")\"''", None),
        ('echo "VIRTUAL_ENV=/x"', None),
        ("VIRTUAL_ENV=", None),
        ("", None),
    ],
)
def test_the_place_is_read_as_each_tool_writes_it(
    tmp_path: Path, line: str, leads: str | None
) -> None:
    python = make_venv(tmp_path / "env")
    (tmp_path / "env/bin/activate").write_text(f"deactivate () {{\n}}\n{line}\n")
    found = read(python).moved
    assert (real(found.activates) if found is not None else None) == leads


@pytest.mark.parametrize("line", ['set "VIRTUAL_ENV=D:\\at\\x"', "@set VIRTUAL_ENV=D:\\at\\x"])
def test_the_place_in_a_batch_file(tmp_path: Path, line: str) -> None:
    python = program(tmp_path / "env/Scripts/python.exe")
    (tmp_path / "env/pyvenv.cfg").write_text("home = C:\\Python\nversion = 3.12.1\n")
    (tmp_path / "env/Scripts/activate.bat").write_bytes(f"@echo off\r\n{line}\r\n".encode())
    found = read(python, platform="win32").moved
    assert found is not None and real(found.activates) == "D:\\at\\x"


def test_an_environment_where_it_was_made_leads_to_itself(tmp_path: Path) -> None:
    assert read(make_venv(tmp_path / "env")).moved is None
    (tmp_path / "alias").symlink_to(tmp_path / "env")
    assert read(tmp_path / "alias/bin/python").moved is None
    assert read(system_python(tmp_path)).moved is None


def test_pip_as_it_is_written_for_odd_paths(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "my env")
    launcher = f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\nimport sys\n"
    pip = program(tmp_path / "bin/pip", launcher)
    assert read(python, PATH=str(pip.parent)).path_pip_is_target
    program(pip, "#!/usr/bin/env python3\n")
    assert read(python, PATH=f"{pip.parent}:{python.parent}").path_pip_is_target
    assert not read(python, PATH=str(pip.parent)).path_pip_is_target


def test_what_cannot_be_started_is_passed_over(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "env")
    plain = tmp_path / "plain/python3"
    plain.parent.mkdir()
    plain.write_text("")
    (tmp_path / "folder/python3").mkdir(parents=True)
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop/python3").symlink_to(tmp_path / "loop/python3")
    path = ":".join(str(tmp_path / name) for name in ("plain", "folder", "loop", "n\0l"))
    assert read(python, PATH=path).path_python is None


def test_a_shim_stands_for_what_it_starts(tmp_path: Path) -> None:
    root = tmp_path / "pyenv"
    python = program(root / "versions/3.12.3/bin/python3")
    shim = program(root / "shims/python3", "#!/usr/bin/env bash\n")
    (root / "version").write_text("3.12.3\n")
    found = read(python, PATH=str(shim.parent), PYENV_VERSION="3.12.3")
    assert real(found.path_python) == str(python) and found.path_python_is_target


def test_path_on_windows(tmp_path: Path) -> None:
    portable = program(tmp_path / "portable/python_embeded/python.exe")
    pip = program(portable.parent / "Scripts/pip.exe", "MZ launcher")
    alias = program(tmp_path / "AppData/Local/Microsoft/WindowsApps/python.exe")
    other = program(tmp_path / "Python311/python.exe")
    program(other.parent / "Scripts/pip.exe", "MZ launcher")
    found = read(portable, platform="win32",
                 PATH=f'{alias.parent};"{other.parent}";{pip.parent}')  # fmt: skip
    assert real(found.path_python) == str(other) and not found.path_python_is_target
    assert real(found.path_pip) == str(pip) and found.path_pip_is_target
    found = read(portable, platform="win32", PATH=f"{other.parent}/Scripts;{portable.parent}")
    assert found.path_python_is_target and not found.path_pip_is_target


def test_path_of_another_root(tmp_path: Path) -> None:
    """A tree that stands for a machine has its PATH inside."""
    python = system_python(tmp_path)
    found = read(python, root=tmp_path, PATH="/usr/bin")
    assert real(found.path_python) == str(python) and found.path_python_is_target


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("#!/usr/bin/python3.12 -sE\nx", "/usr/bin/python3.12"),
        ("#! /usr/bin/python3", "/usr/bin/python3"),
        ('#!"C:\\my env\\python.exe"\n', "C:\\my env\\python.exe"),
        ("#!/usr/bin/env python3\n", "env"),
        ("#!/usr/bin/env -S python3 -s\n", "env"),
        ("#!/bin/sh\n'''exec' /x/python3 \"$0\" \"$@\"\n", "/x/python3"),
        ("#!/bin/sh\n'''exec' \"$(dirname -- \"$0\")\"/'python' \"$0\"\n", ""),
        ("#!/bin/sh\nexec something\n", ""),
        ("#!/bin/bash\n", ""),
        ("#!\n", ""),
        ("MZ\0\0", ""),
        ("", ""),
    ],
)
def test_first_lines_of_scripts(text: str, python: str) -> None:
    assert named_python(text) == python


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60), st.sampled_from(["#!", "#!/bin/sh\n", "#!/bin/sh\n'''exec' ", ""]))
def test_any_text_can_be_a_script(text: str, start: str) -> None:
    found = named_python(start + text)
    assert found == "env" or found in start + text


# --- the doctor, and CUDA libraries ----------------------------------------------------------


def test_the_doctor_inside_the_target(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "env")
    assert read(python, prefix=str(tmp_path / "env")).doctor_inside
    (tmp_path / "alias").symlink_to(tmp_path / "env")
    assert read(python, prefix=str(tmp_path / "alias")).doctor_inside
    assert not read(python, prefix=str(tmp_path)).doctor_inside
    assert not read(tmp_path / "gone/bin/python", prefix=str(tmp_path / "gone")).doctor_inside


def test_other_cuda_libraries_on_the_loaders_path(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "env")
    own = site_packages(tmp_path / "env") / "nvidia/cublas/lib"
    libraries = {
        "cuda": "libcudart.so.12.4.127",
        "cudnn": "libcudnn_graph.so.9",
        "blas": "libcublasLt.so",
        "driver": "libcuda.so.1",
        "near": "libcudarts.so.1",
        "text": "libcudart.so.txt",
    }
    for folder, name in libraries.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"")
    own.mkdir(parents=True)
    (own / "libcublas.so.13").write_bytes(b"")
    entries = [str(tmp_path / name) for name in (*libraries, "cuda", "absent")]
    path = ":".join(["", ".", str(own), *entries, ""])
    found = read(python, LD_LIBRARY_PATH=path).shadowing
    assert [folder.real for folder in found] == [str(tmp_path / name)
                                                 for name in ("cuda", "cudnn", "blas")]  # fmt: skip
    assert read(python, platform="win32", LD_LIBRARY_PATH=path).shadowing == ()
    many = []
    for number in range(100):
        folder = tmp_path / "many" / str(number)
        folder.mkdir(parents=True)
        (folder / "libcudart.so.12").write_bytes(b"")
        many.append(str(folder))
    assert len(read(python, LD_LIBRARY_PATH=":".join(many)).shadowing) == 16


def test_a_conda_environment_brings_its_own_cuda(tmp_path: Path) -> None:
    python = program(tmp_path / "conda/bin/python3.12")
    (tmp_path / "conda/conda-meta").mkdir()
    (tmp_path / "conda/lib").mkdir()
    (tmp_path / "conda/lib/libcudart.so.12").write_bytes(b"")
    assert read(python, LD_LIBRARY_PATH=str(tmp_path / "conda/lib")).shadowing == ()


def test_a_hostile_environment_is_survived(tmp_path: Path) -> None:
    python = system_python(tmp_path)
    (tmp_path / "usr/lib/python3.12/EXTERNALLY-MANAGED").symlink_to("EXTERNALLY-MANAGED")
    odd = "\0\udcff" + "x" * 5000 + ":" * 5000
    found = read(python, PATH=odd, LD_LIBRARY_PATH="/" + odd, HOME=odd, PYTHONUSERBASE=odd)
    assert found == Surroundings(None, "", None, (), None, False, None, False, False, (), False)
