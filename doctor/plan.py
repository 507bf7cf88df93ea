"""From findings and the fixes' declarations to ordered steps; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from klein_doctor.exits import UsageError
from klein_doctor.model import Facts, Finding, Repair, Verdict
from klein_doctor.recipe import Recipe
from klein_doctor.steps import Case, Plan, Step, by_hand

if TYPE_CHECKING:
    from klein_doctor.fixing import Fix

# Findings that make a kind of step pointless until they are mended: there is no room for what
# would be fetched, or no way to it.
_IN_THE_WAY = {
    "disk-too-small": ("download",),
    "models-not-writable": ("download", "move"),
}


class Wishes(NamedTuple):
    """What may be done, as the command line says it.

    only: fixes by id; repairs of warnings enter through it alone. without: fixes that stay out.
    deny: kinds that stay out. safe: the grade ``safe`` alone. answers: what ``--answers`` says.
    """

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    safe: bool = False
    answers: Mapping[str, str] = {}


def make(
    findings: Iterable[Finding],
    facts: Facts,
    recipe: Recipe,
    fixes: Mapping[str, Fix],
    wishes: Wishes | None = None,
) -> tuple[Plan, Plan]:
    """The smallest plan that clears the fails, or what wishes.only names; and that of the warnings.

    The second is never done unless somebody asks for it. A finding that follows from another has
    its own fix later in the plan, for the case that it stays; steps whose findings have cleared by
    then are skipped when their turn comes.

    Raises:
        UsageError: the wishes name a fix that does not exist.
    """
    wishes = wishes or Wishes()
    findings = tuple(findings)
    _known_fixes(wishes, fixes, findings)
    failed = [f for f in findings if f.verdict is Verdict.FAIL or _wished(f, wishes)]
    warned = [f for f in findings if f.verdict is Verdict.WARN]
    first, second = (
        _planned(asked, findings, facts, recipe, fixes, wishes) for asked in (failed, warned)
    )
    return first, second


def _planned(
    asked: list[Finding],
    findings: tuple[Finding, ...],
    facts: Facts,
    recipe: Recipe,
    fixes: Mapping[str, Fix],
    wishes: Wishes,
) -> Plan:
    roots = [f for f in asked if f.because is None]
    order = roots + [f for f in asked if f.because is not None]
    groups: dict[str, list[tuple[Finding, Repair]]] = {}
    manual: list[Step] = []
    for finding in order:
        for repair in finding.fixes:
            if repair.id in fixes and repair.grade != "manual":
                groups.setdefault(repair.id, []).append((finding, repair))
        if not any(r.id in fixes and r.grade != "manual" for r in finding.fixes):
            manual += _by_hand(finding, wishes)
    chosen = dict(wishes.answers)
    steps = [
        (name, step)
        for name, fix in fixes.items()
        if name in groups or (fix.alone and name in wishes.only)
        for step in fix.plan(Case(tuple(groups.get(name, ())), facts, recipe, chosen))
    ]
    blocked = {f.check: f for f in findings if f.verdict is Verdict.FAIL}
    kept: list[Step] = []
    left: list[tuple[str, str]] = []
    moves: dict[str, str] = {}  # what would have been moved away, by the fix that stays out
    for name, step in steps:
        reason = _out(name, step, wishes, blocked) or _occupied(step, moves)
        if reason:
            if step.kind == "move":
                moves |= {path.real: step.fix for path in step.paths}
            left += [(finding, reason) for finding in step.clears]
        elif step.grade == "manual":
            manual.append(step)
        else:
            kept.append(step)
    whole = next((step for step in kept if fixes[step.fix].whole), None)
    if whole is not None:
        reason = f"{whole.fix} brings an environment of its own"
        idle = [step for step in kept if step.kind == "packages" and step is not whole]
        left += [(finding, reason) for step in idle for finding in step.clears]
        kept = [step for step in kept if step not in idle]
    waiting = {id(step): _waits(step, kept, findings, fixes) for step in kept}
    manual += [shown for step in kept if (shown := waiting[id(step)]) is not None]
    kept = [step for step in kept if waiting[id(step)] is None]
    return Plan((*_unique(manual), *_moving_first(kept)), tuple(dict.fromkeys(left)))


def against(fix: Fix, findings: Iterable[Finding]) -> Finding | None:
    """A failure during which the fix would do harm."""
    bad = (f for f in findings if f.verdict is Verdict.FAIL and f.check in fix.unless)
    return next(bad, None)


def _waits(
    step: Step, others: list[Step], findings: tuple[Finding, ...], fixes: Mapping[str, Fix]
) -> Step | None:
    """What is shown instead of a step that would do harm now, None where it may be done.

    What another step of the plan should clear is in no way: its turn comes after that one's.
    """
    cleared = {each for other in others for each in other.clears}
    bad = against(fixes[step.fix], (f for f in findings if f.id not in cleared))
    if bad is None:
        return None
    title = f"{step.fix} waits for {bad.check} ({bad.title}): it would keep what is wrong"
    return by_hand(step.fix, step.kind, title, step.clears, (("klein-doctor", "--fix"),))


def _moving_first(steps: list[Step]) -> list[Step]:
    """What makes another environment comes before whatever changes packages of the present one."""
    moving = [step for step in steps if step.python is not None]
    others = [step for step in steps if step.python is None]
    at = next((n for n, step in enumerate(steps) if step.kind == "packages"), len(others))
    return [*others[:at], *moving, *others[at:]]


def _by_hand(finding: Finding, wishes: Wishes) -> list[Step]:
    """The first repair as a step that is shown and never run."""
    repairs = [r for r in finding.fixes if not wishes.only or r.id in wishes.only]
    return [by_hand(r.id, r.kind, r.summary, (finding.id,), r.commands) for r in repairs[:1]]


def _unique(steps: list[Step]) -> list[Step]:
    """The same thing to do by hand, named by several findings, once."""
    found: dict[tuple[str, str], Step] = {}
    for step in steps:
        key = (step.fix, step.title)
        clears = (*found[key].clears, *step.clears) if key in found else step.clears
        found[key] = step._replace(clears=tuple(dict.fromkeys(clears)))
    return list(found.values())


def _wished(finding: Finding, wishes: Wishes) -> bool:
    warned = finding.verdict is Verdict.WARN
    return warned and any(repair.id in wishes.only for repair in finding.fixes)


def _out(planned_by: str, step: Step, wishes: Wishes, failing: Mapping[str, Finding]) -> str:
    """Why a step stays out, "" where it does not.

    planned_by: the fix that was asked for, which may have left the step to another.
    """
    names = (step.fix, planned_by)
    if wishes.only and not any(name in wishes.only for name in names):
        return f"{step.fix} is not among --only"
    if any(name in wishes.without for name in names):
        return f"--except {next(name for name in names if name in wishes.without)}"
    if step.kind in wishes.deny:
        return f"--deny {step.kind}"
    if wishes.safe and step.grade not in ("safe", "manual"):
        return f"--safe: {step.fix} has the grade {step.grade}"
    for check, kinds in _IN_THE_WAY.items():
        if check in failing and step.kind in kinds:
            return f"{failing[check].title} ({check}) comes first"
    return ""


def _occupied(step: Step, moves: Mapping[str, str]) -> str:
    """Why nothing can be fetched to a place where something else stays, "" where nothing does."""
    if step.kind != "download":
        return ""
    first = next((moves[path.real] for path in step.paths if path.real in moves), "")
    return f"{first} makes room for it, and stays out" if first else ""


def _known_fixes(wishes: Wishes, fixes: Mapping[str, Fix], findings: tuple[Finding, ...]) -> None:
    there = {*fixes, *(repair.id for finding in findings for repair in finding.fixes)}
    for option, names in (("--only", wishes.only), ("--except", wishes.without)):
        for name in names:
            if name not in there:
                import difflib

                close = difflib.get_close_matches(name, sorted(there), n=1)
                hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(fixes)}"
                raise UsageError(f"{option} {name[:60]}: there is no fix of that name{hint}")
