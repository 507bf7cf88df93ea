"""Model files on the search path of ComfyUI, and diffusers folders of Klein, by content."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from klein_doctor.identity.digest import DigestStore, hash_files
from klein_doctor.identity.look import Looked, look
from klein_doctor.identity.pipelines import is_pipeline, judge_pipeline, read_pipeline
from klein_doctor.identity.walk import EXTENSIONS, walk
from klein_doctor.installation import ComfyUI
from klein_doctor.modelfiles import Duplicate, ModelFile, Models, PipelineFolder
from klein_doctor.probes.disks import default_folders
from klein_doctor.probes.outside import Outside, is_file, names
from klein_doctor.recipe_assets import AssetRules, KnownFile, load_assets
from klein_doctor.values import Known, printable

TIME_S = 3.0
# Where ComfyUI takes the parts of Klein from; elsewhere only what looks like one is looked into.
_MAIN = ("diffusion_models", "text_encoders", "vae")
_HINTS = ("klein", "flux2", "flux-2", "flux.2", "flux_2", "qwen_3", "qwen3")
_OTHERS = 3
_MOST_FILES, _MOST_UNREAD, _MOST_PIPELINES = 24, 12, 4
_USED = ("wanted", "variant", "refused")

Hasher = Callable[[list[Path], DigestStore], None]


class _Place(NamedTuple):
    """A file and where it was found."""

    category: str
    path: Path
    name: str
    shadowed: bool


class _Reader:
    """One reading of a machine's model files, within a time limit."""

    def __init__(self, outside: Outside, store: DigestStore, limit_s: float) -> None:
        self._outside, self._store = outside, store
        self._assets = load_assets()
        self._end = time.monotonic() + limit_s
        self._named = names_of(self._assets)
        self._sizes = {row.bytes for row in self._assets.files if row.bytes}
        self.unread: list[tuple[Path, str]] = []
        self.left = 0

    def looked(self, places: list[_Place]) -> list[tuple[_Place, Looked]]:
        """What each file is; what matters most first, in case time runs out."""
        found = []
        for place in sorted(places, key=self._rank):
            if place.category not in _MAIN and not self._likely(place):
                continue
            if time.monotonic() > self._end:
                self.left += 1
                continue
            item = look(place.path, self._assets, self._store)
            if item.problem:
                self.unread.append((place.path, item.problem))
            found.append((place, item))
        order = {place: number for number, place in enumerate(places)}
        return sorted(found, key=lambda pair: order[pair[0]])

    def kept(self, found: list[tuple[_Place, Looked]]) -> list[tuple[_Place, Looked]]:
        """Those that matter to Klein, and a few others of each kind of folder."""
        others: dict[str, int] = {}
        kept = []
        for place, item in found:
            family = self._assets.families.get(item.identity.family)
            matters = self.row_of(place) is not None or (family and family.verdict in _USED)
            if not matters and place.category in _MAIN:
                others[place.category] = others.get(place.category, 0) + 1
                matters = others[place.category] <= _OTHERS
            if matters and not item.problem:
                kept.append((place, item))
        # Of a collector's many, those stay that decide something.
        first = sorted(kept, key=self._weight)[:_MOST_FILES]
        return [pair for pair in kept if pair in first]

    def _weight(self, pair: tuple[_Place, Looked]) -> int:
        place, item = pair
        if item.identity.verdict in ("wanted", "variant") and item.identity.role != "lora":
            return 0
        return 1 if self.row_of(place) is not None else 2

    def row_of(self, place: _Place) -> KnownFile | None:
        """The published file that has this name, whatever its ending."""
        return self._named.get(Path(place.name).stem.lower())

    def fact(self, place: _Place, item: Looked) -> ModelFile:
        """As it stands in the facts."""
        identity, row = item.identity, self.row_of(place)
        redactor = self._outside.redactor
        return ModelFile(
            category=place.category,
            path=redactor.path(str(place.path)),
            name=redactor.path(printable(place.name, 300)),
            size=item.size,
            role=identity.role,
            family=identity.family,
            variant=identity.variant,
            quantisation=identity.quantisation[:40],
            verdict=identity.verdict,
            structure=identity.structure,
            digest=identity.digest,
            license=identity.license,
            layout=identity.layout,
            known=identity.known,
            damage=identity.damage,
            conditioning=identity.conditioning,
            complete=identity.complete,
            says=identity.says,
            named_for=self._assets.families[row.family].role if row else "",
            named_variant=row.variant if row else "",
            shadowed=place.shadowed,
        )

    def pipelines(self) -> tuple[PipelineFolder, ...]:
        """The diffusers folders of Klein 4B in the Hub's cache."""
        found = []
        for folder in _snapshots(self._outside):
            pipeline = read_pipeline(folder, self._assets, self._store)
            identity = judge_pipeline(pipeline)
            found.append(
                PipelineFolder(
                    path=self._outside.redactor.path(str(folder)),
                    kind=printable(pipeline.kind, 80),
                    distilled=pipeline.distilled,
                    verdict=identity.verdict,
                    digest=identity.digest,
                    says=identity.says,
                    missing=tuple(printable(name, 120) for name in pipeline.missing[:20]),
                )
            )
        return tuple(found[:_MOST_PIPELINES])

    def _rank(self, place: _Place) -> tuple[bool, bool]:
        return (not self._likely(place), place.category not in _MAIN)

    def _likely(self, place: _Place) -> bool:
        """Whether the name or the size is that of a file that matters."""
        text = place.name.lower()
        if self.row_of(place) is not None or any(hint in text for hint in _HINTS):
            return True
        try:
            return place.path.stat().st_size in self._sizes
        except OSError:
            return False


