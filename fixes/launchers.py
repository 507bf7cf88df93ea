"""Arguments in the files and settings that start ComfyUI: those that do harm, and --listen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from klein_doctor.editing.launch import LOOPBACK, loopback, without
from klein_doctor.fixing import Fix
from klein_doctor.installation import ComfyUI, Launcher
from klein_doctor.model import Finding, known
from klein_doctor.recipe_flags import load_flags
from klein_doctor.steps import Case, Step, StepFailed
from klein_doctor.transaction.transaction import Transaction

FLAGS, LISTEN = "release-flags", "loopback-only"
# Where the arguments stand as they would be typed; other settings keep them in pieces.
_TYPED = ("bat", "sh", "ps1", "comfy-cli", "desktop-2")
_WIDE = ("any", "public", "private")
_BACK = "puts the file back as it was"
_RUNNING = "stop ComfyUI and start it without"


def plan_flags(case: Case) -> list[Step]:
    """One step per file and argument."""
    steps: list[Step] = []
    for finding, repair in case.asked:
        flag = finding.evidence.get("flag") or finding.evidence.get("asks")
        if not isinstance(flag, str) or not flag.startswith("--"):
            steps.append(_by_hand(FLAGS, repair.summary, finding))
            continue
        at = [each for each in _launchers(case) if flag in (item.name for item in each.flags)]
        steps += _per_file(FLAGS, at, finding, f"take {flag} out", {"flag": flag})
    return steps


def plan_listen(case: Case) -> list[Step]:
    """One step per file in which ComfyUI is opened to others."""
    steps: list[Step] = []
    for finding, repair in case.asked:
        if repair.grade == "manual":
            steps.append(_by_hand(LISTEN, repair.summary, finding))
            continue
        at = [each for each in _launchers(case) if each.listen in _WIDE]
        steps += _per_file(LISTEN, at, finding, f"write --listen {LOOPBACK}", {})
    return steps


def _launchers(case: Case) -> tuple[Launcher, ...]:
    comfyui: ComfyUI | None = known(case.facts.comfyui)
    return comfyui.launchers if comfyui is not None else ()


def _per_file(
    fix: str, at: Iterable[Launcher], finding: Finding, what: str, arguments: dict[str, str]
) -> list[Step]:
    steps: dict[str, Step] = {}
    for each in at:
        if each.kind == "server":
            steps["server"] = _by_hand(fix, f"stop ComfyUI, {what}, start it anew", finding)
        elif each.kind not in _TYPED:
            title = f"{each.path.local}: {what}"
            steps[each.path.real] = _by_hand(fix, title, finding)
        else:
            steps[each.path.real] = Step(
                fix, f"{each.path.local}: {what}", "config", "ask",
                {"path": each.path.real, "kind": each.kind, **arguments}, paths=(each.path,),
                undo=_BACK, clears=(finding.id,),
            )  # fmt: skip
    return list(steps.values())


def _by_hand(fix: str, title: str, finding: Finding) -> Step:
    return Step(fix, title, "config", "manual", {}, clears=(finding.id,))


def act_flags(step: Step, transaction: Transaction) -> str:
    """Take the argument out of the file."""
    flag = step.arguments["flag"]
    row = load_flags().get(flag)
    values = row.values if row is not None else "none"
    kind = step.arguments["kind"]
    return _edit(step, transaction, lambda data: without(data, kind, flag, values), flag)


def act_listen(step: Step, transaction: Transaction) -> str:
    """Let the server answer this machine alone."""
    kind = step.arguments["kind"]
    return _edit(step, transaction, lambda data: loopback(data, kind), "--listen")


def _edit(step: Step, transaction: Transaction, change: Callable[[bytes], bytes], flag: str) -> str:
    path = Path(step.arguments["path"])
    data = path.read_bytes()
    try:
        changed = change(data)
    except ValueError as error:
        raise StepFailed(f"{path}: {error}; change {flag} there by hand") from error
    if changed == data:
        raise StepFailed(f"{path} does not hold {flag} in a form that can be edited; do it by hand")
    transaction.edit(path, changed)
    return f"{flag} changed in {path}"


FIXES = (
    Fix(FLAGS, "Take arguments that do harm out of what starts ComfyUI", plan_flags, act_flags),
    Fix(LISTEN, "Let ComfyUI answer this machine alone", plan_listen, act_listen),
)
