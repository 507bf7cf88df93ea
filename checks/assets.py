"""Are the three parts of Klein there, and are they what their names say?"""

from __future__ import annotations

from klein_doctor.assets import (
    BY_ID,
    ROLES,
    Role,
    asked,
    broken,
    candidates,
    elsewhere,
    fetch,
    in_place,
    renamed,
    right,
    room_for,
    told,
    usable,
)
from klein_doctor.model import Facts, Harm, Outcome, Repair, Unknown, Verdict
from klein_doctor.modelfiles import ModelFile, Models
from klein_doctor.outcomes import gib, passed, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check

Judged = Outcome | tuple[Outcome, ...] | tuple[()]
_READS = (
    "The headers of the model files in every folder ComfyUI searches, in its own order: names, "
    "types and shapes of their tensors, then size, then a digest that was computed earlier."
)
_BY_HAND = (
    "'klein-doctor identify' on the file or the folder says what is there. The three files of "
    "Klein 4B are flux-2-klein-4b-fp8.safetensors (models/diffusion_models), "
    "qwen_3_4b.safetensors (models/text_encoders) and flux2-vae.safetensors (models/vae)."
)


def _missing(facts: Facts, recipe: Recipe, role: Role) -> Judged:
    title = f"Whether the {role.says} is there is not known"
    models = asked(facts, recipe)
    if models is None:
        return ()
    if isinstance(models, Unknown):
        return unknown(title, models)
    found = right(models, role.id)
    if found:
        return passed(f"The {role.says} is there ({_kind(found[0])})", files=_names(found))
    if elsewhere(models, role.id) or candidates(models, role.id):
        return ()  # what is there is spoken of by other checks
    if models.left:
        why = f"{models.left} files could not be looked into in time"
        return unknown(title, f"{why}; klein-doctor identify takes all the time it needs")
    seen = (
        f"None of the {models.total} model files on ComfyUI's search path is it."
        if models.total
        else "There is no model file at all on ComfyUI's search path."
    )
    return Outcome(
        Verdict.FAIL,
        f"The {role.says} is missing",
        f"{seen} Without it no picture can be made; the node '{role.loader}' finds nothing to "
        "load.",
        evidence={"role": role.id, "files": models.total},
        fixes=(fetch(facts, recipe, role.id),),
    )


def _wrong(facts: Facts, recipe: Recipe, role: Role) -> Judged:
    models = told(facts, recipe)
    if models is None:
        return ()
    others = [f for f in candidates(models, role.id) if not f.damage]
    found = right(models, role.id)
    # What is there and damaged is the fault, not its neighbours of other models.
    there = found or broken(models, recipe, role.id)
    if there:
        others = [f for f in others if f.named_for == role.id and f.verdict != "unknown"]
    if not others or (not found and elsewhere(models, role.id)):
        return ()
    first = _worst(others, role.id)
    misnamed = [f for f in others if f.named_for == role.id]
    room = renamed(sorted(misnamed, key=lambda f: f is not first))
    more = f" {len(others) - 1} more in its folder are no {role.says} either." if others[1:] else ""
    fixes = room.fixes if there else (*room.fixes, fetch(facts, recipe, role.id))
    return Outcome(
        Verdict.WARN if found else Verdict.FAIL,
        f"A file named like the {role.says} is something else"
        if first.named_for == role.id
        else f"What is there is not the {role.says}",
        f"By its content it is {first.says}.{more}",
        subject=first.path,
        evidence={
            "family": first.family,
            "size": first.size,
            "files": _names(others),
            **room.evidence,
        },
        fixes=fixes,
    )


def _worst(others: list[ModelFile], role: str) -> ModelFile:
    """The one most likely taken for the right one: by its published name."""
    return next((f for f in others if f.named_for == role), others[0])


def _kind(file: ModelFile) -> str:
    details = [file.variant, file.quantisation]
    return ", ".join(part for part in details if part) or gib(file.size)


def _names(files: list[ModelFile]) -> tuple[object, ...]:
    return tuple(f.name for f in files[:6])


_TRANSFORMER, _ENCODER, _VAE = ROLES


