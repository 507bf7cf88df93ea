"""The Hub's client, updated."""

from __future__ import annotations

from klein_doctor.fixes.package_step import act, package_step
from klein_doctor.fixing import Fix
from klein_doctor.steps import Case, Step

ID = "update-hub-client"


def plan(case: Case) -> list[Step]:
    """The Hub's client as the row of the table wants it."""
    wanted = [
        command[-1]
        for _, repair in case.asked
        for command in repair.commands
        if isinstance(command[-1], str)
    ]
    return [package_step(case, ID, f"update {', '.join(wanted)}", install=wanted)]


FIXES = (Fix(ID, "Update the Hub's client", plan, act, after=("install-torch",)),)
