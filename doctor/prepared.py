"""A diagnosis and the plan that follows from it, before anything is done."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from klein_doctor.diagnose import Request, diagnose, recipe_of
from klein_doctor.fixing import fixes
from klein_doctor.model import Report
from klein_doctor.plan import Wishes, make
from klein_doctor.privacy import Redactor
from klein_doctor.steps import Plan


class Prepared(NamedTuple):
    """A diagnosis and what it would take: plan for the fails, optional for the warnings."""

    request: Request
    report: Report
    plan: Plan
    optional: Plan


def prepare(request: Request, wishes: Wishes | None = None) -> Prepared:
    """Look at the machine and plan; nothing is changed.

    Raises:
        UsageError: in one line.
    """
    report = diagnose(request)
    wishes = wishes or Wishes()
    wishes = wishes._replace(answers={**_around(request), **wishes.answers})
    planned, more = make(report.findings, report.facts, recipe_of(request), fixes(), wishes)
    return Prepared(request, report._replace(steps_planned=planned.steps), planned, more)


def _around(request: Request) -> dict[str, str]:
    """What a fix may plan by and no finding tells: git, --offline, where a new ComfyUI would be."""
    try:
        named = request.wish.comfyui
        place = Path(named or Path.home() / "ComfyUI").expanduser().absolute()
        vacant = place.is_dir() and not any(place.iterdir())
        vacant = vacant or not (named or os.path.lexists(place))
    except (OSError, RuntimeError, ValueError):  # no home, or none that can be looked into
        vacant = False
    found = {"git": shutil.which("git") or "", "offline": "true" if request.offline else ""}
    if vacant:
        shown = Redactor.of_this_machine(os.environ).path(str(place))
        found |= {f"place.{form}": getattr(shown, form) for form in ("real", "local", "public")}
    return found
