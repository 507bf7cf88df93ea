"""An environment of its own for ComfyUI, where the present one is not to be changed.

It lies in ComfyUI's folder, so that ComfyUI's models, nodes and settings are the same for both, and
so that the doctor finds it there by itself from then on.
"""

from __future__ import annotations

import sys
from pathlib import Path

from klein_doctor.card import card
from klein_doctor.environment import TRIO
from klein_doctor.fixing import Fix
from klein_doctor.guard import recorded
from klein_doctor.installation import PRIVATE, ComfyUI, Search
from klein_doctor.model import Facts, Interpreter, Known, Private, known
from klein_doctor.outcomes import Command, wheel_choice
from klein_doctor.steps import Case, Step, StepFailed, by_hand
from klein_doctor.transaction.prepared import Change, called, children
from klein_doctor.transaction.transaction import Transaction
from klein_doctor.wheels import Choice

ID = "make-venv"
_USUAL = ".venv"
_HOUR_S = 3600.0


def plan(case: Case) -> list[Step]:
    """One step below ComfyUI's folder; by hand without ComfyUI, or where no build is known."""
    repair = case.asked[0][1]
    step = private(case)
    return [step or by_hand(ID, "packages", repair.summary, case.ids, repair.commands)]


def private(case: Case, spares: tuple[str, ...] = ()) -> Step | None:
    """The step, None where it could not be made or nothing would start with it.

    spares: what would not work any more if the present environment were changed instead.
    """
    facts = case.facts
    python, comfyui, choice = known(facts.interpreter), known(facts.comfyui), _choice(case)
    if python is None or comfyui is None or choice is None:
        return None
    folder = _folder(facts, python, comfyui)
    if folder is None:
        return None
    windows = _windows(facts)
    inside = folder.below("Scripts" if windows else "bin")
    new = inside.below("python.exe" if windows else "python")
    requirements, main = comfyui.root.below("requirements.txt"), comfyui.root.below("main.py")
    install: Command = (new, "-m", "pip", "install")
    title = (
        f"make {folder.local} with {' and '.join(choice.packages)} and ComfyUI's requirements; "
        f"from then on start ComfyUI with {new.local} {main.local}"
    )
    if spares:
        title += (
            f"; {python.prefix.local} stays as it is, with {', '.join(spares)} (to change that "
            "one instead, answer environment = 'here')"
        )
    arguments = {
        "python": python.path.real, "folder": folder.real, "new": new.real,
        "install": list(choice.packages), "index": choice.index_url,
        "requirements": requirements.real, "spares": list(spares),
        "start": f"{new.local} {main.local}",
    }  # fmt: skip
    commands: tuple[Command, ...] = (
        (python.path, "-m", "venv", folder),
        (*install, *choice.packages, "--index-url", choice.index_url),
        (*install, *choice.packages, "-r", requirements),
        (new, main),
    )
    return Step(
        ID, title, "packages", "ask", arguments, paths=(folder,), commands=commands,
        bytes=None, undo="removes the environment", clears=case.ids, python=new,
    )  # fmt: skip


def _folder(facts: Facts, python: Interpreter, comfyui: ComfyUI) -> Private | None:
    """Where it goes: the usual place where nothing of ComfyUI's own is in use, else one beside it.

    None where a launcher starts ComfyUI, which knows its own environment and no other.
    """
    if comfyui.kind != "manual":
        return None
    search: Search | None = known(facts.search)
    judged = search.judged() if search is not None else None
    own = judged is not None and judged.python_from in ("own", "server")
    if not own and not _below(python.prefix, comfyui.root):
        return comfyui.root.below(_USUAL)
    place = comfyui.root.below(PRIVATE)
    return None if _same(python.prefix, place) else place


def _below(path: Private, folder: Private) -> bool:
    return _plain(path).startswith(_plain(folder) + "/")


def _same(one: Private, other: Private) -> bool:
    return _plain(one) == _plain(other)


def _plain(path: Private) -> str:
    return path.real.replace("\\", "/").rstrip("/")


def _choice(case: Case) -> Choice | None:
    found = card(case.facts)
    if not isinstance(found, Known):
        return None
    return wheel_choice(case.facts, case.recipe, found.value, anew=True)


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
    said = f"{folder} has {', '.join(pins)} and ComfyUI's requirements"
    return f"{said}; what custom nodes need comes with them. Start ComfyUI with {told['start']}"


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
    listed = told["requirements"]
    for what, change, argv in (
        (", ".join(install), Change(told["new"], index_url=index),
         [*pip, "--index-url", index, "--", *install]),
        (listed, Change(told["new"]), [*pip, "-c", str(keep), "-r", listed]),
    ):  # fmt: skip
        transaction.note(f"installing {what}")
        env = children(change)
        called(transaction, "pip", argv, env, transaction.scratch, limit_s=_HOUR_S)


FIXES = (
    Fix(ID, "Make an environment for ComfyUI", plan, act, after=("install-comfyui",), beside=True),
)
