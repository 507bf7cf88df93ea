"""PyTorch and its partners replaced together by the build that fits card, driver and Python."""

from __future__ import annotations

from pathlib import Path

from klein_doctor.card import card
from klein_doctor.environment import (
    TRIO,
    compiled_for_torch,
    conda_base,
    isolated,
    kept,
    shared,
    tool,
    with_pip_first,
    without_tool,
)
from klein_doctor.fixes.make_venv import private
from klein_doctor.fixes.package_step import UNDO, in_words, named_first
from klein_doctor.fixing import Fix
from klein_doctor.guard import conf_name, repin
from klein_doctor.model import Facts, Known, Private, Repair, known
from klein_doctor.outcomes import from_conda, wheel_choice
from klein_doctor.steps import Case, Step, StepFailed, by_hand
from klein_doctor.transaction.packages import Change, change_packages
from klein_doctor.transaction.transaction import Transaction
from klein_doctor.wheels import Choice

ID = "install-torch"


def plan(case: Case) -> list[Step]:
    """One step: here, or in an environment beside it where that would break or is not ours.

    By hand where conda owns the packages, or where nothing would start with another environment.
    """
    clears, repair, facts = case.ids, case.asked[0][1], case.facts
    python, found = known(facts.interpreter), card(facts)
    choice = wheel_choice(facts, case.recipe, found.value) if isinstance(found, Known) else None
    if python is None or choice is None:
        return [by_hand(ID, "packages", repair.summary, clears, repair.commands)]
    reason = _condas(facts)
    if reason:
        title = f"{repair.summary}; {reason}"
        return [by_hand(ID, "packages", title, clears, repair.commands)]
    if (unnamed := named_first(case, ID)) is not None:
        return [unnamed]
    reason = without_tool(facts)
    if reason and not shared(facts):
        title, commands = f"{repair.summary}; {reason}", with_pip_first(facts, ID)
        return [by_hand(ID, "packages", title, clears, commands)]
    reason = shared(facts)
    touches = compiled_for_torch(facts, f"{choice.torch}+{choice.variant}")
    if not reason and (not touches or case.chosen.get("environment") == "here"):
        return [_step(repair, choice, facts, clears, touches)]
    beside = None if conda_base(python) else private(case, () if reason else touches)
    if beside is not None:
        return [beside]
    words = f"{repair.summary}; {reason}"
    if not reason:
        words = (
            f"{repair.summary}: it would leave {', '.join(touches)} without the torch they were "
            "compiled for; answer environment = 'here' to do it all the same"
        )
    step = by_hand(ID, "packages", words, clears, repair.commands)
    return [step._replace(touches=() if reason else touches)]


def _condas(facts: Facts) -> str:
    for name in TRIO:
        if from_conda(known(getattr(facts, name))):
            return f"{name} came from conda, so it is conda's to change"
    return ""


def _step(
    repair: Repair, choice: Choice, facts: Facts, clears: tuple[str, ...], touches: tuple[str, ...]
) -> Step:
    python = known(facts.interpreter)
    change = Change(
        python=python.path.real, install=choice.packages, index_url=choice.index_url,
        tool=tool(python), isolated=isolated(python), again=_same(choice, facts),
    )  # fmt: skip
    guard = {"prefix": python.prefix.real, "conf": conf_name(facts)}
    title = f"install {' and '.join(choice.packages)} together in {python.prefix.local}"
    places: tuple[Private, ...] = python.site_packages or (python.prefix,)
    return Step(
        ID, title, "packages", "ask", {"change": change._asdict(), **guard}, paths=places,
        commands=repair.commands, bytes=None, undo=UNDO, clears=clears, touches=touches,
    )  # fmt: skip


def _same(choice: Choice, facts: Facts) -> bool:
    """Whether pip would take what is there for what is wanted, though it is at fault."""
    return bool(set(choice.packages) & set(kept(facts)))


def act(step: Step, transaction: Transaction) -> str:
    """Resolve and fetch, then move the old ones out and the new ones in."""
    change = Change(**step.arguments["change"])
    repin(Path(step.arguments["prefix"]), change.install, step.arguments["conf"], transaction)
    changed = change_packages(change, transaction)
    if not changed.installed:
        raise StepFailed("the packages are there already, so the fault is elsewhere")
    return in_words(changed)


FIXES = (
    Fix(ID, "Install the PyTorch that fits this card", plan, act,
        after=("update-driver", "remove-extension")),
)  # fmt: skip
