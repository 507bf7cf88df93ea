"""Which steps of a plan are to be done: the table, and what an answer names of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from klein_doctor.exits import UsageError
from klein_doctor.steps import Plan, Step
from klein_doctor.values import printable


class Row(NamedTuple):
    """A step of the plan table. warning: it mends a warning. tick: None where it is not ours."""

    step: Step
    warning: bool
    tick: bool | None


def table(plan: Plan, optional: Plan) -> tuple[Row, ...]:
    """What can be done, as it stands before anybody ticks; by hand first, warnings last."""
    rows = [Row(step, False, _tick(step)) for step in plan.steps]
    there = {(step.fix, step.title) for step in plan.steps}
    for step in optional.steps:
        if (step.fix, step.title) not in there:
            rows.append(Row(step, True, None if step.grade == "manual" else False))
    return tuple(rows)


def _tick(step: Step) -> bool | None:
    return None if step.grade == "manual" else not step.touches


def chosen_by(answer: str, rows: Sequence[Row]) -> tuple[Step, ...]:
    """The steps an answer names: ``all``, ``fails``, ``none`` or ids of fixes.

    Raises:
        UsageError: a name is none of a step that can be done.
    """
    ours = [row for row in rows if row.tick is not None]
    names = [name.strip() for name in answer.split(",") if name.strip()]
    if names == ["all"]:
        return tuple(row.step for row in ours)
    if names == ["fails"]:
        return tuple(row.step for row in ours if not row.warning)
    if names in ([], ["none"]):
        return ()
    there = list(dict.fromkeys(row.step.fix for row in ours))
    for name in names:
        if name not in there:
            listed = ", ".join(("all", "fails", "none", *there))
            raise UsageError(f"--answers: steps = {printable(name, 60)!r}; there are {listed}")
    return tuple(row.step for row in ours if row.step.fix in names)
