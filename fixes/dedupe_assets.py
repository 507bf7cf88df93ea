"""Copies of a model file become links to one of them."""

from __future__ import annotations

from pathlib import Path

from klein_doctor.fixes.shared_assets import need
from klein_doctor.fixing import Fix
from klein_doctor.model import known
from klein_doctor.outcomes import gib
from klein_doctor.steps import Case, Step, StepFailed
from klein_doctor.transaction.transaction import Transaction

ID = "dedupe-assets"


def plan(case: Case) -> list[Step]:
    """One step per file that is stored more than once."""
    models = known(case.facts.models)
    steps = []
    for finding, _ in case.asked:
        found = models.duplicates if models is not None and models.duplicates else ()
        each = next((d for d in found if d.paths and d.paths[0] == finding.subject), None)
        if each is None:
            continue
        spare = gib(each.size * (len(each.paths) - 1))
        steps.append(
            Step(
                ID, f"keep one of {len(each.paths)} copies of {each.paths[0].local} ({spare})",
                "move", "ask", {"paths": [path.real for path in each.paths]}, paths=each.paths[1:],
                undo="makes copies of them again", clears=(finding.id,),
            )
        )  # fmt: skip
    return steps


def act(step: Step, transaction: Transaction) -> str:
    """Replace the copies by hard links to the first."""
    kept, *copies = (Path(path) for path in step.arguments["paths"])
    need(kept)
    volume = kept.stat().st_dev
    here = [copy for copy in copies if copy.exists() and copy.stat().st_dev == volume]
    if not here:
        raise StepFailed(f"no copy of {kept} lies on its disk, so none can be a link to it")
    for copy in here:
        transaction.merge(copy, kept)
    return f"{len(here)} of {len(copies)} copies of {kept} are links to it now"


FIXES = (Fix(ID, "Keep one of several copies", plan, act, after=("rename-asset", "place-assets")),)
