"""An environment of its own for ComfyUI, where the present one is not to be changed.

It lies in ComfyUI's folder, so that ComfyUI's models, nodes and settings are the same for both, and
so that the doctor finds it there by itself from then on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from klein_doctor import new_environment
from klein_doctor.card import card
from klein_doctor.editing.launch_environment import can_stand, instead
from klein_doctor.fixing import Fix
from klein_doctor.installation import PRIVATE, ComfyUI, Launcher, Search
from klein_doctor.model import Facts, Interpreter, Known, Private, known
from klein_doctor.outcomes import Command, wheel_choice
from klein_doctor.steps import Case, Step, StepFailed, by_hand
from klein_doctor.transaction.transaction import Transaction
from klein_doctor.wheels import Choice

ID = "make-venv"
_USUAL = ".venv"


def plan(case: Case) -> list[Step]:
    """One step below ComfyUI's folder; by hand without ComfyUI, where no build is known, or where a
    launcher names the present environment in a form that is not edited."""
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
    at = _launchers(comfyui, python)
    closed = [each for each in at if not _can_edit(each, folder, comfyui)]
    start = f"from then on start ComfyUI with {new.local} {main.local}"
    if at:
        start = f"name it in place of {python.prefix.local} in {_lines(closed or at)}"
    title = (
        f"make {folder.local} with {' and '.join(choice.packages)} and ComfyUI's requirements; "
        f"{start}"
    )
    if spares:
        title += (
            f"; {python.prefix.local} stays as it is, with {', '.join(spares)} (to change that "
            "one instead, answer environment = 'here')"
        )
    commands: tuple[Command, ...] = (
        (python.path, "-m", "venv", folder),
        (*install, *choice.packages, "--index-url", choice.index_url),
        (*install, *choice.packages, "-r", requirements),
        (new, main),
    )
    if closed:  # the doctor would judge an environment that nothing starts
        return by_hand(ID, "packages", title, case.ids, commands)
    arguments = {
        "python": python.path.real, "folder": folder.real, "new": new.real,
        "install": list(choice.packages), "index": choice.index_url,
        "requirements": requirements.real, "spares": list(spares),
        "start": f"{new.local} {main.local}", "old": python.prefix.real,
        "root": comfyui.root.real,
        "launchers": [{"path": each.path.real, "kind": each.kind} for each in at],
    }  # fmt: skip
    return Step(
        ID, title, "packages", "ask", arguments, paths=(folder, *(each.path for each in at)),
        commands=commands, bytes=None, clears=case.ids, python=new,
        undo="removes the environment" + (", puts the launcher back as it was" if at else ""),
    )  # fmt: skip


def _launchers(comfyui: ComfyUI, python: Interpreter) -> list[Launcher]:
    """The files that start ComfyUI with the present environment by its name, each once."""
    named = {
        each.path.real: each
        for each in comfyui.launchers
        if each.started is not None and _same(each.started.folder, python.prefix)
    }
    return list(named.values())


def _can_edit(launcher: Launcher, new: Private, comfyui: ComfyUI) -> bool:
    """Whether every command of its file names it in so many words, and the new one can be, too."""
    named = [
        each.started
        for each in comfyui.launchers
        if each.path.real == launcher.path.real and each.started is not None
    ]
    return all(
        each.plain
        and _same(each.folder, launcher.started.folder if launcher.started else each.folder)
        and can_stand(new.real, each.folder.real, comfyui.root.real)
        for each in named
    )


def _lines(at: list[Launcher]) -> str:
    return ", ".join(
        f"line {each.started.line} of {each.path.local}" for each in at if each.started is not None
    )


def _folder(facts: Facts, python: Interpreter, comfyui: ComfyUI) -> Private | None:
    """Where it goes: the usual place where nothing of ComfyUI's own is in use, else one beside it.

    None where a launcher starts ComfyUI, which knows its own environment and no other.
    """
    if comfyui.kind != "manual":
        return None
    search: Search | None = known(facts.search)
    judged = search.judged() if search is not None else None
    own = judged is not None and judged.python_from in ("own", "server", "launcher")
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
    """Make it, PyTorch first, then the requirements; launchers that name the old one come last."""
    told = step.arguments
    folder, requirements = Path(told["folder"]), Path(told["requirements"])
    if not requirements.is_file():
        raise StepFailed(f"{requirements} is gone by now; run this again")
    launchers = told.get("launchers", ())
    for each in launchers:
        _renamed(each, told)
    transaction.tree(folder)
    try:
        new_environment.make(told["python"], folder, transaction)
        pins = new_environment.fill(
            folder, told["install"], told["index"], requirements, transaction
        )
    finally:
        transaction.filled(folder)
    for each in launchers:
        transaction.edit(Path(each["path"]), _renamed(each, told))
    start = f"Start ComfyUI with {told['start']}"
    if launchers:
        start += f", as {', '.join(each['path'] for each in launchers)} does by now"
    said = f"{folder} has {', '.join(pins)} and ComfyUI's requirements"
    return f"{said}; what custom nodes need comes with them. {start}"


def _renamed(launcher: dict[str, str], told: dict[str, Any]) -> bytes:
    """A launcher's file with the new environment in the place of the old one."""
    path = Path(launcher["path"])
    try:
        data = path.read_bytes()
        changed = instead(data, launcher["kind"], told["old"], told["folder"], told["root"])
    except (OSError, ValueError) as error:
        raise StepFailed(f"{path}: {error}; name the new environment there by hand") from error
    if changed == data:
        raise StepFailed(f"{path} does not name {told['old']} any more; run this again")
    return changed


FIXES = (
    Fix(ID, "Make an environment for ComfyUI", plan, act, after=("install-comfyui",), beside=True),
)
