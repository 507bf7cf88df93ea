"""Files that are on this machine already: found by size, in every place where models are kept."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from klein_doctor.recipe_downloads import Asset

_MOST_ENTRIES = 200_000
_DEEPEST = 12
# A small file's size tells nothing: it must have the name, too.
_SMALL = 1 << 20
_PARTS = (".part", ".incomplete", ".aria2", ".crdownload", ".tmp")


def candidates(assets: Iterable[Asset], places: Iterable[Path]) -> dict[Asset, list[Path]]:
    """For every asset the files that may be it, in the order of the places; none is read."""
    found: dict[Asset, list[Path]] = {asset: [] for asset in assets}
    by_size: dict[int, list[Asset]] = {}
    for asset in found:
        by_size.setdefault(asset.size, []).append(asset)
    seen: set[tuple[int, int]] = set()
    left = [_MOST_ENTRIES]
    for place in dict.fromkeys(places):
        for path, status in _files(place, _DEEPEST, left):
            fits = by_size.get(status.st_size, ())
            key = (status.st_dev, status.st_ino)
            if not fits or (key in seen and status.st_ino):
                continue
            seen.add(key)
            for asset in fits:
                if asset.size >= _SMALL or path.as_posix().endswith(f"/{asset.path}"):
                    found[asset].append(path)
    return found


def _files(folder: Path, depth: int, left: list[int]) -> Iterator[tuple[Path, os.stat_result]]:
    """Regular files below a folder; links to files are followed, links to folders at the top."""
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in listed:
        left[0] -= 1
        if left[0] < 0:
            return
        try:
            if entry.is_dir(follow_symlinks=False):
                if depth > 0 and entry.name not in (".git", ".venv", "node_modules"):
                    yield from _files(Path(entry.path), depth - 1, left)
            elif entry.is_file() and not entry.name.endswith(_PARTS):
                yield Path(entry.path), entry.stat()
        except OSError:
            continue
