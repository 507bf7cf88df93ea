"""``klein-doctor identify PATH...``: what is at each path, one line of verdict and its reason."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from klein_doctor.exits import Exit, UsageError
from klein_doctor.identity.digest import DigestStore, hash_with_bar
from klein_doctor.identity.look import Looked, look, unread
from klein_doctor.identity.pipelines import judge_pipeline, read_pipeline
from klein_doctor.identity.walk import (
    EXTENSIONS,
    PIPELINE_INDEX,
    Entry,
    is_pipeline,
    reason,
    walk,
)
from klein_doctor.output import Output
from klein_doctor.recipe_assets import AssetRules, load_assets
from klein_doctor.report.identity import render_json, render_lines
from klein_doctor.rows import RecipeError
from klein_doctor.state import state_folder

_FINE = ("wanted", "variant")


class _Found(NamedTuple):
    """A thing to be named; whole: a diffusers folder."""

    path: Path
    problem: str = ""
    whole: bool = False


def identify(options: argparse.Namespace, output: Output, note: Callable[[str], None]) -> Exit:
    """Name every file, write the answer, and return the exit code.

    Raises:
        UsageError: a format that identify does not write, or tables of --recipe that are not sound.
    """
    if options.format not in ("text", "json"):
        raise UsageError(f"--format {options.format}: identify writes text or json")
    found = [item for path in options.paths for item in _expand(Path(path))]
    store = DigestStore(state_folder(options.state_dir, os.environ))
    assets = _tables(options.recipe)
    if options.deep:
        error = hash_with_bar(_hashed(found), store)
        if error is not None:
            note(f"the digests could not be remembered: {error.strerror or error}")
    looked = [_name(item, assets, store) for item in found]
    render = render_json if options.format == "json" else render_lines
    output.send(lambda stream: render(looked, stream))
    fine = all(item.identity.verdict in _FINE for item in looked)
    return Exit.OK if looked and fine else Exit.PROBLEMS


def _tables(recipe: str) -> AssetRules:
    try:
        return load_assets(recipe)
    except RecipeError as error:
        raise UsageError(f"--recipe {recipe}: {error}") from error


def _expand(path: Path) -> Iterator[_Found]:
    """What a path of the command line stands for."""
    try:
        if not path.is_dir():
            path.lstat()
            yield _Found(path)
            return
        if is_pipeline(path):
            yield _Found(path, whole=True)
            return
    except (FileNotFoundError, NotADirectoryError):
        yield _Found(path, "there is no such file or folder")
        return
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else "its name cannot be used"
        yield _Found(path, why)
        return
    some = False
    for entry in _entries(path):
        some = True
        yield _Found(entry.path, entry.problem, entry.whole)
    if not some:
        yield _Found(path, f"no model files below it ({', '.join(EXTENSIONS)})")


def _entries(folder: Path) -> Iterator[Entry]:
    """The files below a folder; of a ComfyUI, those on its search path, each once."""
    folders = _search_path(folder)
    if folders is None:
        yield from walk(folder, PIPELINE_INDEX)
        return
    seen: set[str] = set()
    for place in folders:
        for entry in walk(place, PIPELINE_INDEX):
            if str(entry.path) not in seen:
                seen.add(str(entry.path))
                yield entry


def _search_path(folder: Path) -> list[Path] | None:
    """The model folders of a ComfyUI that exist, in its own order; None for other folders."""
    if not any(os.path.isfile(place / "main.py") for place in (folder, folder / "ComfyUI")):
        return None
    from klein_doctor.probes.comfyui_search import search_path

    found = search_path(folder)
    return None if found is None else [path for path in found if os.path.isdir(path)]


def _name(item: _Found, assets: AssetRules, store: DigestStore) -> Looked:
    if item.problem:
        return unread(item.path, item.problem)
    if item.whole:
        identity = judge_pipeline(read_pipeline(item.path, assets, store))
        return Looked(item.path, -1, "", identity)
    return look(item.path, assets, store)


def _hashed(found: Iterable[_Found]) -> Iterator[Path]:
    """The files to hash, those of a diffusers folder among them."""
    for item in found:
        if item.whole:
            yield from (entry.path for entry in walk(item.path) if not entry.problem)
        elif not item.problem:
            yield item.path
