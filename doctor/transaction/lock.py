"""One doctor at a time per target, whoever runs it and wherever it keeps its state."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Iterator
from pathlib import Path

from klein_doctor.state import make_folder, own_like_parent
from klein_doctor.values import printable

NAME = ".klein-doctor.lock"


class Busy(Exception):
    """Another doctor works on this target; says who, in one line."""


def lock_of(places: tuple[str, ...], state: Path) -> Path:
    """The lock's file: in the target's own folder, so that every user's doctor sees the same one.

    places: the folders that stand for the target, the best one first; "" for none.
    """
    for place in places:
        if place and os.path.isdir(place) and os.access(place, os.W_OK):
            return Path(place) / NAME
    return state / NAME


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock; the system releases it when the holder dies, so none goes stale.

    Raises:
        Busy: somebody else holds it. OSError: the file cannot be made.
    """
    from filelock import FileLock, Timeout

    make_folder(path.parent)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Busy(_holder(path)) from None
    try:
        with contextlib.suppress(OSError):
            own_like_parent(path)
        note = path.with_name(path.name + ".pid")
        since = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        with contextlib.suppress(OSError):
            note.write_text(json.dumps({"pid": os.getpid(), "since": since}), encoding="utf-8")
            own_like_parent(note)
        yield
    finally:
        for name in (path.with_name(path.name + ".pid"), path):
            with contextlib.suppress(OSError):
                name.unlink()
        lock.release()


def _holder(path: Path) -> str:
    try:
        told = json.loads(path.with_name(path.name + ".pid").read_text("utf-8"))
        pid, since = (printable(str(told[key]), 40) for key in ("pid", "since"))
    except (OSError, ValueError, KeyError, TypeError):
        return "another klein-doctor is at work on this target"
    return f"another klein-doctor is at work on this target (process {pid}, since {since})"
