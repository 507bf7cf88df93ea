"""What the facts prove of test pictures: this run's, or one on record. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from klein_doctor.exits import Exit
from klein_doctor.generation import Generation, Proven
from klein_doctor.model import Facts, known
from klein_doctor.recipe import Recipe

NOT_YET = "not proven yet"
FAILED = "failed"


class Pictured(NamedTuple):
    """says: one line for people. record: of this run's generation, None without one."""

    says: str
    ready: bool
    record: dict[str, Any] | None
    exit_code: Exit


def pictured(facts: Facts, recipe: Recipe, created: str) -> Pictured:
    """What is proven, and what exit code a generation of this run stands for."""
    ran: Generation | None = known(facts.generation)
    if ran is not None:
        return _of_run(facts, recipe, ran, created)
    proven: Proven | None = known(facts.proven)
    if proven is None:
        return Pictured(NOT_YET, False, None, Exit.OK)
    if proven.differs:
        says = f"proven on {proven.when[:10]}, but {proven.differs}"
        return Pictured(says, False, None, Exit.OK)
    return Pictured(f"proven on {proven.when[:10]} ({proven.route})", True, None, Exit.OK)


def _of_run(facts: Facts, recipe: Recipe, ran: Generation, created: str) -> Pictured:
    from klein_doctor import __version__
    from klein_doctor.record import record_of
    from klein_doctor.verdict_images import AS_RECORDED, VERIFIED

    verdict = verdict_of(ran, recipe)
    code = Exit.OK if verdict in (VERIFIED, AS_RECORDED) else Exit.GENERATION_FAILED
    if ran.outcome == "interrupted":
        code = Exit.TRY_AGAIN if ran.kind == "deadline" else Exit.INTERRUPTED
    elif ran.outcome == "refused":
        code = Exit.TRY_AGAIN
    record = record_of(facts, recipe, ran, verdict, created, __version__)
    return Pictured(_says(ran, verdict), verdict == VERIFIED, record, code)


def _says(ran: Generation, verdict: str) -> str:
    if ran.outcome != "done":
        where = f" at {ran.stage}" if ran.stage else ""
        why = f": {ran.says}" if ran.says else ""
        return f"{verdict}{where}{why}"
    parts = [f"{len(ran.pictures)} pictures of {ran.width}x{ran.height}, {ran.steps} steps"]
    if ran.cold_s > 0:
        parts.append(f"the first in {ran.cold_s:.1f} s")
    if ran.warm_s > 0:
        parts.append(f"the next in {ran.warm_s:.1f} s")
    if ran.peak_mib >= 0:
        promised = f" ({ran.predicted_mib / 1024:.1f} predicted)" if ran.predicted_mib > 0 else ""
        parts.append(f"peak {ran.peak_mib / 1024:.1f} GiB of the card{promised}")
    way = f" by {ran.plan}" if ran.plan else ""
    return f"{verdict} ({ran.route}{way}): {', '.join(parts)}"


def verdict_of(ran: Generation, recipe: Recipe) -> str:
    """As record_of takes it."""
    if ran.outcome != "done":
        return ran.outcome if ran.outcome in ("interrupted", "refused") else FAILED
    from klein_doctor.recipe_images import load_images
    from klein_doctor.verdict_images import verdict

    return verdict(ran, load_images(recipe.extra))
