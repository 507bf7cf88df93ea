"""Putting a proven file in its place: linked, cloned or renamed, and never over another one."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from klein_doctor.download.faults import of_disk
from klein_doctor.download.part import MODE, clear, free_name, note_of, part_of
from klein_doctor.identity.digest import DigestStore
from klein_doctor.identity.look import look
from klein_doctor.recipe_assets import AssetRules
from klein_doctor.state import make_folder, own_like_parent

_FICLONE = 0x40049409  # linux/fs.h: share the extents of another file (btrfs, XFS)


def bring(source: Path, destination: Path) -> str:
    """Make a proven file the part of a destination without copying: ``cloned``, ``linked`` or "".

    A clone shares the space and not the file, so it is tried first.

    Raises:
        DownloadError: the destination's folder cannot be written.
    """
    part = part_of(destination)
    try:
        make_folder(part.parent, MODE)
        clear(destination)
    except OSError as error:
        raise of_disk(error, str(part.parent)) from error
    if _clone(source, part):
        return "cloned"
    try:
        os.link(os.path.realpath(source), part)
        return "linked"
    except OSError:  # another file system, one without links, or a file of another user
        return ""


def absent(folders: Iterable[Path]) -> list[Path]:
    """The folders that have to be made for these, those below before those above."""
    found: set[Path] = set()
    for folder in folders:
        while not os.path.lexists(folder) and folder not in found:
            found.add(folder)
            folder = folder.parent
    return sorted(found, key=lambda folder: -len(folder.parts))


def settle(destination: Path, rules: AssetRules, store: DigestStore) -> Path | None:
    """Give a finished, proven part its name; what had that name is renamed to what it is.

    Returns where that went, None where there was nothing.

    Raises:
        DownloadError: one of the two cannot be renamed; nothing is lost.
    """
    aside = None
    try:
        if os.path.lexists(destination):
            aside = _aside(destination, rules, store)
            os.rename(destination, aside)
        try:
            os.replace(part_of(destination), destination)
        except OSError:
            if aside is not None:
                os.rename(aside, destination)
            raise
        _sync_folder(destination.parent)
    except OSError as error:
        raise of_disk(error, str(destination)) from error
    with contextlib.suppress(OSError):
        note_of(destination).unlink()
    return aside


def _aside(path: Path, rules: AssetRules, store: DigestStore) -> Path:
    """A free name that says what a file is; a damaged one gets an ending nothing loads."""
    identity = look(path, rules, store).identity
    if identity.damage or identity.verdict in ("damaged", "") or not identity.family:
        return free_name(path, ".damaged" if identity.damage else ".replaced")
    kind = re.sub(r"[^a-z0-9.-]+", "-", f"{identity.family} {identity.variant}".lower())
    return free_name(path.with_suffix(f".{kind.strip('-')}"), path.suffix)


def _clone(source: Path, part: Path) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        with open(source, "rb") as old, open(part, "xb") as new:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
            os.fsync(new.fileno())
        own_like_parent(part)
        return True
    except OSError:
        part.unlink(missing_ok=True)
        return False


def _sync_folder(folder: Path) -> None:
    """The new name itself, too, must survive a power cut."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
