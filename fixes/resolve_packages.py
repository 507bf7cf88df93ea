"""A package that asks for something else than is there, updated."""

from __future__ import annotations

from klein_doctor.fixes.package_step import act, package_step
from klein_doctor.fixing import Fix
from klein_doctor.model import known
from klein_doctor.steps import Case, Step

ID = "resolve-packages"


def plan(case: Case) -> list[Step]:
    """The package that asks for something else than is there is updated; torch stays."""
    asked = [each for each in case.asked if each[0].evidence.get("requirer")]
    if not asked:
        return []
    names = dict.fromkeys(str(finding.evidence["requirer"]) for finding, _ in asked)
    found = known(case.facts.packages)
    # Not below what is there, and not what is there: that is the one which does not fit.
    wanted = [
        f"{name}>{version}"
        for name in names
        if found is not None and (version := found.version(name))
    ]
    return [package_step(case, ID, f"update {', '.join(names)}", asked=asked, install=wanted)]


FIXES = (
    Fix(ID, "Update a package that does not fit the others", plan, act,
        after=("install-torch", "install-requirements", "install-diffusers-stack")),
)  # fmt: skip
