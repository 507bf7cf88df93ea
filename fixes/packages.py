"""Packages that lack, contradict each other or are in the way; torch stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

from klein_doctor.environment import isolated, kept, shared, tool
from klein_doctor.fixes.install_torch import UNDO, in_words
from klein_doctor.fixing import Fix
from klein_doctor.model import Finding, Repair, known
from klein_doctor.steps import Case, Step, StepFailed, by_hand
from klein_doctor.transaction.packages import Change, change_packages
from klein_doctor.transaction.transaction import Transaction

_EXTENSION, _PYNVML, _RESOLVE = "remove-extension", "remove-pynvml", "resolve-packages"
_HUB, _STACK, _REQUIREMENTS = "update-hub-client", "install-diffusers-stack", "install-requirements"
_NVML = "nvidia-ml-py"


def _step(
    case: Case,
    fix: str,
    asked: Sequence[tuple[Finding, Repair]],
    title: str,
    *,
    install: Sequence[str] = (),
    remove: Sequence[str] = (),
    requirements: str = "",
    again: bool = False,
) -> Step:
    repair = asked[0][1]
    clears = tuple(finding.id for finding, _ in asked)
    python = known(case.facts.interpreter)
    reason = "the Python that runs the model is not known" if python is None else shared(case.facts)
    if python is None or reason:
        return by_hand(fix, "packages", f"{title}; {reason}", clears, repair.commands)
    change = Change(
        python=python.path.real, install=tuple(install), remove=tuple(remove),
        keep=kept(case.facts), requirements=requirements, tool=tool(python),
        isolated=isolated(python), again=again,
    )  # fmt: skip
    return Step(
        fix, f"{title} in {python.prefix.local}", "packages", "ask", change._asdict(),
        paths=python.site_packages or (python.prefix,), commands=repair.commands,
        bytes=None if install or requirements else 0, undo=UNDO, clears=clears,
    )  # fmt: skip


def plan_extension(case: Case) -> list[Step]:
    """One step per compiled package that cannot work here."""
    groups: dict[str, list[tuple[Finding, Repair]]] = {}
    for finding, repair in case.asked:
        name = next((c[-1] for c in repair.commands if isinstance(c[-1], str)), "")
        if name:
            groups.setdefault(name, []).append((finding, repair))
    return [
        _step(case, _EXTENSION, asked, f"uninstall {name}", remove=(name,))
        for name, asked in groups.items()
    ]


def plan_pynvml(case: Case) -> list[Step]:
    """The leftover goes, and NVIDIA's own module comes back whole in the same step."""
    title = f"uninstall pynvml and install {_NVML} anew"
    return [
        _step(case, _PYNVML, case.asked, title, install=(_NVML,), remove=("pynvml",), again=True)
    ]


def plan_resolve(case: Case) -> list[Step]:
    """The package that asks for something else than is there is updated; torch stays."""
    names = dict.fromkeys(
        str(finding.evidence["requirer"])
        for finding, _ in case.asked
        if finding.evidence.get("requirer")
    )
    asked = [each for each in case.asked if each[0].evidence.get("requirer")]
    if not asked:
        return []
    found = known(case.facts.packages)
    # Not below what is there, and not what is there: that is the one which does not fit.
    wanted = [
        f"{name}>{version}"
        for name in names
        if found is not None and (version := found.version(name))
    ]
    return [_step(case, _RESOLVE, asked, f"update {', '.join(names)}", install=wanted)]


def plan_hub(case: Case) -> list[Step]:
    """The Hub's client as the row of the table wants it."""
    wanted = [
        command[-1]
        for _, repair in case.asked
        for command in repair.commands
        if isinstance(command[-1], str)
    ]
    return [_step(case, _HUB, case.asked, f"update {', '.join(wanted)}", install=wanted)]


def plan_stack(case: Case) -> list[Step]:
    """diffusers, transformers and accelerate, at the floors the route has."""
    floors = case.recipe.stack.floors[:2]
    wanted = (*(f"{row.name}>={row.version}" for row in floors), "accelerate")
    names = ", ".join(wanted)
    return [_step(case, _STACK, case.asked, f"install {names}", install=wanted)]


def plan_requirements(case: Case) -> list[Step]:
    """ComfyUI's requirements.txt, under a constraint that keeps torch and its partners."""
    comfyui = known(case.facts.comfyui)
    if comfyui is None:
        return []
    path = comfyui.root.below("requirements.txt")
    title = f"install {path.local}, keeping PyTorch,"
    return [_step(case, _REQUIREMENTS, case.asked, title, requirements=path.real)]


def act(step: Step, transaction: Transaction) -> str:
    """Change the packages that were planned."""
    changed = change_packages(Change(**step.arguments), transaction)
    if not changed.installed and not changed.removed:
        raise StepFailed("the packages are as wanted already, so the fault is elsewhere")
    return in_words(changed)


FIXES = (
    Fix(_EXTENSION, "Uninstall a compiled package that cannot work here", plan_extension, act),
    Fix(_PYNVML, "Put NVIDIA's own module in the place of a leftover", plan_pynvml, act),
    Fix(_RESOLVE, "Update a package that does not fit the others", plan_resolve, act,
        after=("install-torch", _REQUIREMENTS, _STACK)),
    Fix(_HUB, "Update the Hub's client", plan_hub, act, after=("install-torch",)),
    Fix(_STACK, "Install diffusers and what it needs", plan_stack, act, after=("install-torch",)),
    Fix(_REQUIREMENTS, "Install ComfyUI's requirements", plan_requirements, act,
        after=("install-torch", "update-comfyui")),
)  # fmt: skip
