"""The offer after a diagnosis: one question, and no is what Enter says."""

from __future__ import annotations

from klein_doctor.model import Report, Verdict
from klein_doctor.wizard.ask import Left, asker
from klein_doctor.wizard.questions import Choice, Question

_QUESTION = Question(
    "", "Repair now? It shows the plan first.",
    (Choice("no", "no"), Choice("yes", "yes, show me the plan")), "no",
)  # fmt: skip


def fixable(report: Report) -> bool:
    """Whether something failed that a fix can mend."""
    from klein_doctor.fixing import fixes

    there = fixes()
    return any(
        repair.grade != "manual" and repair.id in there
        for finding in report.findings
        if finding.verdict is Verdict.FAIL
        for repair in finding.fixes
    )


def offer(report: Report, color: str = "auto") -> bool:
    """Ask once, on a terminal, whether to go on to the wizard; False where it could not help."""
    if report.replayed or not fixable(report):
        return False
    try:
        return asker(color).one(_QUESTION) == "yes"
    except (Left, KeyboardInterrupt):
        return False
