"""One writer per destination: the second waits, says for whom, and does not wait for the dead."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from klein_doctor.download.faults import DownloadError, Stopped, of_disk
from klein_doctor.download.part import MODE, drop_empty, lock_of, note_of, part_of, read_note
from klein_doctor.state import make_folder, own_like_parent
from klein_doctor.values import printable

_POLL_S = 0.25


@contextlib.contextmanager
def claim(
    destination: Path, idle_s: float, stop: threading.Event, note: Callable[[str], None]
) -> Iterator[None]:
    """Hold the lock beside a destination; it is released by the system if the holder dies.

    idle_s: how long a holder that gets no further is waited for.

    Raises:
        DownloadError: another doctor holds it and is stuck, or no file can be made there.
        Stopped: while waiting.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    path = lock_of(destination)
    try:
        make_folder(path.parent, MODE)
        lock = FileLock(path)
        try:
            _wait(lock, Timeout, destination, idle_s, stop, note)
        except NotImplementedError:  # a file system without locks
            # Under another name: the one that was just made for the other kind counts as held.
            path = path.with_name(path.name + "ed")
            lock = SoftFileLock(path)
            _wait(lock, Timeout, destination, idle_s, stop, note)
        with contextlib.suppress(OSError):
            own_like_parent(path)
    except OSError as error:
        raise of_disk(error, str(path.parent)) from error
    try:
        yield
    finally:
        # Removed while it is held: who waits for it notices that its name is gone.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()


def tidy_up(destination: Path) -> None:
    """Remove what a dead doctor left beside a destination and nobody can use: its lock, and a part
    without a single byte. Where a doctor is at work there, everything stays."""
    if any(map(os.path.lexists, (lock_of(destination), note_of(destination)))):
        free = claim(destination, 0.0, threading.Event(), lambda _: None)
        with contextlib.suppress(DownloadError, OSError), free:
            drop_empty(destination)


def abandon(destination: Path) -> None:
    """The same after a worker of this process that does not come back: it waits for a name server,
    say, and does nothing more than end when it wakes."""
    if read_note(destination).get("pid") == os.getpid():
        drop_empty(destination)
        with contextlib.suppress(OSError):
            lock_of(destination).unlink()


def _wait(
    lock: object, busy: type[Exception], destination: Path, idle_s: float,
    stop: threading.Event, note: Callable[[str], None],
) -> None:  # fmt: skip
    told = False
    mark, since = _mark(destination), time.monotonic()
    while True:
        try:
            lock.acquire(timeout=0)  # type: ignore[attr-defined]
            return
        except busy:
            pass
        now = _mark(destination)
        if now != mark:
            mark, since = now, time.monotonic()
        if time.monotonic() - since > idle_s:
            raise DownloadError(
                "locked", f"{_holder(destination)} holds {destination.name} and has got no "
                f"further for {idle_s:.0f} seconds; end it if it hangs, and run this again. Where "
                f"none runs, remove {lock_of(destination)}*", again=True,
            )  # fmt: skip
        if not told:
            note(f"{destination.name}: {_holder(destination)} is fetching it; waiting for that")
            told = True
        if stop.wait(_POLL_S):
            raise Stopped


def _holder(destination: Path) -> str:
    found = read_note(destination)
    host, pid, since = (printable(str(found.get(key, "?")), 60) for key in ("host", "pid", "since"))
    return f"another klein-doctor (process {pid} on {host}, since {since})"


def _mark(destination: Path) -> tuple[int, ...]:
    """What changes as long as the holder gets on: the part's length, the sign of life."""
    found = []
    for path in (part_of(destination), lock_of(destination)):
        try:
            status = os.lstat(path)
        except OSError:
            continue
        found += [status.st_size, status.st_mtime_ns]
    return tuple(found)
