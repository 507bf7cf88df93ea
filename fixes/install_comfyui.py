"""ComfyUI where there is none: a release, cloned, with an environment of its own."""

from __future__ import annotations

import os
from pathlib import Path

from klein_doctor import new_environment
from klein_doctor.card import card
from klein_doctor.fixing import Fix
from klein_doctor.model import Facts, Known, Private, known
from klein_doctor.outcomes import branch, driver_of, python_version
from klein_doctor.recipe import Recipe
from klein_doctor.steps import Case, Step, StepFailed, by_hand
from klein_doctor.transaction.git import clone
from klein_doctor.transaction.transaction import Transaction
from klein_doctor.wheels import Choice, choose

ID = "install-comfyui"
_VENV = ".venv"


def plan(case: Case) -> list[Step]:
    """One step; by hand without git or network, and where no build of PyTorch is known to fit."""
    repair = case.asked[0][1]
    row = case.recipe.comfyui.install
    place, choice = _place(case), _choice(case.facts, case.recipe)
    reason = _obstacle(case, place, choice)
    if reason or place is None or choice is None:
        title = f"{repair.summary}; {reason}"
        return [by_hand(ID, "packages", title, case.ids, repair.commands)]
    title = (
        f"install ComfyUI {row.tag} in {place.local}, with an environment of its own: "
        f"{' and '.join(choice.packages)}, then its requirements"
    )
    arguments = {
        "place": place.real, "url": row.url, "tag": row.tag,
        "python": known(case.facts.interpreter).path.real, "install": list(choice.packages),
        "index": choice.index_url,
    }  # fmt: skip
    return [
        Step(
            ID, title, "packages", "ask", arguments, paths=(place,), commands=repair.commands,
            bytes=None, undo="removes it; with files of yours in it, it is put aside",
            clears=case.ids,
        )
    ]  # fmt: skip


def _place(case: Case) -> Private | None:
    """Where --comfyui points, else ComfyUI in the home folder."""
    forms = [case.chosen.get(f"place.{form}", "") for form in ("real", "local", "public")]
    return Private(*forms) if all(forms) else None


def _choice(facts: Facts, recipe: Recipe) -> Choice | None:
    """The build for this card, with every partner: ComfyUI starts without none of them."""
    found = card(facts)
    if not isinstance(found, Known):
        return None
    driver = branch(driver_of(facts)) or recipe.fast_cuda.min_driver
    return choose(recipe, found.value.capability, driver, python_version(facts), "", True)


def _obstacle(case: Case, place: Private | None, choice: Choice | None) -> str:
    if known(case.facts.interpreter) is None:
        return "the Python to make its environment with is not known"
    if not case.chosen.get("git"):
        return "git, which fetches it, is not on the PATH"
    if case.chosen.get("offline"):
        return "it comes from the network, and --offline was given"
    if choice is None:
        return "which PyTorch it needs is not known without a card, a driver and a Python that fit"
    return "" if place is not None else "there is no home folder to put it in: name one, --comfyui"


def act(step: Step, transaction: Transaction) -> str:
    """Clone, then the environment; until it is complete it counts as not there."""
    told = step.arguments
    place = Path(os.path.abspath(told["place"]))
    transaction.folder(place.parent)
    transaction.tree(place)
    try:
        transaction.note(f"fetching ComfyUI {told['tag']} into {place}")
        clone(transaction, told["url"], told["tag"], place)
        requirements = place / "requirements.txt"
        if not requirements.is_file():
            raise StepFailed(f"{told['url']} at {told['tag']} holds no requirements.txt")
        venv = place / _VENV
        new_environment.make(told["python"], venv, transaction)
        pins = new_environment.fill(venv, told["install"], told["index"], requirements, transaction)
    finally:
        transaction.filled(place)
    start = f"{new_environment.inside(venv)} {place / 'main.py'}"
    return f"ComfyUI {told['tag']} is in {place} with {', '.join(pins)}; start it with {start}"


FIXES = (Fix(ID, "Install ComfyUI", plan, act, after=("update-driver",), beside=True, whole=True),)
