"""Do the model's files go together, and are they the ones that are meant on this card?"""

from __future__ import annotations

from klein_doctor.assets import (
    BY_ID,
    Room,
    broken,
    fetch,
    right,
    room_for,
    rules,
    told,
    usable,
)
from klein_doctor.card import card
from klein_doctor.model import Facts, Harm, Known, Outcome, Repair, Unknown, Verdict
from klein_doctor.modelfiles import ModelFile, Models
from klein_doctor.outcomes import passed
from klein_doctor.recipe import Recipe, pair
from klein_doctor.registry import check

Judged = Outcome | tuple[Outcome, ...] | tuple[()]


@check(
    "pair-mismatch",
    family="assets",
    title="Transformer and text encoder go together",
    harm=Harm.STOPS,
    follows=("transformer-wrong", "encoder-wrong"),
    reads="The width in which the transformers found take their text, and the hidden width of the "
    "encoders found: the first is three times the second, because Klein reads three layers.",
    why="Any other pair ends the run with 'mat1 and mat2 shapes cannot be multiplied'.",
    by_hand="For Klein 4B (7680 wide) use Qwen3-4B (2560). Qwen3-8B (4096) belongs to Klein 9B.",
)
def pair_mismatch(facts: Facts, recipe: Recipe) -> Judged:
    models = told(facts, recipe)
    if models is None:
        return ()
    transformers = _with_width(models, "transformer")
    encoders = _with_width(models, "encoder")
    if not transformers or not encoders:
        return ()
    if any(broken(models, recipe, r) and not right(models, r) for r in ("transformer", "encoder")):
        return ()  # the one that is meant is there; what else lies beside it does not matter
    for transformer in transformers:
        for encoder in encoders:
            if transformer.conditioning == 3 * encoder.conditioning:
                width = transformer.conditioning
                return passed(f"Transformer and text encoder go together ({width} wide)")
    transformer, encoder = transformers[0], encoders[0]
    gives, takes = 3 * encoder.conditioning, transformer.conditioning
    assets = rules(recipe)
    row = assets.widths.get(gives)
    what = f" ({row.says})" if row else ""
    room = room_for(models, recipe, "encoder")
    return Outcome(
        Verdict.FAIL,
        "No text encoder here goes with the transformer",
        f"The transformer takes text {takes} wide, the encoder gives {gives}{what}. The run ends "
        f"with 'mat1 and mat2 shapes cannot be multiplied (512x{gives} and {takes}x...)'.",
        subject=encoder.path,
        evidence={"takes": takes, "gives": gives, **room.evidence},
        fixes=(*room.fixes, fetch(facts, recipe, "encoder")),
    )


def _with_width(models: Models, role: str) -> list[ModelFile]:
    """Sound files of a role in its folder whose width is known, Klein's own first."""
    found = [
        f
        for f in models.files
        if f.role == role
        and f.conditioning
        and not f.damage
        and not f.shadowed
        and f.category == BY_ID[role].category
        and (role == "encoder" or f.family.startswith("flux2-"))
    ]
    return sorted(found, key=lambda f: not usable(f))


@check(
    "base-for-distilled",
    family="assets",
    title="The transformer is the distilled one",
    harm=Harm.WRONG_IMAGE,
    reads="Whether the transformers found are the distilled build (4 steps) or the base: by "
    "header for FP8 and NVFP4, by digest only for BF16 and GGUF.",
    why="The base needs 20 to 50 steps and a guidance scale; at the 4 steps of the distilled build "
    "it draws blurred, washed-out pictures without any error.",
    by_hand="For 4 steps use flux-2-klein-4b-fp8.safetensors; for the base use its own workflow.",
)
def base_for_distilled(facts: Facts, recipe: Recipe) -> Judged:
    models = told(facts, recipe)
    if models is None:
        return ()
    found = right(models, "transformer")
    bases = [f for f in found if f.variant == "base"]
    misnamed = [f for f in bases if f.named_variant == "distilled"]
    fetched = () if len(bases) < len(found) else (fetch(facts, recipe, "transformer"),)
    if misnamed:
        title = "The base model has the name of the distilled one"
        room = room_for(models, recipe, "transformer", misnamed)
        return _base(misnamed[0], Verdict.FAIL, title, room, fetched)
    if bases and fetched:
        title = "Only the base model of Klein 4B is here"
        room = room_for(models, recipe, "transformer")
        return _base(bases[0], Verdict.WARN, title, room, fetched)
    if not found:
        return ()
    if any(f.variant == "distilled" for f in found):
        return passed("The distilled transformer is here")
    return passed("Distilled or base: only the digest tells, and it was not computed yet")


