"""What each model file is and which of them matter to Klein: headers read, within a time limit."""

from __future__ import annotations

import time
from pathlib import Path

from klein_doctor.identity.digest import DigestStore, hash_with_bar
from klein_doctor.identity.look import Looked, look
from klein_doctor.identity.names import names_of, stem
from klein_doctor.identity.pipelines import judge_pipeline, read_pipeline
from klein_doctor.modelfiles import Duplicate, ModelFile, Models, PipelineFolder
from klein_doctor.probes.models import Place
from klein_doctor.probes.outside import Outside
from klein_doctor.recipe_assets import KnownFile, load_assets
from klein_doctor.values import Private, printable

# Where ComfyUI takes the parts of Klein from; elsewhere only what looks like one is looked into.
_MAIN = ("diffusion_models", "text_encoders", "vae")
_HINTS = ("klein", "flux2", "flux-2", "flux.2", "flux_2", "qwen_3", "qwen3")
_OTHERS = 3
_MOST_FILES, _MOST_UNREAD, _MOST_PIPELINES = 24, 12, 4
_USED = ("wanted", "variant", "refused")


class Reader:
    """One reading of a machine's model files, within a time limit; recipe: as ``--recipe``."""

    def __init__(
        self,
        outside: Outside,
        store: DigestStore,
        limit_s: float,
        unread: list[tuple[Path, str]],
        recipe: str = "",
    ) -> None:
        self._outside, self._store = outside, store
        self._assets = load_assets(recipe)
        self._end = time.monotonic() + limit_s
        self._named = names_of(self._assets)
        self._sizes = {row.bytes for row in self._assets.files if row.bytes}
        self.unread = unread
        self.left = 0

    def looked(self, places: list[Place]) -> list[tuple[Place, Looked]]:
        """What each file is; what matters most first, in case time runs out."""
        found = []
        likely = {place: self._likely(place) for place in places}
        wanted = [place for place in places if place.category in _MAIN or likely[place]]
        for place in sorted(wanted, key=lambda p: (not likely[p], p.category not in _MAIN)):
            if time.monotonic() > self._end:
                self.left += 1
                continue
            item = look(place.path, self._assets, self._store)
            if item.problem:
                self.unread.append((place.path, item.problem))
            found.append((place, item))
        order = {place: number for number, place in enumerate(places)}
        return sorted(found, key=lambda pair: order[pair[0]])

    def kept(self, found: list[tuple[Place, Looked]]) -> list[tuple[Place, Looked]]:
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
        numbers = sorted(range(len(kept)), key=lambda number: self._weight(kept[number]))
        return [kept[number] for number in sorted(numbers[:_MOST_FILES])]

    def _weight(self, pair: tuple[Place, Looked]) -> int:
        place, item = pair
        if item.identity.verdict in ("wanted", "variant") and item.identity.role != "lora":
            return 0
        return 1 if self.row_of(place) is not None else 2

    def row_of(self, place: Place) -> KnownFile | None:
        """The published file that has this name, whatever its ending."""
        return self._named.get(stem(place.name))

    def fact(self, place: Place, item: Looked) -> ModelFile:
        """As it stands in the facts."""
        identity, row = item.identity, self.row_of(place)
        redactor = self._outside.redactor
        words = identity._asdict()
        del words["belongs_in"]
        return ModelFile(
            category=place.category,
            path=redactor.path(str(place.path)),
            name=redactor.path(printable(place.name, 300)),
            size=item.size,
            named_for=self._assets.families[row.family].role if row else "",
            named_variant=row.variant if row else "",
            shadowed=place.shadowed,
            **words,
        )

    def pipelines(self, folders: list[Path]) -> tuple[PipelineFolder, ...]:
        """What these diffusers folders are."""
        found = []
        for folder in folders:
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

    def _likely(self, place: Place) -> bool:
        """Whether the name or the size is that of a file that matters."""
        text = place.name.lower()
        if self.row_of(place) is not None or any(hint in text for hint in _HINTS):
            return True
        try:
            return place.path.stat().st_size in self._sizes
        except OSError:
            return False

    def models(self, places: list[Place], snapshots: list[Path], *, deep: bool) -> Models:
        """The facts of these files and folders. deep: after computing their digests."""
        kept = self.kept(self.looked(places))
        duplicates = None
        if deep:
            hash_with_bar([place.path for place, _ in kept], self._store)
            kept = self.kept(self.looked([place for place, _ in kept]))
            duplicates = _duplicates(self._outside, kept)
        return Models(
            total=len(places),
            left=self.left,
            files=tuple(self.fact(place, item) for place, item in kept),
            pipelines=self.pipelines(snapshots),
            unread=_shown(self._outside, self.unread),
            duplicates=duplicates,
        )


def _shown(outside: Outside, unread: list[tuple[Path, str]]) -> tuple[tuple[Private, str], ...]:
    return tuple(
        (outside.redactor.path(printable(str(path), 400)), why)
        for path, why in list(dict.fromkeys(unread))[:_MOST_UNREAD]
    )


def _duplicates(outside: Outside, kept: list[tuple[Place, Looked]]) -> tuple[Duplicate, ...]:
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
