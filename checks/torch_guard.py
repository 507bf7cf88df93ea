"""Does anything keep a custom node from replacing torch?"""

from __future__ import annotations

from klein_doctor.checks.torch_age import torch_too_old
from klein_doctor.checks.torch_build import (
    place,
    torch_broken,
    torch_cpu_only,
    torch_lacks_arch,
)
from klein_doctor.checks.torch_partners import torch_trio_mismatch
from klein_doctor.environment import (
    contradicting,
    guard_commands,
    holds,
    kept,
    not_to_guard,
    shared,
    tool,
)
from klein_doctor.installation import CustomNodes, Guard
from klein_doctor.model import Facts, Harm, Outcome, Repair, Unknown, Verdict, known
from klein_doctor.outcomes import passed, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check
from klein_doctor.routes import route_of

_GUARD: tuple[tuple[str, ...], ...] = (("klein-doctor", "--fix", "--only", "guard-torch"),)


@check(
    "torch-unguarded",
    family="torch",
    title="Something keeps custom nodes from replacing PyTorch",
    harm=Harm.NOTE,
    requires=("python-broken",),
    reads="The constraints that pip keeps to in the environment that runs ComfyUI (its pip.conf, "
    "the user's, the system's, PIP_CONSTRAINT; for uv, UV_CONSTRAINT), and the list of what "
    "ComfyUI-Manager never installs (pip_blacklist.list).",
    why="Most custom nodes install packages of their own, and any of them may ask for another "
    "PyTorch: pip then replaces the one that works, often by a build without CUDA.",
    by_hand="'klein-doctor --fix --only guard-torch' writes a file of constraints with the "
    "versions of torch, torchvision and torchaudio into the environment, names it in pip.conf "
    "beside it, and puts the three names into ComfyUI-Manager's list. pip obeys silently: it then "
    "refuses what needs another PyTorch. 'klein-doctor undo', or deleting the file and the line, "
    "takes it back.",
)
def torch_unguarded(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    title = "Whether anything keeps PyTorch from being replaced is not known"
    if isinstance(facts.guard, Unknown):
        return unknown(title, facts.guard)
    guard, pins = facts.guard.value, kept(facts)
    if guard is None or not pins or shared(facts) or not _matters(facts, recipe, guard):
        return ()
    bad = contradicting(guard, pins)
    if bad is not None:
        return Outcome(
            Verdict.WARN,
            f"A constraint asks for another {bad.name} than the one that works here",
            f"It says {bad.name}{bad.wants}, installed is {', '.join(pins)}: the next package that "
            "needs it makes pip replace it.",
            subject=bad.file,
            evidence={"constraint": f"{bad.name}{bad.wants}"},
            fixes=_repairs(facts),
        )
    fault = _fault(facts, guard, pins)
    if not fault:
        return passed("Custom nodes cannot replace PyTorch: a constraint keeps it")
    if guard.unread:
        return unknown(title, "pip is told of constraints that could not be read")
    return Outcome(
        Verdict.WARN,
        "Nothing keeps custom nodes from replacing this PyTorch",
        fault,
        subject=place(facts),
        evidence={"pip": bool(guard.pip), "manager": guard.listed},
        fixes=_repairs(facts),
    )


def _matters(facts: Facts, recipe: Recipe, guard: Guard) -> bool:
    """Whether a torch that works stands where custom nodes install."""
    nodes: CustomNodes | None = known(known(facts.comfyui).custom_nodes) if _there(facts) else None
    if route_of(facts, recipe) != "comfyui" or not (guard.manager or (nodes and nodes.total)):
        return False
    judges = (torch_broken, torch_cpu_only, torch_lacks_arch, torch_too_old, torch_trio_mismatch)
    found = [judge(facts, recipe) for judge in judges]
    return all(
        isinstance(each, Outcome) and each.verdict in (Verdict.PASS, Verdict.WARN) for each in found
    )


def _there(facts: Facts) -> bool:
    return known(facts.comfyui) is not None


def _fault(facts: Facts, guard: Guard, pins: tuple[str, ...]) -> str:
    """What is open, "" where nothing is."""
    python = known(facts.interpreter)
    by_pip = any(pin.name == "torch" and holds(pin, pins) for pin in guard.pip)
    by_uv = any(pin.name == "torch" and holds(pin, pins) for pin in guard.uv)
    listed = "torch" in guard.listed
    if python is not None and tool(python) == "uv":
        told = "no constraint is set for uv (UV_CONSTRAINT)"
        if guard.manager is not None:
            told += ", and ComfyUI-Manager's list of what it never installs lacks torch"
        return "" if by_uv or listed else f"{told[:1].upper()}{told[1:]}."
    if not by_pip:
        stale = any(pin.own and pin.name == "torch" for pin in guard.pip)
        told = "pip has no constraint for torch in this environment"
        if stale:
            told = "the doctor's constraint names another torch than the one installed since"
        if guard.manager is not None:
            told += ", and ComfyUI-Manager's list of what it never installs "
            told += "alone has it" if listed else "lacks it"
        return f"{told[:1].upper()}{told[1:]}." if stale else f"{told}."
    if guard.manager is not None and guard.manager_uv and not (listed or by_uv):
        return (
            "pip keeps to a constraint, but ComfyUI-Manager is set to install with uv, which does "
            "not read it, and its own list lacks torch."
        )
    return ""


def _repairs(facts: Facts) -> tuple[Repair, ...]:
    reason = not_to_guard(facts)
    if reason:
        summary = f"keep {' and '.join(kept(facts))}; {reason}"
        return (Repair("guard-torch", "config", "manual", summary, guard_commands(facts)),)
    return (Repair("guard-torch", "config", "ask", "let pip and ComfyUI-Manager keep it", _GUARD),)
