"""What is judged: which interpreter, and how it was chosen."""

from __future__ import annotations

from pathlib import Path

from klein_doctor.exits import UsageError
from klein_doctor.model import Target
from klein_doctor.probes.interpreter import find_executable
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.shims import behind


class TargetError(UsageError):
    """The command line names a target that is not there."""


def resolve(outside: Outside, python: str, gpu: str, assumed: str) -> Target:
    """Choose the interpreter: named, else the active environment's, else the doctor's own.

    Raises:
        TargetError: the named interpreter does not exist at all.
    """
    path, source = _interpreter(outside, python)
    return Target(
        python=outside.redactor.path(str(path)),
        python_from=source,
        gpu=outside.redactor.devices(gpu),
        assumed=assumed,
    )


def _interpreter(outside: Outside, python: str) -> tuple[Path, str]:
    if python:
        return _named(outside, python), "--python"
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        folder = outside.env.get(variable, "")
        if folder and Path(folder).is_absolute():
            return find_executable(Path(folder)), variable
    return find_executable(Path(outside.executable or outside.prefix)), "doctor"


def _named(outside: Outside, python: str) -> Path:
    path = Path(python)
    # In one line, and not without end, whatever was given.
    shown = "".join(c if c.isprintable() else "?" for c in python[:200])
    try:
        if len(path.parts) == 1 and not path.exists():
            path = _on_path(outside, python) or path
        # Not resolved: a virtual environment is told from the place of its link.
        path = path if path.is_absolute() else Path.cwd() / path
        if not path.exists() and not path.is_symlink():
            raise TargetError(f"--python {shown}: there is no such file or folder")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, TargetError):
            raise
        raise TargetError(f"--python {shown}: {reason}") from error
    return behind(find_executable(path), outside.env, Path.cwd())


def _on_path(outside: Outside, name: str) -> Path | None:
    import shutil

    found = shutil.which(name, path=outside.env.get("PATH", ""))
    return Path(found) if found else None
