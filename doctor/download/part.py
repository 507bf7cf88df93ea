"""A file on its way: beside its destination, resumable, its digest computed while it is written.

``NAME.part`` holds what came so far, ``NAME.part.json`` which file that is a part of.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import queue
import shutil
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from klein_doctor.download.faults import Stopped, of_disk
from klein_doctor.identity.headers import read_small
from klein_doctor.state import make_folder, own_like_parent, replace_file

_SCHEMA = "klein-doctor/part/1"
_BLOCK = 1 << 20
_WAITING = 64  # blocks that were written and are not hashed yet
# So often what was written is brought to the disk: else the last fsync takes minutes on a slow
# disk, and a file larger than memory pushes everything else out of it.
_FLUSH = 1 << 25
_LONGEST = 4096
_MOST_NAMES = 1000
_ALIVE = 1 << 28  # bytes between two signs of life while nothing is written

MODE = 0o777  # of folders for models, less the umask

# Bytes, and whether they came just now.
Tick = Callable[[int, bool], None]


def part_of(destination: Path) -> Path:
    """The part of a destination."""
    return destination.with_name(destination.name + ".part")


def note_of(destination: Path) -> Path:
    """The note beside it."""
    return destination.with_name(destination.name + ".part.json")


def lock_of(destination: Path) -> Path:
    """The lock beside it."""
    return destination.with_name(destination.name + ".part.lock")


def xet_of(destination: Path) -> Path:
    """The folder of the Hub's own client, where that was asked for."""
    return destination.with_name(destination.name + ".part.xet")


def tidy(destination: Path) -> None:
    """Remove what a doctor left beside a file that is finished; its lock must be held."""
    if read_note(destination):
        clear(destination)
    with contextlib.suppress(OSError):
        note_of(destination).unlink()
    shutil.rmtree(xet_of(destination), ignore_errors=True)


def clear(destination: Path) -> None:
    """Make room for a new part. One that is not known to be the doctor's is renamed.

    Raises:
        OSError: that cannot be done.
    """
    path = part_of(destination)
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    # To take away one name of several, or of a link, takes nothing from the file.
    ours = bool(read_note(destination)) or found.st_nlink > 1 or not found.st_size
    if stat.S_ISREG(found.st_mode) and not ours:
        os.rename(path, free_name(path, ".foreign"))
    else:
        path.unlink()


def drop_empty(destination: Path) -> None:
    """Remove a part of the doctor's without a single byte, and its note; its lock must be held."""
    if not read_note(destination):
        return
    with contextlib.suppress(OSError):
        part = part_of(destination)
        if os.path.lexists(part):
            found = os.lstat(part)
            if found.st_size or not stat.S_ISREG(found.st_mode):
                return
            part.unlink()
        note_of(destination).unlink()


def free_name(path: Path, suffix: str) -> Path:
    """A name for what is set aside: with the suffix, and a number where that is taken."""
    for number in range(1, _MOST_NAMES):
        again = f".{number}" if number > 1 else ""
        found = path.with_name(f"{path.name}{again}{suffix}")
        if not os.path.lexists(found):
            return found
    raise FileExistsError(errno.EEXIST, "too many files of that name were set aside", str(path))


def alive(destination: Path) -> None:
    """Tell whoever waits for the lock that something is going on."""
    with contextlib.suppress(OSError):
        os.utime(lock_of(destination))


def kept(destination: Path, sha256: str, size: int) -> int:
    """How many bytes of this very file lie there from an earlier try; 0 for any other part."""
    note = read_note(destination)
    if note.get("sha256") != sha256 or note.get("size") != size:
        return 0
    try:
        found = os.lstat(part_of(destination))
    except OSError:
        return 0
    ours = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
    return found.st_size if ours and found.st_size <= size else 0


def read_note(destination: Path) -> dict[str, Any]:
    """What the note says; {} for none, or one that is damaged."""
    try:
        data = json.loads(read_small(note_of(destination), _LONGEST))
        return data if isinstance(data, dict) and data.get("schema") == _SCHEMA else {}
    except (OSError, ValueError, RecursionError):
        return {}


