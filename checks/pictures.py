"""Are the pictures of the test generation pictures, and the same ones again from the same seed?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from klein_doctor.checks.generation import NO_PICTURE, asked, image_rules
from klein_doctor.generation import Generation
from klein_doctor.model import Evidence, Facts, Harm, Outcome, Repair, Unknown, Verdict
from klein_doctor.outcomes import passed, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check

# What judges pictures is loaded when there are some: most diagnoses have none.
if TYPE_CHECKING:
    from klein_doctor.recipe_images import ImageRules
    from klein_doctor.verdict_images import Flaw

_NOT_KNOWN = "Whether the test pictures are good is not known"
_NOT_REPEATED = "Whether pictures repeat is not known"
_PROVES = "With it a run that ends without an error proves nothing."


def judged(facts: Facts) -> Generation | Unknown | None:
    """The test generation that has pictures to look at; None where there is none."""
    ran = asked(facts)
    if isinstance(ran, Generation) and not any(p.texture for p in ran.pictures):
        return None
    return ran


@check(
    "image-blank",
    family="generation",
    title="The test pictures are not blank",
    harm=Harm.WRONG_IMAGE,
    follows=("log-says-otherwise",),
    reads="The pixels of the test pictures: how their brightness varies and how much of them is "
    "of one colour; and whether the numbers before them were finite.",
    why="Numbers that are none (NaN) become black without any error: from an attention package "
    "that overflows, a damaged or foreign VAE, or versions that fail together.",
    by_hand="Run without SageAttention and xformers; compute the digests of the model's files "
    "with 'klein-doctor identify --deep'; then try another build of PyTorch.",
    without=NO_PICTURE,
)
def image_blank(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    return _of_pixels(facts, recipe, "blank", "blank", "The pictures are not blank")


@check(
    "image-noise",
    family="generation",
    title="The test pictures are not noise",
    harm=Harm.WRONG_IMAGE,
    follows=("log-says-otherwise",),
    reads="The pixels of the test pictures: whether neighbours belong together, whether there are "
    "large shapes, and how well they compress.",
    why="Half a text encoder, another model's VAE, damaged weights, wrong kernels, or a custom "
    "node that replaces PyTorch's attention (SDPA) give noise or patches without any error.",
    by_hand="Look for 'clip missing' in ComfyUI's log; compute the digests of the model's files "
    "with 'klein-doctor identify --deep'; see what vae-wrong and flash-attention-forced say, and "
    "start once with --disable-all-custom-nodes; try the card with 'klein-doctor --prove'.",
    without=NO_PICTURE,
)
def image_noise(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    return _of_pixels(facts, recipe, "noise", "noise", "The pictures are not noise")


@check(
    "image-washed-out",
    family="generation",
    title="The test pictures have contrast and edges",
    harm=Harm.WRONG_IMAGE,
    follows=("log-says-otherwise",),
    reads="The pixels of the test pictures: how far light and dark lie apart, and whether "
    "anything has an edge. A slight loss of contrast, or wrong colours, cannot be seen this way.",
    why="The undistilled base at 4 steps, or a VAE that is none of FLUX.2's published ones, give "
    "pale or blurred pictures without any error.",
    by_hand="Look which weights these are with 'klein-doctor identify --deep': distilled ones "
    "take 4 steps and cfg 1, the base 20 or more and cfg 5. Compare the VAE's digest.",
    without=NO_PICTURE,
)
def image_washed_out(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    return _of_pixels(
        facts, recipe, "washed-out", "pale or blurred", "The pictures have contrast and edges"
    )


def _of_pixels(
    facts: Facts, recipe: Recipe, fault: str, word: str, fine: str
) -> Outcome | tuple[()]:
    ran = judged(facts)
    if ran is None:
        return ()
    if isinstance(ran, Unknown):
        return unknown(_NOT_KNOWN, ran)
    from klein_doctor.verdict_images import flaws

    rules = image_rules(recipe)
    found = [flaw for flaw in flaws(ran, rules) if flaw.fault == fault]
    if fault == "blank" and _only_later(found):
        found = []  # image-not-repeatable tells what that means
    if not found:
        return passed(fine, pictures=len(ran.pictures))
    noun = _named([str(flaw.number) for flaw in found])
    if ran.expectation == "reference":
        return _not_as_recorded(ran, found, noun)
    return _bad(
        facts, ran, rules, fault, f"{noun} {word}", f"{found[0].says}.", _numbers(ran, found)
    )


def _named(numbers: list[str]) -> str:
    """``Picture 2 is``, ``Pictures 1, 2 and 3 are``."""
    if len(numbers) == 1:
        return f"Picture {numbers[0]} is"
    return f"Pictures {', '.join(numbers[:-1])} and {numbers[-1]} are"


def _only_later(found: list[Flaw]) -> bool:
    return bool(found) and all(flaw.number > 1 for flaw in found)


def _not_as_recorded(ran: Generation, found: list[Flaw], noun: str) -> Outcome:
    return Outcome(
        Verdict.FAIL,
        f"{noun} not what was recorded of these weights",
        f"{found[0].says[:1].upper()}{found[0].says[1:]}. The weights are the same every time, so "
        "something that calculates with them is not as it should be.",
        evidence=_numbers(ran, found),
        fixes=(_look_into(("kernels-fail",)),),
    )


def _bad(
    facts: Facts,
    ran: Generation,
    rules: ImageRules,
    fault: str,
    title: str,
    seen: str,
    evidence: dict[str, Evidence],
) -> Outcome:
    """A fail, with what it may come from here."""
    from klein_doctor.suspicions import suspicions

    causes = suspicions(facts, ran, rules, fault)
    likely = ""
    if causes:
        first, *others = causes
        likely = f" Likeliest: {first.says} ({first.check})."
        likely += "".join(f" Else: {cause.says} ({cause.check})." for cause in others)
    checks = tuple(dict.fromkeys(cause.check for cause in causes))
    return Outcome(
        Verdict.FAIL,
        title,
        f"{seen[:1].upper()}{seen[1:]} No error was reported.{likely}",
        evidence=evidence | {"causes": checks},
        fixes=(_look_into(checks),),
    )


def _look_into(checks: tuple[str, ...]) -> Repair:
    summary = "look into the likeliest cause first, then run klein-doctor generate again"
    commands = tuple(("klein-doctor", "explain", name) for name in checks[:1])
    return Repair("after-picture", "system", "manual", summary, commands)


def _numbers(ran: Generation, found: list[Flaw]) -> dict[str, Evidence]:
    picture = ran.pictures[found[0].number - 1]
    measured: dict[str, Evidence] = {"pictures": tuple(flaw.number for flaw in found)}
    if picture.texture is not None:
        measured |= {name: f"{value:g}" for name, value in picture.texture._asdict().items()}
    return measured


# --- the same again --------------------------------------------------------------------------


@check(
    "image-not-repeatable",
    family="generation",
    title="The same seed gives the same picture",
    harm=Harm.WRONG_IMAGE,
    follows=("image-blank", "image-noise"),
    reads="Three pictures of one run, of seeds A, B and A again: the first and the last pixel by "
    "pixel, the first and the second likewise. One that came from a cache does not count.",
    why="Some versions give one good picture and black ones after it; memory that is overwritten "
    "and kernels that race give another picture each time. One picture alone shows none of that.",
    by_hand="Run twice with one seed, without attention packages, custom nodes and overclocking. "
    "If the second is black, try another build of PyTorch, or ComfyUI with --disable-dynamic-vram.",
    without=NO_PICTURE,
)
def image_not_repeatable(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    ran = judged(facts)
    if ran is None:
        return ()
    if isinstance(ran, Unknown):
        return unknown(_NOT_REPEATED, ran)
    from klein_doctor.verdict_images import PICTURES, flaws, ignores_seed, made, strays

    rules = image_rules(recipe)
    blank = [flaw for flaw in flaws(ran, rules) if flaw.fault == "blank"]
    if _only_later(blank):
        return _turned_blank(facts, ran, rules, blank)
    if blank or len(ran.pictures) < PICTURES:
        return ()  # whatever they show, other checks speak of it
    stored = [number for number, picture in enumerate(ran.pictures, 1) if not made(picture)]
    if stored:
        return unknown(_NOT_REPEATED, f"picture {stored[0]} came from a cache or cannot be read")
    if ran.repeated is None or ran.differed is None:
        return unknown(_NOT_REPEATED, "the pictures could not be compared")
    numbers: dict[str, Evidence] = {
        "repeated": f"{ran.repeated:g}",
        "differed": f"{ran.differed:g}",
    }
    if strays(ran, rules):
        return _bad(
            facts, ran, rules, "differs", "The same seed gave two different pictures",
            f"pictures 1 and 3 differ by {ran.repeated:.1f} of 255 on average.", numbers,
        )  # fmt: skip
    if ignores_seed(ran, rules):
        return _bad(
            facts, ran, rules, "same", "Two seeds gave the same picture",
            f"pictures 1 and 2 differ by {ran.differed:.2f} of 255 on average. {_PROVES}", numbers,
        )  # fmt: skip
    again = "to the bit" if ran.repeated == 0 else f"but for {ran.repeated:.2f} of 255"
    return passed(f"The same seed gave the same picture, {again}", **numbers)


def _turned_blank(facts: Facts, ran: Generation, rules: ImageRules, blank: list[Flaw]) -> Outcome:
    first = blank[0]
    title = f"The first picture is good, picture {first.number} is blank"
    seen = f"{first.says}. What was fine once fails later in the same process."
    return _bad(facts, ran, rules, "later-blank", title, seen, _numbers(ran, blank))