def _base(
    file: ModelFile, verdict: Verdict, title: str, room: Room, fetched: tuple[Repair, ...]
) -> Outcome:
    return Outcome(
        verdict,
        title,
        "It is the undistilled build, which needs 20 to 50 steps and a guidance scale. With the 4 "
        "steps of the distilled build its pictures come out blurred and washed out, without any "
        "error.",
        subject=file.path,
        evidence={"variant": file.variant, "quantisation": file.quantisation, **room.evidence},
        fixes=(*room.fixes, *fetched),
    )


@check(
    "license-non-commercial",
    family="assets",
    title="No non-commercial weights would be used",
    harm=Harm.NOTE,
    reads="Whether weights of FLUX.2 [klein] 9B or FLUX.2 [dev] lie where Klein 4B should.",
    why="Only the 4B models are under Apache-2.0. 9B and dev are under the FLUX Non-Commercial "
    "License; that they download without a token elsewhere changes nothing.",
    by_hand="Use the 4B files, or make sure that your use is covered by the other license.",
)
def license_non_commercial(facts: Facts, recipe: Recipe) -> Judged:
    models = told(facts, recipe)
    if models is None:
        return ()
    found = [f for f in models.files if f.role == "transformer" and f.verdict == "refused"]
    if not found or right(models, "transformer") or broken(models, recipe, "transformer"):
        return ()
    file, room = found[0], room_for(models, recipe, "transformer")
    return Outcome(
        Verdict.FAIL,
        "The only transformer here is licensed for non-commercial use",
        f"It is {file.says}. The doctor neither fetches nor runs it.",
        subject=file.path,
        evidence={"family": file.family, "license": file.license, **room.evidence},
        fixes=(*room.fixes, fetch(facts, recipe, "transformer")),
    )


@check(
    "quantisation-unsupported",
    family="assets",
    title="Card and ComfyUI can run these weights",
    harm=Harm.SLOW,
    reads="How the usable weights are quantised, the card's compute capability and the custom "
    "nodes that are installed.",
    why="NVFP4 is computed by Blackwell cards only; others unpack it and gain nothing. GGUF files "
    "are listed by the ComfyUI-GGUF nodes alone.",
    by_hand="Use the FP8 file, or install ComfyUI-GGUF for GGUF files.",
)
def quantisation_unsupported(facts: Facts, recipe: Recipe) -> Judged:
    models = told(facts, recipe)
    if models is None:
        return ()
    outcomes = []
    for role in ("transformer", "encoder"):
        found = right(models, role)
        ggufs = [f for f in found if _is_gguf(f)]
        if ggufs and len(ggufs) == len(found) and _lacks_gguf(facts):
            room = room_for(models, recipe, role)
            outcomes.append(_no_node(facts, recipe, ggufs[0], room))
        slow = [f for f in found if _lacks_arithmetic(facts, recipe, f)]
        if slow and len(slow) == len(found):
            room = room_for(models, recipe, role)
            outcomes.append(_unpacked(facts, recipe, slow[0], room))
    return tuple(outcomes)


def _is_gguf(file: ModelFile) -> bool:
    return file.name.real.lower().endswith(".gguf")


def _lacks_gguf(facts: Facts) -> bool:
    """Whether the nodes that load GGUF are certainly not installed."""
    comfyui = facts.comfyui.value if isinstance(facts.comfyui, Known) else None
    if comfyui is None or not isinstance(comfyui.custom_nodes, Known):
        return False
    nodes = comfyui.custom_nodes.value
    listed = len(nodes.names) == nodes.total - nodes.disabled or len(nodes.names) == nodes.total
    return listed and not any("gguf" in name.real.lower() for name in nodes.names)


def _lacks_arithmetic(facts: Facts, recipe: Recipe, file: ModelFile) -> bool:
    """Whether the card has no arithmetic for the way these weights are stored."""
    known = card(facts)
    if isinstance(known, Unknown):
        return False
    return any(
        file.quantisation.startswith(row.quantisation)
        and known.value.capability < pair(row.min_capability)
        for row in rules(recipe).arithmetic
    )


def _no_node(facts: Facts, recipe: Recipe, file: ModelFile, room: Room) -> Outcome:
    return Outcome(
        Verdict.FAIL,
        "A GGUF file is here, but not the nodes that load it",
        "ComfyUI's own loaders do not list GGUF files, so it cannot be chosen.",
        subject=file.path,
        evidence={"quantisation": file.quantisation, **room.evidence},
        fixes=(
            *room.fixes,
            Repair("install-gguf-nodes", "packages", "manual", "install ComfyUI-GGUF"),
            fetch(facts, recipe, file.role),
        ),
    )


def _unpacked(facts: Facts, recipe: Recipe, file: ModelFile, room: Room) -> Outcome:
    return Outcome(
        Verdict.WARN,
        "The weights are NVFP4, which this card does not compute",
        "NVFP4 needs a Blackwell card. Others unpack it at every step: slower than FP8, with the "
        "loss of four bits.",
        subject=file.path,
        evidence={"quantisation": file.quantisation, **room.evidence},
        fixes=(*room.fixes, fetch(facts, recipe, file.role)),
    )
