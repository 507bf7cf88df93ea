"""What the fixes of launch arguments share; no fix itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from klein_doctor.installation import ComfyUI, Launcher
from klein_doctor.model import Facts, Finding, Unknown, known
from klein_doctor.steps import Case, Step, StepFailed, by_hand
from klein_doctor.transaction.transaction import Transaction

# Where the arguments stand as they would be typed; other settings keep them in pieces.
TYPED = ("bat", "sh", "ps1", "comfy-cli", "desktop-2")
_BACK = "puts the file back as it was"


def launchers(facts: Facts) -> tuple[Launcher, ...]:
    """Everything that starts the ComfyUI that is judged, the running server first."""
    comfyui: ComfyUI | None = known(facts.comfyui)
    return comfyui.launchers if comfyui is not None else ()


def per_file(
    case: Case, fix: str, at: Iterable[Launcher], finding: Finding, what: str, flag: str
) -> list[Step]:
    """One step per file that is edited, and what stays to be done by hand.

    what: is done to the arguments, such as ``take --lowvram out``.
    """
    at = list(at)
    running = any(each.kind == "server" for each in at)
    root = known(case.facts.comfyui).root.real
    clears = (finding.id,)
    steps: dict[str, Step] = {}
    for each in at:
        title = f"{each.path.local}: {what}"
        if each.kind == "server":
            steps["server"] = by_hand(fix, "config", f"stop ComfyUI, {what}, start it anew", clears)
        elif each.kind not in TYPED:
            steps[each.path.real] = by_hand(fix, "config", title, clears)
        else:
            steps[each.path.real] = Step(
                fix, title, "config", "ask",
                {"path": each.path.real, "kind": each.kind, "flag": flag, "root": root,
                 "running": running},
                paths=(each.path,), undo=_BACK, clears=clears,
            )  # fmt: skip
    return list(steps.values())


def edited(step: Step, transaction: Transaction, change: Callable[[bytes], bytes]) -> str:
    """Edit the file of a step; answers in one line.

    Raises:
        StepFailed: it does not hold the argument in a form that is edited.
    """
    path, flag = Path(step.arguments["path"]), step.arguments["flag"]
    data = path.read_bytes()
    try:
        changed = change(data)
    except (ValueError, RecursionError) as error:
        raise StepFailed(f"{path}: {error}; change {flag} there by hand") from error
    if changed == data:
        raise StepFailed(f"{path} does not hold {flag} in a form that can be edited; do it by hand")
    transaction.edit(path, changed)
    said = f"{flag} changed in {path}"
    if step.arguments["running"]:
        said += "; ComfyUI runs with the old arguments until it is started anew"
    return said


def still(step: Step, facts: Facts, faulty: Callable[[Launcher], bool]) -> str:
    """What the edited file says after all, "" where it is as it should be.

    A server that runs keeps its arguments until it is started anew, and proves nothing.
    """
    if isinstance(facts.comfyui, Unknown):
        return f"what starts ComfyUI now is not known: {facts.comfyui.reason}"
    path, flag = step.arguments["path"], step.arguments["flag"]
    same = [each for each in launchers(facts) if each.path.real == path and each.kind != "server"]
    return f"{path} still starts ComfyUI with {flag}" if any(map(faulty, same)) else ""
