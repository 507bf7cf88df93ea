"""What the Hub's own client leaves behind when it is killed: ``*.incomplete``, never used again.

huggingface_hub 2.4.0, file_download.py: since 1.18 each try writes a new one.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_MOST = 100_000
_BELOW = Path(".cache") / "huggingface" / "download"


class Leftover(NamedTuple):
    """A file of so many bytes."""

    path: Path
    size: int


def leftovers(caches: Iterable[Path], folders: Iterable[Path], age_s: float) -> list[Leftover]:
    """Those older than an age: in blobs of the Hub's caches, and where ``--local-dir`` keeps them.

    A younger one may belong to a download that is running.
    """
    found: set[Leftover] = set()
    left = [_MOST]
    roots = [path for cache in caches for path in _blobs(cache)]
    roots += [folder / _BELOW for folder in folders]
    for root in dict.fromkeys(roots):
        for path, status in _incomplete(root, left):
            if time.time() - status.st_mtime >= age_s:
                found.add(Leftover(path, status.st_size))
    return sorted(found)


def remove(items: Iterable[Leftover]) -> tuple[int, list[str]]:
    """Delete them; bytes that were freed, and what could not be deleted."""
    freed, kept = 0, []
    for item in items:
        try:
            item.path.unlink()
            freed += item.size
        except OSError as error:
            kept.append(f"{item.path}: {error.strerror or error}")
    return freed, kept


def _blobs(cache: Path) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(cache))
    except OSError:
        return
    for name in names:
        if name.startswith("models--"):
            yield cache / name / "blobs"


def _incomplete(folder: Path, left: list[int]) -> Iterator[tuple[Path, os.stat_result]]:
    for above, _, names in os.walk(folder):
        for name in names:
            left[0] -= 1
            if left[0] < 0:
                return
            if name.endswith(".incomplete"):
                path = Path(above) / name
                with contextlib.suppress(OSError):
                    yield path, os.lstat(path)
