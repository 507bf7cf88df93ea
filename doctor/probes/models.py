"""Model files on the search path of ComfyUI, and diffusers folders of Klein, by content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from klein_doctor.identity.walk import EXTENSIONS, is_pipeline, walk
from klein_doctor.installation import ComfyUI
from klein_doctor.modelfiles import Models
from klein_doctor.probes.disks import default_folders
from klein_doctor.probes.outside import Outside, is_file, names
from klein_doctor.values import Known

if TYPE_CHECKING:
    from klein_doctor.identity.digest import DigestStore

TIME_S = 3.0


class Place(NamedTuple):
    """A file and where it was found."""

    category: str
    path: Path
    name: str
    shadowed: bool


def read_models(
    outside: Outside,
    comfyui: ComfyUI | None,
    store: Callable[[], DigestStore],
    *,
    deep: bool = False,
    limit_s: float = TIME_S,
    recipe: str = "",
) -> Models:
    """Every model file that matters. deep: compute the digests first, however long it takes.

    recipe: as ``--recipe``.
    """
    unread: list[tuple[Path, str]] = []
    places = list(_places(comfyui, unread)) if comfyui is not None else []
    snapshots = list(_snapshots(outside))
    if not places and not snapshots and not unread:
        return Models(0, 0, (), (), (), () if deep else None)  # no table need be read for this
    from klein_doctor.probes.model_reader import Reader

    bound = float("inf") if deep else limit_s
    return Reader(outside, store(), bound, unread, recipe).models(places, snapshots, deep=deep)


def holds(comfyui: ComfyUI) -> Callable[[str, str], bool]:
    """Whether a folder of a category holds a file of this name; names may come from strangers."""
    folders = comfyui.folders.value if isinstance(comfyui.folders, Known) else ()

    def there(category: str, name: str) -> bool:
        place = Path(name.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or not name:
            return False
        return any(is_file(Path(f.path.real) / place) for f in folders if f.category == category)

    return there


def _places(comfyui: ComfyUI, unread: list[tuple[Path, str]]) -> Iterator[Place]:
    """The files of every folder ComfyUI searches, in its order; first of a name wins."""
    if not isinstance(comfyui.folders, Known):
        return
    seen: set[tuple[str, str]] = set()
    done: set[tuple[str, str]] = set()
    for folder in comfyui.folders.value:
        root = folder.path.real
        if not folder.exists or (folder.category, root) in done:
            continue
        done.add((folder.category, root))
        for entry in walk(Path(root)):
            if entry.problem:
                unread.append((entry.path, entry.problem))
                continue
            key = (folder.category, os.path.normcase(entry.name))
            yield Place(folder.category, entry.path, entry.name, key in seen)
            seen.add(key)
    models = Path(comfyui.base.real) / "models"
    for name in names(models):
        if name.lower().endswith(EXTENSIONS) and (models / name).is_file():
            yield Place("", models / name, name, False)


def _snapshots(outside: Outside) -> Iterator[Path]:
    """Diffusers folders of Klein 4B in the Hub's cache: of each repository the current one."""
    for role, hub in default_folders(outside, ()):
        if role != "hub-cache":
            continue
        for name in names(hub):
            if name.startswith("models--") and "klein" in name.lower() and "4b" in name.lower():
                folder = _current(hub / name)
                if folder is not None and is_pipeline(folder):
                    yield folder


def _current(repository: Path) -> Path | None:
    """The snapshot that ``main`` names, else the newest one."""
    snapshots = repository / "snapshots"
    try:
        commit = (repository / "refs" / "main").read_text(encoding="utf-8").strip()[:64]
        if commit.isalnum() and (snapshots / commit).is_dir():
            return snapshots / commit
    except (OSError, ValueError):
        pass
    found = [snapshots / name for name in names(snapshots)]
    try:
        return max(found, key=lambda path: path.stat().st_mtime, default=None)
    except OSError:
        return None
