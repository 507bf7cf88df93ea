"""``--version --verbose``: what a bug report needs to know of the doctor itself."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from klein_doctor import __version__
from klein_doctor.privacy import Redactor

_NAME = "klein-doctor"


def about() -> str:
    """Versions of the doctor, its tables, its Python and the libraries it uses, a line each."""
    return "\n".join(f"{name:<18}{text}" for name, text in _rows()) + "\n"


def _rows() -> Iterator[tuple[str, str]]:
    from klein_doctor import recipe
    from klein_doctor.state import state_folder

    redactor = Redactor.of_this_machine(os.environ)
    yield _NAME, __version__
    yield "tables", recipe.load().as_of
    yield "python", f"{platform.python_version()} at {redactor.path(sys.executable).public}"
    yield "system", f"{platform.system()} {platform.release()} {platform.machine()}"
    folder = state_folder("", os.environ)
    yield "state", redactor.path(str(folder)).public if folder is not None else "none: no home"
    yield "terminal", f"{_encoding()}, {os.environ.get('TERM', 'no TERM')}"
    for name in _libraries():
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "not installed"


def _encoding() -> str:
    return str(getattr(sys.stdout, "encoding", None) or "no standard output")


def _libraries() -> list[str]:
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(_NAME) or []
    except metadata.PackageNotFoundError:
        return []
    found = [Requirement(line) for line in lines]
    return sorted(r.name for r in found if r.marker is None or r.marker.evaluate({"extra": ""}))
