"""Compiled packages that cannot work here, taken out one by one."""

from __future__ import annotations

from klein_doctor.fixes.package_step import act, package_step
from klein_doctor.fixing import Fix
from klein_doctor.model import Finding, Repair
from klein_doctor.steps import Case, Step

ID = "remove-extension"


def plan(case: Case) -> list[Step]:
    """One step per compiled package that cannot work here."""
    groups: dict[str, list[tuple[Finding, Repair]]] = {}
    for finding, repair in case.asked:
        name = next((c[-1] for c in repair.commands if isinstance(c[-1], str)), "")
        if name:
            groups.setdefault(name, []).append((finding, repair))
    return [
        package_step(case, ID, f"uninstall {name}", asked=asked, remove=(name,))
        for name, asked in groups.items()
    ]


FIXES = (Fix(ID, "Uninstall a compiled package that cannot work here", plan, act),)
