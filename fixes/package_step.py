"""What the fixes of single packages share: one step that changes them and leaves torch alone."""

from __future__ import annotations

from collections.abc import Sequence

from klein_doctor.environment import (
    NAME_PYTHON,
    doctors_own,
    isolated,
    kept,
    shared,
    tool,
    with_pip_first,
    without_tool,
)
from klein_doctor.model import Finding, Repair, known
from klein_doctor.steps import Case, Step, StepFailed, by_hand
from klein_doctor.transaction.packages import Change, Changed, change_packages
from klein_doctor.transaction.transaction import Transaction

UNDO = "puts the packages back from the copies that are kept, without network"


def named_first(case: Case, fix: str) -> Step | None:
    """By hand where the doctor's own environment is all that was found, None elsewhere."""
    if not doctors_own(case.facts):
        return None
    title = (
        "name the Python that runs the model; this one is the doctor's own, and nothing runs a "
        "model with it"
    )
    return by_hand(fix, "packages", title, case.ids, (NAME_PYTHON,))


def package_step(
    case: Case,
    fix: str,
    title: str,
    *,
    asked: Sequence[tuple[Finding, Repair]] | None = None,
    install: Sequence[str] = (),
    remove: Sequence[str] = (),
    requirements: str = "",
    again: bool = False,
) -> Step:
    """A step under a constraint that keeps torch; by hand where the packages are not ours.

    asked: the findings that it should clear, those of the whole case by default.
    """
    asked = case.asked if asked is None else asked
    commands = asked[0][1].commands
    clears = tuple(finding.id for finding, _ in asked)
    python = known(case.facts.interpreter)
    reason = "the Python that runs the model is not known" if python is None else shared(case.facts)
    if python is None or reason:
        return by_hand(fix, "packages", f"{title}; {reason}", clears, commands)
    if reason := without_tool(case.facts):
        commands = with_pip_first(case.facts, fix)
        return by_hand(fix, "packages", f"{title}; {reason}", clears, commands)
    change = Change(
        python=python.path.real, install=tuple(install), remove=tuple(remove),
        keep=kept(case.facts), requirements=requirements, tool=tool(python),
        isolated=isolated(python), again=again,
    )  # fmt: skip
    return Step(
        fix, f"{title} in {python.prefix.local}", "packages", "ask", change._asdict(),
        paths=python.site_packages or (python.prefix,), commands=commands,
        bytes=None if install or requirements else 0, undo=UNDO, clears=clears,
    )  # fmt: skip


def act(step: Step, transaction: Transaction) -> str:
    """Change the packages that were planned."""
    changed = change_packages(Change(**step.arguments), transaction)
    if not changed.installed and not changed.removed:
        raise StepFailed("the packages are as wanted already, so the fault is elsewhere")
    return in_words(changed)


def in_words(changed: Changed) -> str:
    """What was changed, in one line."""
    new = ", ".join(f"{name} {version}" for name, version in changed.installed[:6])
    more = f" and {len(changed.installed) - 6} more" if changed.installed[6:] else ""
    gone = f"; removed {', '.join(changed.removed)}" if changed.removed else ""
    return f"installed {new}{more}{gone}" if new else f"removed {', '.join(changed.removed)}"
