"""A virtual environment made anew for ComfyUI: PyTorch first, then what else is asked for.

The requirements are installed under a constraint of the exact builds: without it pip replaces a
PyTorch that fits by the newest one of PyPI as soon as a partner of it is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from klein_doctor.environment import TRIO
from klein_doctor.guard import recorded
from klein_doctor.steps import StepFailed
from klein_doctor.transaction.prepared import Change, called, children
from klein_doctor.transaction.transaction import Transaction

_HOUR_S = 3600.0
_MAKING_S = 600.0


def inside(folder: Path) -> Path:
    """The interpreter of an environment."""
    windows = sys.platform == "win32"
    return folder / ("Scripts/python.exe" if windows else "bin/python")


def make(python: str, folder: Path, transaction: Transaction) -> None:
    """Make an environment with pip; the folder is one that the step has claimed.

    Raises:
        StepFailed: this Python cannot make one.
    """
    transaction.note(f"making {folder}")
    try:
        argv = [python, "-m", "venv", str(folder)]
        transaction.run(argv, env={"PYTHONPATH": ""}, limit_s=_MAKING_S)
    except StepFailed as error:
        hint = (
            "" if sys.platform == "win32" else "; Debian and Ubuntu need the package python3-venv"
        )
        raise StepFailed(f"no environment could be made ({error.says}){hint}") from error


def fill(
    folder: Path, torch: Sequence[str], index: str, requirements: Path, transaction: Transaction
) -> tuple[str, ...]:
    """Install PyTorch's builds from their index, then a file of requirements that keeps them.

    Answers with the pins that pip recorded of them.

    Raises:
        StepFailed: in pip's words.
    """
    keep = transaction.scratch / "keep.txt"
    keep.write_text("".join(f"{pin}\n" for pin in torch), encoding="utf-8")
    python = str(inside(folder))
    pip = [python, "-m", "pip", "install", "--quiet"]
    for what, change, argv in (
        (" and ".join(torch), Change(python, index_url=index),
         [*pip, "--index-url", index, "--", *torch]),
        (str(requirements), Change(python), [*pip, "-c", str(keep), "-r", str(requirements)]),
    ):  # fmt: skip
        transaction.note(f"installing {what}")
        env = children(change)
        called(transaction, "pip", argv, env, transaction.scratch, limit_s=_HOUR_S)
    sites = (*folder.glob("lib/*/site-packages"), *folder.glob("Lib/site-*"))
    pins = tuple(recorded([str(path) for path in sites]))
    if not any(pin.startswith(f"{TRIO[0]}==") for pin in pins):
        raise StepFailed(f"pip installed no torch into {folder}")
    return pins
