"""Where originals are kept: on their own file system, so that a rename brings them back."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path

from klein_doctor.state import make_folder
from klein_doctor.transaction.journal import Journal

_BESIDE = ".klein-doctor"
# ComfyUI loads every folder in there.
_LOADED = "custom_nodes"


def backup_folder(journal: Journal, near: Path, announce: Callable[..., object]) -> Path:
    """The folder for originals that lie in or below near, which exists; it is made.

    In the state folder where that is on the same file system, else beside. The journal tells where;
    announce is told of the file it is tried with.

    Raises:
        OSError: it cannot be made.
    """
    place = journal.folder / "files"
    make_folder(place)
    if not _renames(near, place, announce):
        home = near.parent if near.name == _LOADED else near
        place = home / _BESIDE / journal.run
        if not place.is_dir():
            journal.add("backups", path=str(place))
            make_folder(place)
    return place


def free_name(folder: Path) -> Path:
    """A name in a folder that is not taken: a number, which no program takes for a model file."""
    for number in itertools.count(1):
        path = folder / f"{number:04d}"
        if not os.path.lexists(path):
            return path
    raise AssertionError("numbers end nowhere")


def _renames(source: Path, target: Path, announce: Callable[..., object]) -> bool:
    """Whether a file can be renamed from one folder to the other; devices alone do not tell."""
    if os.stat(source).st_dev != os.stat(target).st_dev:
        return False
    probe = source / f".klein-doctor-{os.getpid()}"
    announce("probe", path=str(probe))
    try:
        probe.touch(exist_ok=False)
    except OSError:
        return True  # not writable: whatever is tried there will say so
    try:
        os.rename(probe, target / probe.name)
        os.unlink(target / probe.name)
    except OSError as error:
        probe.unlink(missing_ok=True)
        if error.errno == errno.EXDEV:
            return False
        raise
    return True
