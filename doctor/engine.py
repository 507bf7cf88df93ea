"""Facts to findings: the checks, each in a box of its own, what follows from what, the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from klein_doctor.boxed import InTurn
from klein_doctor.exits import Exit, UsageError
from klein_doctor.model import (
    Facts,
    Fault,
    Finding,
    Harm,
    Outcome,
    Verdict,
)
from klein_doctor.recipe import Recipe
from klein_doctor.registry import Check, unknown_check

CHECK_LIMIT_S = 2.0
_BROKEN = (Verdict.FAIL, Verdict.CRASHED)


class Choice(NamedTuple):
    """Which checks are wanted; an empty select means all."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def wants(self, name: str) -> bool:
        return (not self.select or name in self.select) and name not in self.ignore


def judge(
    facts: Facts, recipe: Recipe, checks: dict[str, Check], choice: Choice | None = None
) -> tuple[Finding, ...]:
    """Run the checks in their order and say what follows from what.

    Checks that are not wanted run all the same where a wanted one depends on them, so that a
    selection never changes a verdict; only the findings asked for are returned. A check that was
    named has one in any case: where it could not be judged, a skipped one with the reason.

    Raises:
        UsageError: the choice names a check that does not exist, or leaves none.
    """
    choice = choice or Choice()
    for name in (*choice.select, *choice.ignore):
        if name not in checks:
            raise UsageError(unknown_check(name, checks))
    if choice.select and not any(choice.wants(name) for name in checks):
        raise UsageError("--ignore leaves nothing of what --select names")
    found: dict[str, list[Finding]] = {}
    with InTurn() as boxes:
        for check in checks.values():
            blocking = _blocking(check, found)
            outcomes = [blocking] if blocking else _outcomes(check, facts, recipe, boxes)
            if not outcomes and check.name in choice.select:
                outcomes = [_nothing(check)]
            found[check.name] = [
                _finding(check, number, outcome, found)
                for number, outcome in enumerate(outcomes, 1)
            ]
    wanted = [f for name, group in found.items() if choice.wants(name) for f in group]
    return tuple(_detached(wanted, found))


def first_of(findings: Sequence[Finding], checks: dict[str, Check]) -> str | None:
    """The finding to mend first: fails before warnings, causes before effects, by harm."""
    place = {name: number for number, name in enumerate(checks)}
    for verdict in (Verdict.FAIL, Verdict.WARN):
        roots = [f for f in findings if f.verdict is verdict and f.because is None]
        roots = roots or [f for f in findings if f.verdict is verdict]
        if roots:
            return min(roots, key=lambda f: (f.harm, place.get(f.check, len(place)), f.id)).id
    return None


def exit_code(findings: Iterable[Finding], *, strict: bool = False) -> Exit:
    """The exit code of a diagnosis: the same in every format.

    Where all there is was skipped, as a selection can have it, nothing is decided.
    """
    verdicts = {finding.verdict for finding in findings}
    if Verdict.FAIL in verdicts:
        return Exit.PROBLEMS
    undecided = verdicts & {Verdict.UNKNOWN, Verdict.CRASHED} or verdicts == {Verdict.SKIPPED}
    if strict and (undecided or Verdict.WARN in verdicts):
        return Exit.PROBLEMS
    return Exit.UNDECIDED if undecided else Exit.OK


def _blocking(check: Check, found: dict[str, list[Finding]]) -> Outcome | None:
    """The reason to skip a check: something it requires failed, or was itself skipped for that."""
    for name in check.requires:
        for other in found[name]:
            cause = other.id if other.verdict in _BROKEN else None
            if other.verdict is Verdict.SKIPPED and other.because is not None:
                cause = other.because
            if cause is not None:
                return Outcome(Verdict.SKIPPED, check.title, because=cause)
    return None


def _nothing(check: Check) -> Outcome:
    """Of a check that was named and has nothing to judge."""
    look = f"klein-doctor explain {check.name} says what it reads"
    reason = check.without or f"there is nothing here that it judges; {look}"
    return Outcome(Verdict.SKIPPED, check.title, reason=reason)


def _outcomes(check: Check, facts: Facts, recipe: Recipe, boxes: InTurn) -> Sequence[Outcome]:
    result = boxes.run(check.name, lambda: check.judge(facts, recipe), CHECK_LIMIT_S)
    if isinstance(result, Fault):
        return [
            Outcome(
                Verdict.CRASHED,
                f"The check {check.name} did not finish",
                "This is a fault of the doctor, not of your machine. Please report it with this "
                "report attached.",
                reason=f"{result.kind} at {result.detail}",
            )
        ]
    return [result] if isinstance(result, Outcome) else list(result)  # none: it does not apply


def _finding(
    check: Check, number: int, outcome: Outcome, found: dict[str, list[Finding]]
) -> Finding:
    return Finding(
        id=f"{check.name}:{number}",
        check=check.name,
        family=check.family,
        verdict=outcome.verdict,
        title=outcome.title,
        detail=outcome.detail,
        subject=outcome.subject,
        reason=outcome.reason,
        evidence=outcome.evidence,
        because=_because(check, outcome, found),
        fixes=outcome.fixes,
        harm=check.harm if outcome.verdict is Verdict.FAIL else max(check.harm, Harm.SLOW),
    )


def _because(check: Check, outcome: Outcome, found: dict[str, list[Finding]]) -> str | None:
    if outcome.verdict is Verdict.SKIPPED:
        return outcome.because
    if outcome.verdict not in (Verdict.FAIL, Verdict.WARN):
        return None
    # A fail never follows from a mere warning; a warning may.
    causes = (Verdict.FAIL, outcome.verdict)
    for name in check.follows:
        for other in found[name]:
            if other.verdict in causes:
                return other.because or other.id
    return None


def _detached(wanted: list[Finding], found: dict[str, list[Finding]]) -> list[Finding]:
    """Without pointers to findings that were not asked for: what those said becomes the reason."""
    ids = {finding.id for finding in wanted}
    others = {finding.id: finding for group in found.values() for finding in group}
    detached = []
    for finding in wanted:
        if finding.because is not None and finding.because not in ids:
            if finding.verdict is Verdict.SKIPPED:
                finding = finding._replace(reason=_waits(finding.because, others))
            finding = finding._replace(because=None)
        detached.append(finding)
    return detached


def _waits(cause: str, others: dict[str, Finding]) -> str:
    name = cause.partition(":")[0]
    return f"waits for {name}: {others[cause].title}" if cause in others else f"waits for {name}"
