"""Makes klein_doctor importable from a checkout that is not installed, for programs run by hand."""

from __future__ import annotations

import atexit
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def importable() -> None:
    """Where klein_doctor is not installed, put a folder of links to the tree on sys.path."""
    if importlib.util.find_spec("klein_doctor") is not None:
        return
    folder = Path(tempfile.mkdtemp(prefix="klein-doctor-tree-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    package = folder / "klein_doctor"
    package.mkdir()
    for entry in (*(ROOT / "doctor").iterdir(), ROOT / "checks", ROOT / "fixes"):
        if entry.name != "__pycache__":
            (package / entry.name).symlink_to(entry)
    sys.path.insert(0, str(folder))
