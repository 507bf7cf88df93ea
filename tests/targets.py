"""Targets made in a temporary folder: real venvs with a torch that must never be imported."""

from __future__ import annotations

import atexit
import os
import shlex
import shutil
import sys
import tempfile
import venv
from functools import lru_cache
from pathlib import Path

BOMBS = {
    "segfaults": "import ctypes; ctypes.string_at(0)",
    "hangs": "import time; time.sleep(3600)",
    "raises": "raise OSError('libcudart.so.12: cannot open shared object file')",
    "prints": "print('garbage ' * 1000)",
}


def make_venv(folder: Path) -> Path:
    """A real environment without pip; returns its interpreter."""
    venv.EnvBuilder(with_pip=False, symlinks=sys.platform != "win32").create(folder)
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def venv_with_pip(folder: Path) -> Path:
    """A real environment with pip, copied from one that is made once; returns its interpreter."""
    copy_venv(_template(), folder)
    return folder / "bin" / "python"


@lru_cache(maxsize=1)
def quick_python() -> Path:
    """This Python, but ``-m venv`` copies what is made once, as venv_with_pip does."""
    path = _template().with_name("python")
    copy = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import targets; "
    copy += f"targets.copy_venv(targets.Path({str(_template())!r}), targets.Path(sys.argv[1]))"
    own = shlex.quote(sys.executable)
    path.write_text(
        f'#!/bin/sh\nif [ "$1 $2" = "-m venv" ]; then exec {own} -c {shlex.quote(copy)} "$3"; fi\n'
        f'exec {own} "$@"\n'
    )
    path.chmod(0o755)
    return path


def copy_venv(source: Path, folder: Path) -> None:
    """An environment at another place, as if it had been made there."""
    shutil.copytree(source, folder, symlinks=True, dirs_exist_ok=True)
    old, new = os.fsencode(source), os.fsencode(folder)
    for path in (folder / "pyvenv.cfg", *(folder / "bin").iterdir()):
        if path.is_file() and not path.is_symlink():
            path.write_bytes(path.read_bytes().replace(old, new))


@lru_cache(maxsize=1)
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="venv-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    venv.EnvBuilder(with_pip=True, symlinks=sys.platform != "win32").create(folder / "env")
    return folder / "env"


def site_packages(folder: Path) -> Path:
    """Where the environment's packages lie."""
    if sys.platform == "win32":
        return folder / "Lib" / "site-packages"
    return folder / "lib" / "python{}.{}".format(*sys.version_info[:2]) / "site-packages"


def put_package(
    site: Path, name: str, version: str, cuda: str | None, body: str = "", record: bool = True
) -> Path:
    """A package folder with version.py and, unless told otherwise, its install record."""
    package = site / name
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text(body, encoding="utf-8")
    shown = "None" if cuda is None else repr(cuda)
    text = (
        f"from typing import Optional\n__version__ = {version!r}\ncuda: Optional[str] = {shown}\n"
    )
    (package / "version.py").write_text(text, encoding="utf-8")
    if record:
        put_record(site, name, version)
    return package


def put_record(site: Path, name: str, version: str, lines: str = "") -> Path:
    """The dist-info folder that pip leaves."""
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n", encoding="utf-8")
    (folder / "INSTALLER").write_text("pip\n", encoding="utf-8")
    (folder / "RECORD").write_text(lines, encoding="utf-8")
    return folder
