"""diffusers and what it needs, at the floors of the route."""

from __future__ import annotations

from klein_doctor.fixes.package_step import act, named_first, package_step
from klein_doctor.fixing import Fix
from klein_doctor.steps import Case, Step

ID = "install-diffusers-stack"


def plan(case: Case) -> list[Step]:
    """diffusers, transformers and accelerate, at the floors the route has."""
    if (unnamed := named_first(case, ID)) is not None:
        return [unnamed]
    floors = case.recipe.stack.floors[:2]
    wanted = (*(f"{row.name}>={row.version}" for row in floors), "accelerate")
    return [package_step(case, ID, f"install {', '.join(wanted)}", install=wanted)]


FIXES = (Fix(ID, "Install diffusers and what it needs", plan, act, after=("install-torch",)),)
