"""What happened, in the user's words, and which findings can explain it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from klein_doctor.arguments import SYMPTOMS
from klein_doctor.model import Finding, Report, Verdict

if TYPE_CHECKING:
    from klein_doctor.recipe_messages import SymptomRow

NOTHING = SYMPTOMS[0]
WORDS = {
    NOTHING: "nothing yet, it is new or being set up",
    "black": "a black, noisy or washed-out picture",
    "error": "an error message",
    "wont-start": "it does not start, or it ends by itself",
    "memory": "memory runs out",
    "slow": "it is slow",
}
# The rows of symptoms.toml that each means; an error message is explained by its own words.
_ROWS = {
    "black": ("black", "noise", "washed-out"),
    "wont-start": ("wont-start", "silent-crash", "after-driver-update"),
    "memory": ("no-memory-words", "no-ram-words"),
    "slow": ("slow", "cpu-used", "stuck-loading"),
}
_RED = (Verdict.FAIL, Verdict.WARN)


def checks_of(symptom: str, rows: Iterable[SymptomRow]) -> tuple[str, ...]:
    """The checks that can explain a symptom, the likeliest first."""
    found = {row.id: row.checks for row in rows}
    named = (check for name in _ROWS.get(symptom, ()) for check in found.get(name, ()))
    return tuple(dict.fromkeys(named))


def explaining(findings: Sequence[Finding], checks: Sequence[str]) -> tuple[Finding, ...]:
    """The findings that are red and can explain the symptom, in the order of checks."""
    red = [f for f in findings if f.verdict in _RED and f.check in checks]
    return tuple(sorted(red, key=lambda f: (f.verdict is not Verdict.FAIL, checks.index(f.check))))


def led(report: Report, checks: Sequence[str]) -> Report:
    """The report with the findings in front that can explain the symptom."""
    front = explaining(report.findings, checks)
    if not front:
        return report
    ids = {f.id for f in front}
    return report._replace(findings=(*front, *(f for f in report.findings if f.id not in ids)))
