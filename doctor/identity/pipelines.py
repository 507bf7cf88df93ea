"""A diffusers checkout as one thing: its parts, their files, and what is missing of it.

Layout: diffusers 0.42, DiffusionPipeline.save_pretrained; Transformers for encoder and tokenizer.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from klein_doctor.identity.digest import DigestStore
from klein_doctor.identity.headers import read_small
from klein_doctor.identity.identity import UNREADABLE, Identity
from klein_doctor.identity.look import Looked, look, unread
from klein_doctor.identity.walk import PIPELINE_INDEX
from klein_doctor.recipe_assets import AssetRules
from klein_doctor.values import printable

_LONGEST = 8 << 20
# Part: files it needs beside its weights, any one of each group.
_CONFIGS: dict[str, tuple[tuple[str, ...], ...]] = {
    "scheduler": (("scheduler_config.json",),),
    "tokenizer": (("tokenizer_config.json",), ("tokenizer.json", "vocab.json")),
    "text_encoder": (("config.json",),),
    "transformer": (("config.json",),),
    "vae": (("config.json",),),
}
_ROLES = {"text_encoder": "encoder", "transformer": "transformer", "vae": "vae"}
_KLEIN = "Flux2KleinPipeline"
_FINE = ("wanted", "variant")


class Pipeline(NamedTuple):
    """A checkout. kind: the pipeline class its index names, "" where that cannot be read.

    distilled: what the index says, None where it says nothing. missing: files it lacks, relative.
    files: its weights, by part. fault: why its index cannot be used.
    """

    folder: Path
    kind: str
    distilled: bool | None
    missing: tuple[str, ...]
    files: tuple[tuple[str, Looked], ...]
    fault: str = ""


def read_pipeline(folder: Path, assets: AssetRules, store: DigestStore) -> Pipeline:
    """Read a checkout's index and look at every file it promises."""
    index = _json(folder / PIPELINE_INDEX)
    if not isinstance(index, dict):
        return Pipeline(folder, "", None, (), (), f"{PIPELINE_INDEX} cannot be read as JSON")
    parts = [
        name
        for name, value in index.items()
        if isinstance(value, list) and len(value) == 2 and value[0] and _is_name(name)
    ]
    if index.get("_class_name") == _KLEIN:
        parts = list(dict.fromkeys([*parts, *_CONFIGS]))
    missing: list[str] = []
    files: list[tuple[str, Looked]] = []
    for part in parts:
        for choices in _CONFIGS.get(part, ()):
            if not any(_there(folder / part / name) for name in choices):
                missing.append(f"{part}/{choices[0]}")
        if part in _ROLES:
            lost, found = _weights(folder / part, assets, store)
            missing += [f"{part}/{name}" for name in lost]
            files += [(part, looked) for looked in found]
    kind = index.get("_class_name")
    distilled = index.get("is_distilled")
    return Pipeline(
        folder,
        kind if isinstance(kind, str) else "",
        distilled if isinstance(distilled, bool) else None,
        tuple(missing),
        tuple(files),
    )


def judge_pipeline(pipeline: Pipeline) -> Identity:
    """A checkout's verdict: that of its worst part, in one sentence."""
    base = UNREADABLE._replace(role="pipeline", layout="diffusers")
    if pipeline.fault:
        return base._replace(verdict="damaged", says=f"a diffusers folder whose {pipeline.fault}")
    if pipeline.missing:
        few = ", ".join(printable(name, 80) for name in pipeline.missing[:3])
        more = f" and {len(pipeline.missing) - 3} more" if len(pipeline.missing) > 3 else ""
        says = f"an incomplete diffusers folder: {few}{more} missing"
        return base._replace(verdict="damaged", damage="incomplete", says=says)
    wrong = wrong_part(pipeline)
    families = {looked.identity.family for part, looked in pipeline.files if part == "transformer"}
    family = next(iter(families), "")
    if wrong is not None:
        part, looked = wrong
        verdict, why = looked.identity.verdict, looked.identity.says
        if verdict == "other":
            verdict = "impostor"
        if verdict in _FINE:  # sound, but not what belongs there
            verdict = "impostor"
            why = f"{looked.path.name} is {why}"
        says = f"a diffusers folder whose {part} is not right: {printable(why)}"
        license = looked.identity.license
        return base._replace(family=family, verdict=verdict, license=license, says=says)
    if pipeline.kind != _KLEIN or family != "flux2-klein-4b":
        kind = printable(pipeline.kind, 80) or "an unnamed class"
        return base._replace(family=family, verdict="impostor", says=f"a diffusers folder: {kind}")
    exact = all(looked.identity.structure == "exact" for _, looked in pipeline.files)
    proven = all(looked.identity.digest == "verified" for _, looked in pipeline.files)
    variant = "distilled" if pipeline.distilled else "base"
    says = f"a complete diffusers folder of FLUX.2 [klein] 4B ({variant})"
    return base._replace(
        family=family,
        variant=variant,
        verdict="wanted" if pipeline.distilled else "variant",
        structure="exact" if exact else "family",
        digest="verified" if proven else "unchecked",
        license="Apache-2.0",
        says=f"{says}; {'digests verified' if proven else 'digests not computed'}",
    )


def wrong_part(pipeline: Pipeline) -> tuple[str, Looked] | None:
    """The first weights that are damaged, of another role or naming, or a part for the 2nd time."""
    seen: set[str] = set()
    for part, looked in pipeline.files:
        identity = looked.identity
        if identity.verdict not in _FINE or identity.role != _ROLES[part] or identity.known in seen:
            return part, looked
        if part == "transformer" and identity.layout != "diffusers":
            return part, looked
        if identity.variant.startswith("part "):
            seen.add(identity.known)
    return None


def _weights(
    folder: Path, assets: AssetRules, store: DigestStore
) -> tuple[list[str], list[Looked]]:
    """Names of weight files that are missing, and those that are there."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return ["config.json and weights"], []
    indexes = [name for name in names if name.endswith(".safetensors.index.json")]
    wanted: set[str] = set()
    for name in indexes[:1]:
        index = _json(folder / name)
        shards = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(shards, dict):
            return [], [unread(folder / name, "its list of parts cannot be read as JSON")]
        wanted = {shard for shard in shards.values() if isinstance(shard, str) and _is_name(shard)}
    wanted = wanted or {name for name in names if name.endswith(".safetensors")}
    if not wanted:
        return ["*.safetensors"], []
    lost = sorted(name for name in wanted if not _there(folder / name))
    return lost, [look(folder / name, assets, store) for name in sorted(wanted.difference(lost))]


def _there(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _is_name(text: str) -> bool:
    """Whether a stranger's text is a plain file name: no way out of the folder."""
    return bool(text) and text not in (".", "..") and not set(text) & set("/\\\0:")


def _json(path: Path) -> Any:
    try:
        raw = read_small(path, _LONGEST + 1)
        return json.loads(raw.decode("utf-8")) if len(raw) <= _LONGEST else None
    except (OSError, ValueError, RecursionError):
        return None
