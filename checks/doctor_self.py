"""Did the doctor's own probes come through?"""

from __future__ import annotations

from klein_doctor.model import Facts, Harm, Outcome, Private, Unknown, Verdict
from klein_doctor.outcomes import passed, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check


@check(
    "probe-failed",
    family="doctor",
    title="Every probe of the doctor came through",
    harm=Harm.NOTE,
    reads="The doctor's own list of probes that crashed or ran out of time.",
    why="What a probe could not read is not judged: neither passed nor failed. The rest of the "
    "report still holds.",
    by_hand="Run the doctor once more. If it comes back, please report it with the output of "
    "'klein-doctor --format markdown'.",
)
def probe_failed(facts: Facts, recipe: Recipe) -> list[Outcome] | Outcome:
    if isinstance(facts.faults, Unknown):
        return unknown("Whether every probe came through is not known", facts.faults)
    if not facts.faults.value:
        return passed("Every probe came through")
    return [
        Outcome(
            Verdict.CRASHED,
            f"The probe '{fault.where}' did not finish",
            "What it would have read is unknown in this report. If it happens again, please "
            "report it with this report attached.",
            subject=Private.plain(fault.where),
            reason=f"{fault.kind}: {fault.detail}",
        )
        for fault in facts.faults.value
    ]
