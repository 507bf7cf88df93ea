"""SHA-256 of large files: on every core, remembered by what a file cannot change without showing.

A digest is kept for (device, inode, size, time of last change in nanoseconds).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Union

from klein_doctor.identity.headers import open_regular, read_small
from klein_doctor.state import replace_file

_BLOCK = 1 << 18
_STORE = "digests.json"
_SCHEMA = "klein-doctor/digests/1"
_MOST_ENTRIES = 20_000
_LONGEST_STORE = 8 << 20
# The first look at an end is small: it is all that a sound file costs.
_GLANCE, _TAIL, _LONGEST_TAIL = 1 << 12, 1 << 16, 1 << 22
# A file changed this shortly before it was hashed may be changed again within the same tick of
# its file system's clock; FAT counts in steps of two seconds.
_FINE_NS, _COARSE_NS = 50_000_000, 2_000_000_000

Tick = Callable[[Path, int], None]
Result = Union[str, OSError]


class Stopped(Exception):
    """Hashing was told to stop."""


class DigestStore:
    """Digests of files by what they were when they were hashed; empty where there is no folder."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / _STORE if folder is not None else None
        self._entries = self._load()
        self._new: dict[str, str] = {}

    def get(self, status: os.stat_result) -> str:
        """The remembered digest of a file with this status, "" without one."""
        return self._entries.get(_key(status), "")

    def put(self, status: os.stat_result, digest: str, begun_ns: int) -> None:
        """Remember a digest whose computation began then: for this run, and if safe for later."""
        self._entries[_key(status)] = digest
        coarse = status.st_mtime_ns % 1_000_000_000 == 0
        if begun_ns - status.st_mtime_ns > (_COARSE_NS if coarse else _FINE_NS):
            self._new[_key(status)] = digest

    def save(self) -> None:
        """Write what is new to disk, beside what another doctor wrote meanwhile.

        Raises:
            OSError: the folder cannot be written.
        """
        if self._path is None or not self._new:
            return
        entries = {**self._load(), **self._new}
        kept = dict(list(entries.items())[-_MOST_ENTRIES:])
        replace_file(self._path, json.dumps({"schema": _SCHEMA, "entries": kept}, indent=0))
        self._new = {}

    def _load(self) -> dict[str, str]:
        """What is on disk; a store that is damaged or of another kind counts as empty."""
        try:
            raw = read_small(self._path, _LONGEST_STORE + 1) if self._path is not None else b""
            if len(raw) > _LONGEST_STORE:
                return {}
            data = json.loads(raw.decode("utf-8"))
            found = data["entries"] if data["schema"] == _SCHEMA else {}
            return {k: v for k, v in found.items() if isinstance(v, str) and len(v) == 64}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}


def hash_files(
    paths: Iterable[Path], store: DigestStore, tick: Tick, *, anew: bool = False
) -> dict[Path, Result]:
    """Digests of files, several at once; tick is told of bytes as they are read.

    anew: hash although a digest is remembered. A file that cannot be read has its OSError.
    """
    found: dict[Path, Result] = {}
    rest: list[tuple[int, Path]] = []
    for path in dict.fromkeys(paths):
        try:
            status = path.stat()
        except OSError as error:
            found[path] = error
            continue
        known = "" if anew else store.get(status)
        if known:
            found[path] = known
        else:
            rest.append((status.st_size, path))
    if rest:
        # The largest first, so that no core ends up with one alone.
        ordered = [path for _, path in sorted(rest, key=lambda item: (-item[0], str(item[1])))]
        found.update(_hash_all(ordered, store, tick))
    return found


def hash_with_bar(paths: Iterable[Path], store: DigestStore) -> OSError | None:
    """Hash files anew under a progress bar and remember the digests; why that failed, if it did."""
    from klein_doctor.progress import progress

    listed = list(paths)
    with progress(f"hashing {len(listed)} files", sum(map(_size, listed))) as add:
        hash_files(listed, store, lambda _, count: add(count), anew=True)
    try:
        store.save()
    except OSError as error:
        return error
    return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # it is named where it is read


def _hash_all(paths: list[Path], store: DigestStore, tick: Tick) -> dict[Path, Result]:
    from concurrent.futures import ThreadPoolExecutor

    stop = threading.Event()
    with ThreadPoolExecutor(min(len(paths), _cores())) as pool:
        jobs = [(path, pool.submit(_guarded, path, store, tick, stop)) for path in paths]
        try:
            return {path: job.result() for path, job in jobs}
        except BaseException:
            stop.set()
            for _, job in jobs:
                job.cancel()
            raise


def _guarded(path: Path, store: DigestStore, tick: Tick, stop: threading.Event) -> Result:
    try:
        return _hash(path, store, tick, stop)
    except OSError as error:
        return error


def _hash(path: Path, store: DigestStore, tick: Tick, stop: threading.Event) -> str:
    begun = time.time_ns()
    digest = hashlib.sha256(usedforsecurity=False)
    block = bytearray(_BLOCK)
    view = memoryview(block)
    with open_regular(path) as raw:
        before = os.fstat(raw.fileno())
        if sys.platform != "win32" and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(raw.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while count := raw.readinto(block):  # type: ignore[attr-defined]
            digest.update(view[:count])
            tick(path, count)
            if stop.is_set():
                raise Stopped
        after = os.fstat(raw.fileno())
    if _key(before) != _key(after):
        raise OSError(errno.EBUSY, "it changed while it was read; a download may be under way")
    store.put(before, digest.hexdigest(), begun)
    return digest.hexdigest()


def zero_tail(path: Path) -> int:
    """How many zeros a file ends with at least, in blocks of 64 KiB; 0 for what cannot be read."""
    try:
        with open_regular(path) as raw:
            size = end = os.fstat(raw.fileno()).st_size
            raw.seek(max(0, size - _GLANCE))
            if raw.read(_GLANCE).strip(b"\0"):
                return 0
            while end > 0 and size - end < _LONGEST_TAIL:
                begin = max(0, end - _TAIL)
                raw.seek(begin)
                if raw.read(end - begin).strip(b"\0"):
                    break
                end = begin
            return size - end
    except OSError:
        return 0


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _key(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
