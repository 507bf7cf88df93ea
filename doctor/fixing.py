"""How a fix is declared, and the catalogue of all of them.

A fix plans purely, from findings and facts to steps; and it acts, through a Transaction, which
can take back whatever it did. Discovery walks the package ``klein_doctor.fixes``: a module that
holds ``FIXES`` is enough.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from klein_doctor.model import Facts
from klein_doctor.steps import Case, Step
from klein_doctor.transaction.transaction import Transaction

Planner = Callable[[Case], Sequence[Step]]
Actor = Callable[[Step, Transaction], str]
Proof = Callable[[Step, Facts], str]


class Fix(NamedTuple):
    """A declared fix.

    id: as the findings' references name it. plan: pure. act: does one of the steps it planned and
    answers in one line what was done; raises StepFailed, and everything is taken back.
    after: fixes that come first where both are in a plan. alone: it makes sense where no finding
    asks for it; ``--only`` brings it in. proof: what facts read anew say against a step, "" for
    nothing, where its findings cannot tell: without it a step is proven by those it clears.
    beside: it makes something new, so that programs that use what is there are in no way.
    whole: it brings all that the model runs on, so that packages of the present environment stay.
    unless: checks that must not fail when its turn comes: it would make what is wrong last.
    """

    id: str
    title: str
    plan: Planner
    act: Actor
    after: tuple[str, ...] = ()
    alone: bool = False
    proof: Proof | None = None
    beside: bool = False
    whole: bool = False
    unless: tuple[str, ...] = ()


class FixingError(ValueError):
    """A fix is declared twice, or fixes come after each other in a circle."""


@lru_cache(maxsize=1)
def fixes() -> dict[str, Fix]:
    """All fixes by id, in an order in which what comes first stands first.

    Raises:
        FixingError: two of the same id, or a circle.
    """
    from klein_doctor import fixes as package

    declared: dict[str, Fix] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"klein_doctor.fixes.{info.name}")
        for each in getattr(module, "FIXES", ()):
            if each.id in declared:
                raise FixingError(f"the fix {each.id} is declared twice")
            declared[each.id] = each
    return _ordered(declared)


def _ordered(declared: dict[str, Fix]) -> dict[str, Fix]:
    done: dict[str, Fix] = {}
    while len(done) < len(declared):
        ready = [
            each
            for each in declared.values()
            if each.id not in done and all(n in done or n not in declared for n in each.after)
        ]
        if not ready:
            stuck = ", ".join(name for name in declared if name not in done)
            raise FixingError(f"fixes come after each other in a circle: {stuck}")
        done[ready[0].id] = ready[0]
    return done
