"""ComfyUI's own requirements, installed."""

from __future__ import annotations

from klein_doctor.fixes.package_step import act, package_step
from klein_doctor.fixing import Fix
from klein_doctor.model import known
from klein_doctor.steps import Case, Step

ID = "install-requirements"


def plan(case: Case) -> list[Step]:
    """ComfyUI's requirements.txt, under a constraint that keeps torch and its partners."""
    comfyui = known(case.facts.comfyui)
    if comfyui is None:
        return []
    path = comfyui.root.below("requirements.txt")
    title = f"install {path.local}, keeping PyTorch,"
    return [package_step(case, ID, title, requirements=path.real)]


FIXES = (
    Fix(ID, "Install ComfyUI's requirements", plan, act,
        after=("install-torch", "update-comfyui")),
)  # fmt: skip
