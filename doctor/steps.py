"""The values of a repair: what a fix plans, the plan, and how each step ended."""

from __future__ import annotations

from typing import Any, NamedTuple

from klein_doctor.model import Facts, Finding, Private, Repair
from klein_doctor.recipe import Recipe


class Step(NamedTuple):
    """One thing to do, decided from facts alone; nothing was touched yet.

    fix: the id of the fix that does it. title: what is done and where, in one line.
    kind: ``download``, ``packages``, ``config``, ``update`` or ``move``.
    grade: ``safe``, ``ask`` or ``manual``, which is shown and never run.
    arguments: what the fix needs to act: plain JSON values, real paths.
    paths: what it writes or creates. commands: what does the same by hand, as argv lists.
    bytes: to fetch, 0 for nothing, None where nobody can tell beforehand.
    undo: what taking it back does, in one line. clears: ids of the findings it should clear.
    touches: what else it affects, such as extensions compiled for the torch it replaces.
    python: the interpreter that runs the model from then on, where the step makes one.
    """

    fix: str
    title: str
    kind: str
    grade: str
    arguments: dict[str, Any]
    paths: tuple[Private, ...] = ()
    commands: tuple[tuple[str | Private, ...], ...] = ()
    bytes: int | None = 0
    undo: str = ""
    clears: tuple[str, ...] = ()
    touches: tuple[str, ...] = ()
    python: Private | None = None


def by_hand(
    fix: str,
    kind: str,
    title: str,
    clears: tuple[str, ...],
    commands: tuple[tuple[str | Private, ...], ...] = (),
) -> Step:
    """A step for the user to do: shown with its commands, and never run."""
    return Step(fix, title, kind, "manual", {}, commands=commands, clears=clears)


class Case(NamedTuple):
    """What a fix plans from. asked: the findings that name it, each with its reference to it.

    chosen: everything else the command line says that a fix may need (``--answers`` keys).
    """

    asked: tuple[tuple[Finding, Repair], ...]
    facts: Facts
    recipe: Recipe
    chosen: dict[str, str] = {}  # noqa: RUF012 - never written to

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the findings that name the fix."""
        return tuple(finding.id for finding, _ in self.asked)


class Plan(NamedTuple):
    """Ordered steps. left: findings that stay, by id, each with the reason in one line."""

    steps: tuple[Step, ...]
    left: tuple[tuple[str, str], ...] = ()


class Result(NamedTuple):
    """How a step ended.

    state: ``done``, ``rolled back``, ``rollback failed``, ``skipped`` or ``manual``.
    says: one line: what was done, or why not. again: trying again later is the answer.
    """

    step: Step
    state: str
    says: str
    seconds: float = 0.0
    again: bool = False


class StepFailed(Exception):
    """A step could not be done, in one line; again: it may work later (network, lock)."""

    def __init__(self, says: str, *, again: bool = False):
        super().__init__(says)
        self.says = says
        self.again = again
