"""A leftover pynvml taken out, and NVIDIA's own module put in its place."""

from __future__ import annotations

from klein_doctor.fixes.package_step import act, package_step
from klein_doctor.fixing import Fix
from klein_doctor.steps import Case, Step

ID = "remove-pynvml"
_NVML = "nvidia-ml-py"


def plan(case: Case) -> list[Step]:
    """The leftover goes, and NVIDIA's own module comes back whole in the same step."""
    title = f"uninstall pynvml and install {_NVML} anew"
    return [package_step(case, ID, title, install=(_NVML,), remove=("pynvml",), again=True)]


FIXES = (Fix(ID, "Put NVIDIA's own module in the place of a leftover", plan, act),)