@check(
    "transformer-missing",
    family="assets",
    title="The transformer is there",
    harm=Harm.STOPS,
    reads=_READS,
    why="The transformer is the model itself; without it there is nothing to run.",
    by_hand=_BY_HAND,
)
def transformer_missing(facts: Facts, recipe: Recipe) -> Judged:
    return _missing(facts, recipe, _TRANSFORMER)


@check(
    "encoder-missing",
    family="assets",
    title="The text encoder is there",
    harm=Harm.STOPS,
    reads=_READS,
    why="The text encoder turns the prompt into what the transformer understands. Klein 4B was "
    "trained with Qwen3-4B and runs with no other.",
    by_hand=_BY_HAND,
)
def encoder_missing(facts: Facts, recipe: Recipe) -> Judged:
    return _missing(facts, recipe, _ENCODER)


@check(
    "vae-missing",
    family="assets",
    title="The VAE is there",
    harm=Harm.STOPS,
    reads=_READS,
    why="The VAE turns the model's numbers into a picture. That of FLUX.1 or of Stable Diffusion "
    "has another number of channels.",
    by_hand=_BY_HAND,
)
def vae_missing(facts: Facts, recipe: Recipe) -> Judged:
    return _missing(facts, recipe, _VAE)


@check(
    "transformer-wrong",
    family="assets",
    title="The transformer is that of Klein 4B",
    harm=Harm.STOPS,
    reads=_READS,
    why="Many models are called klein or flux; the names of files say little, and a wrong one "
    "fails late with a message about matrices.",
    by_hand=_BY_HAND,
)
def transformer_wrong(facts: Facts, recipe: Recipe) -> Judged:
    return _wrong(facts, recipe, _TRANSFORMER)


@check(
    "encoder-wrong",
    family="assets",
    title="The text encoder is Qwen3-4B",
    harm=Harm.STOPS,
    reads=_READS,
    why="An encoder of another width ends the run with 'mat1 and mat2 shapes cannot be "
    "multiplied'; one of the same width gives pictures that follow the prompt badly.",
    by_hand=_BY_HAND,
)
def encoder_wrong(facts: Facts, recipe: Recipe) -> Judged:
    return _wrong(facts, recipe, _ENCODER)


@check(
    "vae-wrong",
    family="assets",
    title="The VAE is that of FLUX.2",
    harm=Harm.STOPS,
    reads=_READS + " Two published files are called flux2-vae.safetensors; both are right.",
    why="With another VAE the run ends at its last step, after the sampling, with 'expected input "
    "to have 16 channels' or the like.",
    by_hand=_BY_HAND,
)
def vae_wrong(facts: Facts, recipe: Recipe) -> Judged:
    return _wrong(facts, recipe, _VAE)


@check(
    "asset-misplaced",
    family="assets",
    title="The model's files lie where ComfyUI looks for them",
    harm=Harm.STOPS,
    reads=_READS,
    why="Each loader of ComfyUI lists the files of its own folders alone; a right file in another "
    "one cannot be chosen.",
    by_hand="Move or link the file: the transformer to models/diffusion_models, the encoder to "
    "models/text_encoders, the VAE to models/vae; then press R in ComfyUI.",
)
def asset_misplaced(facts: Facts, recipe: Recipe) -> Judged:
    models = told(facts, recipe)
    if models is None:
        return ()
    found = [_astray(models, recipe, role) for role in ROLES]
    outcomes = tuple(outcome for outcome in found if outcome is not None)
    some = any(usable(f) and in_place(f) for f in models.files)
    return outcomes or (passed("The files lie where ComfyUI looks for them") if some else ())


def _astray(models: Models, recipe: Recipe, role: Role) -> Outcome | None:
    astray = elsewhere(models, role.id)
    if not astray or right(models, role.id):
        return None
    file = astray[0]
    place = f"a folder for {file.category}" if file.category else "models/ itself"
    summary = f"link it into models/{BY_ID[role.id].category}"
    room = room_for(models, recipe, role.id)
    return Outcome(
        Verdict.FAIL,
        f"The {role.says} lies in the wrong folder",
        f"It is sound, but it lies in {place}, where the node '{role.loader}' does not look. That "
        f"node lists models/{role.category} only.",
        subject=file.path,
        evidence={
            "role": role.id,
            "category": file.category,
            "belongs_in": role.category,
            **room.evidence,
        },
        fixes=(*room.fixes, Repair("place-assets", "move", "safe", summary)),
    )