def read_models(
    outside: Outside,
    comfyui: ComfyUI | None,
    store: DigestStore,
    hasher: Hasher | None = None,
    limit_s: float = TIME_S,
) -> Models:
    """Every model file that matters. hasher: compute the digests first, however long it takes."""
    reader = _Reader(outside, store, limit_s if hasher is None else float("inf"))
    places = list(_places(comfyui, reader.unread)) if comfyui is not None else []
    kept = reader.kept(reader.looked(places))
    duplicates = None
    if hasher is not None:
        hasher([place.path for place, _ in kept], store)
        again = [place for place, _ in kept]
        kept = reader.kept(reader.looked(again))
        duplicates = _duplicates(outside, kept)
    return Models(
        total=len(places),
        left=reader.left,
        files=tuple(reader.fact(place, item) for place, item in kept),
        pipelines=reader.pipelines(),
        unread=tuple(
            (outside.redactor.path(printable(str(path), 400)), why)
            for path, why in list(dict.fromkeys(reader.unread))[:_MOST_UNREAD]
        ),
        duplicates=duplicates,
    )


def holds(comfyui: ComfyUI) -> Callable[[str, str], bool]:
    """Whether a folder of a category holds a file of this name; names may come from strangers."""
    folders = comfyui.folders.value if isinstance(comfyui.folders, Known) else ()

    def there(category: str, name: str) -> bool:
        place = Path(name.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or not name:
            return False
        return any(is_file(Path(f.path.real) / place) for f in folders if f.category == category)

    return there


def hash_with_bar(paths: list[Path], store: DigestStore) -> None:
    """Digests of these files, anew, with a progress bar; remembered where there is a folder."""
    from klein_doctor.progress import progress

    total = 0
    for path in paths:
        try:
            total += path.stat().st_size
        except OSError:
            continue
    with progress(f"hashing {len(paths)} files", total) as add:
        hash_files(paths, store, lambda _, count: add(count), anew=True)
    try:
        store.save()
    except OSError:
        return  # what was computed still counts for this run


def _places(comfyui: ComfyUI, unread: list[tuple[Path, str]]) -> Iterator[_Place]:
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
            yield _Place(folder.category, entry.path, entry.name, key in seen)
            seen.add(key)
    models = Path(comfyui.base.real) / "models"
    for name in names(models):
        if name.lower().endswith(EXTENSIONS) and (models / name).is_file():
            yield _Place("", models / name, name, False)


def names_of(assets: AssetRules) -> dict[str, KnownFile]:
    """The published files of the wanted families, by name without ending; the wanted one first."""
    wanted = [
        row
        for row in assets.files
        if assets.families[row.family].verdict in ("wanted", "variant")
        and row.layout != "diffusers"
    ]
    found: dict[str, KnownFile] = {}
    for row in sorted(wanted, key=lambda row: not row.wanted):
        found.setdefault(Path(row.name).stem.lower(), row)
    return found


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


def _duplicates(outside: Outside, kept: list[tuple[_Place, Looked]]) -> tuple[Duplicate, ...]:
    """Files of one digest that are stored apart: other inodes, not links to one."""
    groups: dict[str, dict[tuple[int, int], Looked]] = {}
    for _, item in kept:
        try:
            status = item.path.stat()
        except OSError:
            continue
        if item.sha256:
            groups.setdefault(item.sha256, {})[(status.st_dev, status.st_ino)] = item
    return tuple(
        Duplicate(
            next(iter(group.values())).size,
            tuple(outside.redactor.path(str(item.path)) for item in group.values()),
        )
        for group in groups.values()
        if len(group) > 1
    )
