"""An environment of its own for ComfyUI, where the present Python is not ours to change."""

from __future__ import annotations

import sys
from pathlib import Path

from klein_doctor.card import card
from klein_doctor.environment import TRIO
from klein_doctor.fixing import Fix
from klein_doctor.guard import recorded
from klein_doctor.model import Facts, Known, known
from klein_doctor.outcomes import wheel_choice
from klein_doctor.steps import Case, Step, StepFailed, by_hand
from klein_doctor.transaction.prepared import Change, called, children
from klein_doctor.transaction.transaction import Transaction
from klein_doctor.wheels import Choice

ID = "make-venv"
_FOLDER = ".venv"
_HOUR_S = 3600.0


def plan(case: Case) -> list[Step]:
    """One step below ComfyUI's folder; by hand without ComfyUI, or where no build is known."""
    facts, repair = case.facts, case.asked[0][1]
    clears = case.ids
    python, comfyui, choice = known(facts.interpreter), known(facts.comfyui), _choice(case)
    if python is None or comfyui is None or choice is None:
        return [by_hand(ID, "packages", repair.summary, clears, repair.commands)]
    folder, windows = comfyui.root.below(_FOLDER), _windows(facts)
    inside = folder.below("Scripts" if windows else "bin")
    new = inside.below("python.exe" if windows else "python")
    requirements = comfyui.root.below("requirements.txt")
    install = (new, "-m", "pip", "install")
    title = (
        f"make {folder.local} with {' and '.join(choice.packages)} and ComfyUI's requirements; "
        f"from then on start ComfyUI with {new.local}"
    )
    arguments = {
        "python": python.path.real, "folder": folder.real, "new": new.real,
        "install": list(choice.packages), "index": choice.index_url,
        "requirements": requirements.real,
    }  # fmt: skip
    commands = (
        (python.path, "-m", "venv", folder),
        (*install, *choice.packages, "--index-url", choice.index_url),
        (*install, *choice.packages, "-r", requirements),
    )
    return [
        Step(
            ID, title, "packages", "ask", arguments, paths=(folder,), commands=commands,
            bytes=None, undo="removes the environment", clears=clears,
        )
    ]  # fmt: skip


def _choice(case: Case) -> Choice | None:
    found = card(case.facts)
    if not isinstance(found, Known):
        return None
    return wheel_choice(case.facts, case.recipe, found.value)


def _windows(facts: Facts) -> bool:
    system = known(facts.system)
    return system is not None and system.os == "windows"


def act(step: Step, transaction: Transaction) -> str:
    """Make it, PyTorch first, then the requirements under a constraint that keeps PyTorch."""
    told = step.arguments
    folder, requirements = Path(told["folder"]), Path(told["requirements"])
    if not requirements.is_file():
        raise StepFailed(f"{requirements} is gone by now; run this again")
    transaction.tree(folder)
    try:
        _make(told["python"], folder, transaction)
        _fill(step, transaction)
    finally:
        transaction.filled(folder)
    sites = [
        str(path) for path in (*folder.glob("lib/*/site-packages"), *folder.glob("Lib/site-*"))
    ]
    pins = recorded(sites)
    if not any(pin.startswith(f"{TRIO[0]}==") for pin in pins):
        raise StepFailed(f"pip installed no torch into {folder}")
    return f"{folder} has {', '.join(pins)} and ComfyUI's requirements"


def _make(python: str, folder: Path, transaction: Transaction) -> None:
    transaction.note(f"making {folder}")
    try:
        transaction.run([python, "-m", "venv", str(folder)], env={"PYTHONPATH": ""}, limit_s=600.0)
    except StepFailed as error:
        hint = (
            "" if sys.platform == "win32" else "; Debian and Ubuntu need the package python3-venv"
        )
        raise StepFailed(f"no environment could be made ({error.says}){hint}") from error


def _fill(step: Step, transaction: Transaction) -> None:
    told = step.arguments
    install, index = tuple(told["install"]), told["index"]
    keep = transaction.scratch / "venv-keep.txt"
    keep.write_text("".join(f"{pin}\n" for pin in install), encoding="utf-8")
    pip = [told["new"], "-m", "pip", "install", "--quiet"]
    for change, argv in (
        (Change(told["new"], index_url=index), [*pip, "--index-url", index, "--", *install]),
        (Change(told["new"]), [*pip, "-c", str(keep), "-r", told["requirements"]]),
    ):
        transaction.note(f"installing {' and '.join(argv[len(pip) + 1 :])}")
        env = children(change)
        called(transaction, "pip", argv, env, transaction.scratch, limit_s=_HOUR_S)


FIXES = (Fix(ID, "Make an environment for ComfyUI", plan, act, after=("install-comfyui",)),)
