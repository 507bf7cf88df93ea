"""What the facts say that a fault of a picture may come from: rows of images.toml whose condition
holds here. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from klein_doctor.assets import BY_ID, usable
from klein_doctor.generation import Generation
from klein_doctor.model import Facts, known
from klein_doctor.modelfiles import ModelFile, PipelineFolder
from klein_doctor.recipe_images import ImageRules

_MOST = 3
_REAL = "picture"
# The distilled model takes 4 steps, the base 20 or more.
_FEW_STEPS = 10
# Packages that a run may use in place of PyTorch's attention without being asked to.
_ATTENTION = ("xformers", "sageattention", "sageattn3")


class Suspicion(NamedTuple):
    """A check that may tell the cause, and why it may, as the end of a sentence."""

    check: str
    says: str


def suspicions(
    facts: Facts, ran: Generation, rules: ImageRules, fault: str
) -> tuple[Suspicion, ...]:
    """The likeliest causes of a fault, the likeliest first; what cannot be told is left out."""
    found = []
    for row in rules.causes:
        if fault not in row.faults:
            continue
        what = _HOLDS[row.when](facts, ran)
        if what:
            found.append(Suspicion(row.check, row.says.replace("{what}", what)))
    return tuple(found[:_MOST])


# --- conditions: "" where they do not hold, else what they hold of ------------------------------


def _always(facts: Facts, ran: Generation) -> str:
    return "this run"


def _encoder_in_parts(facts: Facts, ran: Generation) -> str:
    parts = [f for f in _files(facts) if f.role == "encoder" and _is_part(f)]
    return parts[0].name.public if parts else ""


def _is_part(file: ModelFile) -> bool:
    return not file.complete or file.variant.startswith("part ")


def _base_weights(facts: Facts, ran: Generation) -> str:
    if ran.steps >= _FEW_STEPS:
        return ""
    found = [f for f in _used(facts) if f.role == "transformer"]
    bases = [f.name.public for f in found if f.variant == "base"]
    return bases[0] if bases and len(bases) == len(found) else ""


def _strange_digest(facts: Facts, ran: Generation) -> str:
    return ", ".join(f.name.public for f in _used(facts) if f.digest == "mismatch")


def _not_hashed(facts: Facts, ran: Generation) -> str:
    if ran.expectation != _REAL:
        return ""
    if ran.route == "diffusers":
        folders = [p for p in _folders(facts) if p.digest == "unchecked"]
        return folders[0].path.public if folders else ""
    return ", ".join(f.name.public for f in _used(facts) if f.digest == "unchecked")


def _published(facts: Facts, ran: Generation) -> str:
    if ran.expectation != _REAL:
        return ""
    digests = [f.digest for f in _used(facts)]
    if ran.route == "diffusers":
        digests = [p.digest for p in _folders(facts)[:1]]
    return "the files" if digests and set(digests) == {"verified"} else ""


def _attention_package(facts: Facts, ran: Generation) -> str:
    names = [item.name for item in known(facts.extensions, ())]
    return " and ".join(name for name in names if name in _ATTENTION)


def _kernels_wrong(facts: Facts, ran: Generation) -> str:
    proof = known(facts.proof)
    if proof is None or proof.outcome != "wrong":
        return ""
    return ", ".join(test.name for test in proof.tests if test.required and test.outcome != "ok")


_HOLDS: dict[str, Callable[[Facts, Generation], str]] = {
    "always": _always,
    "encoder-in-parts": _encoder_in_parts,
    "base-weights": _base_weights,
    "strange-digest": _strange_digest,
    "not-hashed": _not_hashed,
    "published": _published,
    "attention-package": _attention_package,
    "kernels-wrong": _kernels_wrong,
}
CONDITIONS = tuple(_HOLDS)


def _files(facts: Facts) -> tuple[ModelFile, ...]:
    """Files that lie where ComfyUI takes such a part from."""
    models = known(facts.models)
    if models is None:
        return ()
    return tuple(
        f
        for f in models.files
        if f.role in BY_ID and f.category == BY_ID[f.role].category and not f.shadowed
    )


def _used(facts: Facts) -> tuple[ModelFile, ...]:
    return tuple(f for f in _files(facts) if usable(f))


def _folders(facts: Facts) -> tuple[PipelineFolder, ...]:
    models = known(facts.models)
    return models.pipelines if models is not None else ()
