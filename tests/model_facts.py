"""Literal facts about model files, judged from the real headers of the published ones."""

from __future__ import annotations

import io
from functools import cache

import model_files
from around import ROOT, join

from klein_doctor.identity.headers import parse
from klein_doctor.identity.identity import Evidence, judge_file
from klein_doctor.identity.names import names_of, stem
from klein_doctor.model import Private
from klein_doctor.modelfiles import ModelFile, Models, PipelineFolder
from klein_doctor.recipe_assets import load_assets

_PLACES = {
    "flux-2-klein-4b-fp8": ("diffusion_models", "flux-2-klein-4b-fp8.safetensors"),
    "qwen3-4b": ("text_encoders", "qwen_3_4b.safetensors"),
    "flux2-vae": ("vae", "flux2-vae.safetensors"),
}


def model_file(
    table: str,
    category: str = "",
    name: str = "",
    root: str = ROOT,
    sha256: str = "",
    cut: int = 0,
    **changes: object,
) -> ModelFile:
    """A published file as a fact; cut takes so many bytes off its end."""
    place, usual = _PLACES.get(table, ("diffusion_models", f"{table}.safetensors"))
    found = _judged(table, category or place, name or usual, root, sha256, cut)
    return found._replace(**changes)


@cache
def _judged(table: str, category: str, name: str, root: str, sha256: str, cut: int) -> ModelFile:
    start, length = model_files.real_header(table)
    size = len(start) + length - cut
    assets = load_assets()
    evidence = Evidence(name, category, size, sha256)
    identity = judge_file(parse(io.BytesIO(start), size), evidence, assets)
    row = names_of(assets).get(stem(name))
    values = identity._asdict()
    del values["belongs_in"]
    return ModelFile(
        category=category,
        path=Private.plain(join(root, "models", category, name)),
        name=Private.plain(name),
        size=size,
        named_for=assets.families[row.family].role if row else "",
        named_variant=row.variant if row else "",
        shadowed=False,
        **values,
    )


def models(*files: ModelFile, **changes: object) -> Models:
    """What was found of model files."""
    return Models(len(files), 0, files, (), (), None)._replace(**changes)


def healthy(root: str = ROOT) -> Models:
    """The three files of ComfyUI's route, not hashed yet."""
    return models(*(model_file(table, root=root) for table in _PLACES))


def pipeline(**changes: object) -> PipelineFolder:
    """A complete diffusers folder of Klein 4B."""
    return PipelineFolder(
        path=Private.plain(
            "~/.cache/huggingface/hub/models--black-forest-labs--FLUX.2-klein-4B/snapshots/e7b7dc27"
        ),
        kind="Flux2KleinPipeline",
        distilled=True,
        verdict="wanted",
        digest="unchecked",
        says="a complete diffusers folder of FLUX.2 [klein] 4B (distilled); digests not computed",
        missing=(),
    )._replace(**changes)
