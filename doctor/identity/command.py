"""``klein-doctor identify PATH...``: what is at each path, one line of verdict and its reason."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from klein_doctor.exits import Exit, UsageError
from klein_doctor.identity.digest import DigestStore, hash_files
from klein_doctor.identity.look import Looked, look, unread
from klein_doctor.identity.pipelines import INDEX, is_pipeline, judge_pipeline, read_pipeline
from klein_doctor.identity.walk import EXTENSIONS, Entry, reason, walk
from klein_doctor.output import Output
from klein_doctor.recipe_assets import AssetRules, load_assets
from klein_doctor.report.identity import json_text, render_lines
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
        UsageError: a format that identify does not write.
    """
    if options.format not in ("text", "json"):
        raise UsageError(f"--format {options.format}: identify writes text or json")
    found = [item for path in options.paths for item in _expand(Path(path))]
    store = DigestStore(state_folder(options.state_dir, os.environ))
    assets = load_assets()
    if options.deep:
        _hash(found, store, note)
    looked = [_name(item, assets, store) for item in found]
    if options.format == "json":
        output.send(lambda stream: _write(stream.write, json_text(looked)))
    else:
        output.send(lambda stream: render_lines(looked, stream))
    fine = all(item.identity.verdict in _FINE for item in looked)
    return Exit.OK if looked and fine else Exit.PROBLEMS


def _write(write: Callable[[str], int], text: str) -> None:
    write(text)


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
        yield from walk(folder, INDEX)
        return
    seen: set[str] = set()
    for place in folders:
        for entry in walk(place, INDEX):
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


def _hash(found: Iterable[_Found], store: DigestStore, note: Callable[[str], None]) -> None:
    """Hash every file anew and remember it."""
    from klein_doctor.progress import progress

    paths: list[Path] = []
    for item in found:
        if item.whole:
            paths.extend(entry.path for entry in walk(item.path) if not entry.problem)
        elif not item.problem:
            paths.append(item.path)
    total = sum(path.stat().st_size for path in paths if os.path.isfile(path))
    with progress(f"hashing {len(paths)} files", total) as add:
        hash_files(paths, store, lambda _, count: add(count), anew=True)
    try:
        store.save()
    except OSError as error:
        note(f"the digests could not be remembered: {error.strerror or error}")
