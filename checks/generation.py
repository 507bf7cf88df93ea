"""Did the test generation come through, and as its plan and its log say?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from klein_doctor.generation import Generation
from klein_doctor.model import Evidence, Facts, Harm, Outcome, Repair, Unknown, Verdict
from klein_doctor.outcomes import passed, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check

if TYPE_CHECKING:
    from klein_doctor.recipe_images import ImageRules, RemarkRow, RunFailure

_NOT_KNOWN = "Whether this machine makes a picture is not known"
NO_PICTURE = "no test picture was made in this run; klein-doctor generate makes some"
_SHOWN = 3
_LONGEST = 300  # of a line of a log


def asked(facts: Facts) -> Generation | Unknown | None:
    """The test generation; None where there was none."""
    return facts.generation if isinstance(facts.generation, Unknown) else facts.generation.value


def image_rules(recipe: Recipe) -> ImageRules:
    """The tables, loaded when there is a generation to judge."""
    from klein_doctor.recipe_images import load_images

    return load_images(recipe.extra)


# --- came through ----------------------------------------------------------------------------


@check(
    "generation-failed",
    family="generation",
    title="The test generation comes through",
    harm=Harm.STOPS,
    reads="How a test generation of three pictures ended: where it stopped, the error it left, "
    "which of the doctor's checks explain that error, and whether the files it wrote are pictures "
    "of the size asked for.",
    why="Only a picture proves the whole: driver, PyTorch, files and memory can each look right, "
    "and a run still end in the middle.",
    by_hand="Run it again with 'klein-doctor generate'; hand the whole log to 'klein-doctor "
    "triage'. At the text encoder and at the decoder it is mostly memory: close what else uses "
    "the card.",
    without=NO_PICTURE,
)
def generation_failed(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    ran = asked(facts)
    if ran is None:
        return ()
    if isinstance(ran, Unknown):
        return unknown(_NOT_KNOWN, ran)
    if ran.outcome in ("interrupted", "refused"):
        return unknown(_NOT_KNOWN, ran.says or f"the run was {ran.outcome}")
    rules = image_rules(recipe)
    if ran.outcome != "done":
        return _stopped(ran, rules)
    return _incomplete(ran) or _made(ran, rules)


def _stopped(ran: Generation, rules: ImageRules) -> Outcome:
    row = rules.failure(ran.kind, ran.stage)
    explained = tuple(dict.fromkeys((*ran.explained, *(row.checks if row else ()))))
    made = f"{len(ran.pictures)} of 3 pictures were made before. " if ran.pictures else ""
    stage = f"It ended at: {ran.stage}. " if ran.stage else ""
    said = f"It said: {ran.says.rstrip('.')}. " if ran.says else ""
    why = f"{row.why} " if row else ""
    return Outcome(
        Verdict.FAIL,
        _title(ran, row),
        f"{stage}{said}{why}{made}{_see(explained)}".strip(),
        evidence=_of_run(ran) | {"kind": ran.kind, "explained": explained},
        fixes=(_cure(explained, row),),
    )


def _title(ran: Generation, row: RunFailure | None) -> str:
    if row is not None:
        return row.title
    if ran.kind:
        return f"The test generation ended with {ran.kind}"
    return "The test generation did not come through"


def _see(checks: tuple[str, ...]) -> str:
    if not checks:
        return "No known message explains it."
    return f"What it may come from: {', '.join(checks[:_SHOWN])}."


def _cure(checks: tuple[str, ...], row: RunFailure | None) -> Repair:
    summary = row.do if row else "hand the run's log to klein-doctor triage"
    commands = tuple(("klein-doctor", "explain", name) for name in checks[:1])
    return Repair("after-generation", "system", "manual", summary, commands)


def _incomplete(ran: Generation) -> Outcome | None:
    """A run that reports success and has not what it should have."""
    from klein_doctor.verdict_images import PICTURES, unreadable

    faults = unreadable(ran)
    if len(ran.pictures) < PICTURES:
        faults = (f"only {len(ran.pictures)} of {PICTURES} pictures are there", *faults)
    if not faults:
        return None
    return Outcome(
        Verdict.FAIL,
        "The run reports success, but not all of its pictures are what was asked for",
        f"Seen: {'; '.join(faults[:_SHOWN])}. No error was reported.",
        evidence=_of_run(ran) | {"faults": faults},
        fixes=(_cure(("disk-too-small",), None),),
    )


def _made(ran: Generation, rules: ImageRules) -> Outcome:
    from klein_doctor.verdict_images import AS_RECORDED, VERIFIED, verdict

    found = verdict(ran, rules)
    size = f"{ran.width}x{ran.height}"
    title = {
        VERIFIED: f"Three pictures of {size} were made and verified",
        AS_RECORDED: f"Three pictures of {size} were made, and ran as recorded",
    }.get(found, f"Three pictures of {size} were made")
    return passed(title, **_of_run(ran), verdict=found)


def _of_run(ran: Generation) -> dict[str, Evidence]:
    return {
        "route": ran.route,
        "stage": ran.stage or None,
        "pictures": len(ran.pictures),
        "expectation": ran.expectation,
        "plan": ran.plan or None,
    }


# --- its memory ------------------------------------------------------------------------------


@check(
    "vram-over-plan",
    family="generation",
    title="The run keeps to its memory plan",
    harm=Harm.SLOW,
    reads="The most of the card's memory that a test generation held, as the driver counted it, "
    "and what the plan it ran by had promised.",
    why="Whoever plans with the promise, on this card or a smaller one, runs out of memory at a "
    "larger picture or with another program open.",
    by_hand="Look which attention kernel was picked ('klein-doctor --prove'): without a fused one "
    "a run holds some 4 GiB more. Then report it with the report attached: the plan's row is "
    "wrong.",
    without=NO_PICTURE,
)
def vram_over_plan(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    ran = asked(facts)
    if ran is None:
        return ()
    if isinstance(ran, Unknown):
        return unknown("Whether a run keeps to its memory plan is not known", ran)
    if ran.predicted_mib <= 0 or ran.peak_mib < 0:
        return ()
    from klein_doctor.verdict_images import over_plan_mib

    rules = image_rules(recipe)
    numbers: dict[str, Evidence] = {
        "peak_mib": ran.peak_mib,
        "predicted_mib": ran.predicted_mib,
        "tolerance_mib": rules.plan_tolerance.mib,
        "plan": ran.plan or None,
    }
    peak, promised = ran.peak_mib / 1024, ran.predicted_mib / 1024
    if not over_plan_mib(ran, rules):
        says = f"The run held {peak:.1f} GiB of the card; up to {promised:.1f} were expected"
        return passed(says, **numbers)
    return Outcome(
        Verdict.WARN,
        f"The run held {peak:.1f} GiB of the card, {peak - promised:.1f} more than was promised",
        f"The plan {ran.plan or 'it ran by'} promises {promised:.1f} GiB at most. It went well "
        "here; with less free memory it would not have. Without a fused attention kernel a run "
        "needs much more: 'klein-doctor --prove' says which kernel is picked.",
        evidence=numbers,
        fixes=(
            Repair(
                "report-plan",
                "system",
                "manual",
                "leave this much of the card free; report it with this report attached",
            ),
        ),
    )


# --- its log ---------------------------------------------------------------------------------


@check(
    "log-says-otherwise",
    family="generation",
    title="The run's log has nothing against it",
    harm=Harm.WRONG_IMAGE,
    reads="The log of a run that reported success: lines of weights that are missing, of numbers "
    "that are none, of attention kernels that fail and are replaced.",
    why="ComfyUI goes on where a part of the model lacks weights, and reports success: the "
    "picture is noise or follows no prompt, and the log alone says so.",
    by_hand="Search ComfyUI's log for 'clip missing', 'Missing VAE keys' and 'invalid value "
    "encountered in cast'; look what the files are with 'klein-doctor identify'.",
    without=NO_PICTURE,
)
def log_says_otherwise(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    ran = asked(facts)
    if ran is None:
        return ()
    if isinstance(ran, Unknown):
        return unknown("What the run's log says is not known", ran)
    if ran.outcome != "done":
        return ()
    from klein_doctor.verdict_images import flaws, remarks

    rules = image_rules(recipe)
    found = list(remarks(ran, rules))
    seen = {f"image-{flaw.fault}" for flaw in flaws(ran, rules)}
    weighty = [
        (remark, row)
        for remark, row in found
        if row.verdict != "note" and not seen.intersection(_told(row)[0])
    ]
    if not weighty:
        notes = f"; worth knowing: {found[0][1].says}" if found else ""
        return passed(f"Nothing in the log speaks against the run{notes}")
    (remark, row), *others = weighty
    checks, cause, do = _told(row)
    more = "".join(f" And {other.says}." for _, other in others[:_SHOWN])
    line = remark.line[:_LONGEST].rstrip(". ")
    commands = tuple(("klein-doctor", "explain", name) for name in checks[:1])
    return Outcome(
        Verdict.FAIL if row.verdict == "fail" else Verdict.WARN,
        f"The run reports success, but its log says that {row.says}",
        f"The line is: {line}. {cause}{more} {_see(checks)}",
        evidence={
            "kinds": tuple(other.kind for _, other in weighty),
            "line": line,
            "explained": checks,
        },
        fixes=(Repair("after-log", "system", "manual", do, commands),),
    )


def _told(row: RemarkRow) -> tuple[tuple[str, ...], str, str]:
    """Checks, cause and cure, as triage has them."""
    from klein_doctor.recipe_messages import load_known

    message = next((m for m in load_known().messages if m.id == row.message), None)
    if message is None:
        return (), "", "hand the run's log to klein-doctor triage"
    return message.checks, message.cause, message.do[:1].lower() + message.do[1:].rstrip(".")