class Part:
    """The part of one destination, open for writing; a context manager that keeps what came.

    Where nothing came, nothing is kept.

    tick is told of bytes as they are there, negative where some are given up.
    """

    def __init__(
        self, destination: Path, sha256: str, size: int, tick: Tick, stop: threading.Event
    ) -> None:
        self.destination = destination
        self.path = part_of(destination)
        self.sha256, self.length = sha256, size
        self.size = 0
        self.carried = 0  # bytes of an earlier run
        self._tick, self._stop = tick, stop
        self._handle = -1
        self._hasher = _Hasher()
        self._flusher = _Flusher()

    def __enter__(self) -> Part:
        """Open it, and hash what is there.

        Raises:
            DownloadError: it cannot be written. Stopped: while hashing.
        """
        there = kept(self.destination, self.sha256, self.length)
        try:
            make_folder(self.path.parent, MODE)
            flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            if not there:
                # Never cut short in place: it may be a link to a file of somebody else.
                clear(self.destination)
                flags |= os.O_CREAT | os.O_EXCL
            self._handle = os.open(self.path, flags, 0o666)
            own_like_parent(self.path)
            self._flusher.handle = self._handle
            self._write_note()
            self._take_up(there)
        except OSError as error:
            self.__exit__()
            raise of_disk(error, str(self.path)) from error
        except BaseException:
            self.__exit__()
            raise
        self.carried = self.size
        return self

    def __exit__(self, *_: object) -> None:
        self._hasher.close()
        self._flusher.close()
        if self._handle < 0:
            return
        empty = self.length > 0 and not os.fstat(self._handle).st_size
        os.close(self._handle)
        self._handle = -1
        if empty:
            for path in (self.path, note_of(self.destination)):
                with contextlib.suppress(OSError):
                    path.unlink()

    def write(self, block: bytes) -> None:
        """Append; what was written counts even where the rest fails.

        Raises:
            DownloadError: it cannot be written.
        """
        view = memoryview(block)
        while view:
            try:
                count = os.write(self._handle, view)
            except OSError as error:
                raise of_disk(error, str(self.path.parent)) from error
            self._hasher.put(view[:count])
            self.size += count
            self._flusher.reached(self.size)
            self._tick(count, True)
            view = view[count:]

    def restart(self) -> None:
        """Give up what is there."""
        self._hasher.close()
        self._hasher = _Hasher()
        os.ftruncate(self._handle, 0)
        os.lseek(self._handle, 0, os.SEEK_SET)
        self._tick(-self.size, True)
        self.size = self.carried = 0

    def digest(self) -> str:
        """The SHA-256 of what is there."""
        return self._hasher.digest()

    def finish(self) -> None:
        """Bring everything to the disk, so that the name never outlives the content.

        Raises:
            DownloadError: the disk says no only now.
        """
        try:
            self._flusher.close()
            if self._flusher.error is not None:
                raise self._flusher.error
            os.fsync(self._handle)
        except OSError as error:
            raise of_disk(error, str(self.path.parent)) from error

    def _take_up(self, there: int) -> None:
        while self.size < there:
            if self._stop.is_set():
                raise Stopped
            block = os.read(self._handle, min(_BLOCK, there - self.size))
            if not block:
                break
            self._hasher.put(block)
            self.size += len(block)
            self._tick(len(block), False)
            if self.size % _ALIVE < len(block):
                alive(self.destination)

    def _write_note(self) -> None:
        note = {
            "schema": _SCHEMA, "sha256": self.sha256, "size": self.length, "pid": os.getpid(),
            "host": socket.gethostname(), "since": time.strftime("%H:%M:%S"),
        }  # fmt: skip
        replace_file(note_of(self.destination), json.dumps(note))


class _Flusher:
    """Brings what was written to the disk on a thread of its own, and lets go of its memory."""

    def __init__(self) -> None:
        self.handle = -1
        self.error: OSError | None = None  # the system tells it once, not again at the end
        self._asked = 0
        self._queue: queue.Queue[int | None] = queue.Queue(2)
        self._thread = threading.Thread(target=self._work, name="flush", daemon=True)
        self._thread.start()

    def reached(self, size: int) -> None:
        """The file has so many bytes now; waits where the disk is far behind."""
        if size < self._asked:  # it was begun anew
            self._asked = 0
        if size - self._asked >= _FLUSH:
            self._asked = size
            self._queue.put(size)

    def close(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (size := self._queue.get()) is not None:
            try:
                getattr(os, "fdatasync", os.fsync)(self.handle)
                if sys.platform == "linux":
                    os.posix_fadvise(self.handle, 0, size, os.POSIX_FADV_DONTNEED)
            except OSError as error:
                self.error = error


class _Hasher:
    """SHA-256 on a thread of its own: the network does not wait for it."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256(usedforsecurity=False)
        self._queue: queue.Queue[memoryview | bytes | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._work, name="sha256", daemon=True)
        self._thread.start()

    def put(self, block: memoryview | bytes) -> None:
        self._queue.put(block)

    def digest(self) -> str:
        self._queue.join()
        return self._digest.hexdigest()

    def close(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (block := self._queue.get()) is not None:
            self._digest.update(block)
            self._queue.task_done()
        self._queue.task_done()
