"""What the pictures of a test generation prove, by the rows of images.toml. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from klein_doctor.generation import Generation, Picture, Remark, Texture
from klein_doctor.recipe_images import FAULTS, Bound, ImageRules, RemarkRow

PICTURES = 3  # seeds A, B, A
VERIFIED, AS_RECORDED, NOT_VERIFIED = "verified", "ran as recorded", "not verified"
_REAL = "picture"  # what alone may be called verified, whatever rows a recipe brings
_WEIGHTS = ("fail", "warn", "note")
_WHERE = {"latents": "its latents (what the sampler leaves)", "decoded": "its decoded pixels"}


class Flaw(NamedTuple):
    """What is wrong with a picture: its number from 1, one of recipe_images.FAULTS, and why."""

    number: int
    fault: str
    says: str


def broken(texture: Texture, rules: ImageRules, expectation: str) -> tuple[Bound, ...]:
    """The bounds a picture is outside of, all of its gravest fault."""
    outside = [
        bound
        for bound in rules.bounds
        if bound.expectation == expectation and not bound.holds(texture)
    ]
    fault = next((name for name in FAULTS if any(b.fault == name for b in outside)), "")
    return tuple(bound for bound in outside if bound.fault == fault)


def flaws(ran: Generation, rules: ImageRules) -> tuple[Flaw, ...]:
    """What the pixels of a run's pictures say against it."""
    found = []
    for number, picture in enumerate(ran.pictures, 1):
        if picture.not_finite:
            where = _WHERE.get(picture.not_finite, picture.not_finite)
            says = f"{where} hold values that are not a number (NaN) or infinite"
            found.append(Flaw(number, "blank", says))
        elif picture.texture is not None:
            missed = broken(picture.texture, rules, ran.expectation)
            if missed:
                says = "; ".join(bound.says for bound in missed)
                found.append(Flaw(number, missed[0].fault, says))
    return tuple(found)


def unreadable(ran: Generation) -> tuple[str, ...]:
    """What is wrong with the files of the pictures, in words, one for each."""
    found = []
    for number, picture in enumerate(ran.pictures, 1):
        if picture.fault or picture.texture is None:
            found.append(f"picture {number}: {picture.fault or 'it was not measured'}")
        elif (picture.width, picture.height) != (ran.width, ran.height):
            size, wanted = f"{picture.width}x{picture.height}", f"{ran.width}x{ran.height}"
            found.append(f"picture {number} is {size}, not {wanted}")
    return tuple(found)


def remarks(ran: Generation, rules: ImageRules) -> Iterator[tuple[Remark, RemarkRow]]:
    """The lines of its log that a row knows, each kind once, what harms first."""
    known = [(remark, rules.remark(remark.kind)) for remark in ran.remarks]
    rows = {row.kind: (remark, row) for remark, row in reversed(known) if row is not None}
    yield from sorted(rows.values(), key=lambda each: _WEIGHTS.index(each[1].verdict))


def made(picture: Picture) -> bool:
    """Whether a picture counts: it was calculated, not taken from a cache."""
    return not picture.cached and not picture.fault


def ignores_seed(ran: Generation, rules: ImageRules) -> bool:
    """Whether two seeds gave the same picture."""
    least = rules.expectation(ran.expectation).least_differed
    return ran.differed is not None and ran.differed < least


def strays(ran: Generation, rules: ImageRules) -> bool:
    """Whether one seed gave two pictures."""
    most = rules.expectation(ran.expectation).most_repeated
    return ran.repeated is not None and ran.repeated > most


def over_plan_mib(ran: Generation, rules: ImageRules) -> int:
    """How much more than its plan's promise the run held of the card; 0 where it kept to it."""
    if ran.predicted_mib <= 0 or ran.peak_mib < 0:
        return 0
    return max(0, ran.peak_mib - ran.predicted_mib - rules.plan_tolerance.mib)


def agrees(ran: Generation, rules: ImageRules) -> bool:
    """Whether all pictures were made, and every test of them and of the log agrees."""
    if ran.outcome != "done" or ran.expectation not in rules.expectations:
        return False
    if len(ran.pictures) != PICTURES or not all(map(made, ran.pictures)) or unreadable(ran):
        return False
    if ran.repeated is None or ran.differed is None:
        return False
    if flaws(ran, rules) or strays(ran, rules) or ignores_seed(ran, rules):
        return False
    return not any(row.verdict == "fail" for _, row in remarks(ran, rules))


def verified(ran: Generation, rules: ImageRules) -> bool:
    """Whether real weights made three pictures that are what such pictures are."""
    return ran.expectation == _REAL and agrees(ran, rules)


def verdict(ran: Generation, rules: ImageRules) -> str:
    """VERIFIED, AS_RECORDED or NOT_VERIFIED."""
    if not agrees(ran, rules):
        return NOT_VERIFIED
    return VERIFIED if verified(ran, rules) else AS_RECORDED
