"""The model files below a folder, as ComfyUI would list them: recursive, links followed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# ComfyUI 0.33 folder_paths.py; .gguf is what the ComfyUI-GGUF nodes add.
EXTENSIONS = (
    ".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".gguf",
)  # fmt: skip
# What makes a folder a diffusers checkout, whole or not.
PIPELINE_INDEX = "model_index.json"
# What makes a folder a Python environment: its .pth files are no models.
_ENVIRONMENT = ("pyvenv.cfg", "conda-meta")
_MOST_FOLDERS = 20_000
_DEEPEST = 32


class Entry(NamedTuple):
    """A file, or a place that could not be looked into (problem says why).

    name: relative to the folder that was walked, with the system's separators.
    whole: a folder that is one thing, and was not descended into.
    """

    path: Path
    name: str
    problem: str = ""
    whole: bool = False


def walk(folder: Path, marker: str = "") -> Iterator[Entry]:
    """Every model file below a folder, in order; loops and unreadable folders are named.

    marker: a file name that makes its folder one thing.
    """
    yield from _walk(folder, folder, (), [_MOST_FOLDERS], marker)


def _walk(
    folder: Path, top: Path, above: tuple[tuple[int, int], ...], left: list[int], marker: str
) -> Iterator[Entry]:
    name = str(folder.relative_to(top))
    try:
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            yield Entry(folder, name, "it leads back to a folder above it")
            return
        left[0] -= 1
        if left[0] < 0:
            return
        if len(above) >= _DEEPEST or left[0] == 0:
            what = "too deep" if left[0] else f"more than {_MOST_FOLDERS:,} folders"
            yield Entry(folder, name, f"{what}: it and what follows was left out")
            return
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        yield Entry(folder, name, reason(error))
        return
    if any(entry.name in _ENVIRONMENT for entry in entries):
        return
    if marker and any(entry.name == marker for entry in entries):
        yield Entry(folder, name, whole=True)
        return
    for entry in entries:
        path = folder / entry.name
        if _is_folder(entry):
            if entry.name != ".git":
                yield from _walk(path, top, (*above, here), left, marker)
        elif entry.name.lower().endswith(EXTENSIONS):
            yield Entry(path, str(path.relative_to(top)), _problem(entry))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _problem(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_file():
            return ""
        broken = entry.is_symlink() and not os.path.exists(entry.path)
        return "it is a link to nothing" if broken else "it is not a regular file"
    except OSError as error:
        return reason(error)


def is_pipeline(folder: Path) -> bool:
    """Whether a folder is a diffusers checkout, whole or not."""
    return os.path.lexists(folder / PIPELINE_INDEX)


def reason(error: OSError) -> str:
    """The system's own words, in lower case, without path."""
    text = error.strerror or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]
