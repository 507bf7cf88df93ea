"""A workflow that fits the files found here, where ComfyUI lists the saved ones."""

from __future__ import annotations

from pathlib import Path

from klein_doctor.assets import loadable, told
from klein_doctor.fixing import Fix
from klein_doctor.klein_graph import Parts
from klein_doctor.model import known
from klein_doctor.modelfiles import Workflow
from klein_doctor.recipe_workflow import load_workflow
from klein_doctor.steps import Case, Step
from klein_doctor.transaction.transaction import Transaction
from klein_doctor.workflow_graph import text_to_image

ID = "place-workflow"
_STEM, _END = "klein-4b-text-to-image", ".json"


def plan(case: Case) -> list[Step]:
    """One step where all three parts are here and no such workflow is yet.

    It clears no finding: the workflow that was complained of is the user's, and stays as it is.
    """
    comfyui = known(case.facts.comfyui)
    models = told(case.facts, case.recipe)
    if comfyui is None or models is None:
        return []
    files = loadable(models)
    if files is None:
        return []
    names = [file.name.real for file in files]
    place = comfyui.base.below("user").below("default").below("workflows").below(_STEM + _END)
    if any(_ours(each, place.real, names) for each in known(case.facts.workflows, ())):
        return []
    return [
        Step(
            ID, f"write a workflow for the files found here: {place.local}", "config", "ask",
            {"path": place.real, "files": names}, paths=(place,), undo="removes the workflow",
        )
    ]  # fmt: skip


def _ours(workflow: Workflow, path: str, names: list[str]) -> bool:
    """Whether this is what an earlier run wrote, for the same files, under a name it takes."""
    stem = path[: -len(_END)]
    named = workflow.path.real.startswith(stem) and workflow.path.real.endswith(_END)
    return named and sorted(file.name.real for file in workflow.files) == sorted(names)


def act(step: Step, transaction: Transaction) -> str:
    """Write it under the next free name, unless the same is there."""
    path = Path(step.arguments["path"])
    row = load_workflow()["distilled"]
    data = text_to_image(Parts(*step.arguments["files"]), row.steps, row.cfg_tenths / 10)
    number, place = 1, path
    while place.exists() or place.is_symlink():
        if place.is_file() and place.read_bytes() == data:
            return f"{place} is there already"
        number += 1
        place = path.with_name(f"{_STEM}-{number}{_END}")
    transaction.folder(place.parent)
    transaction.create(place, data)
    return f"{place} is written; ComfyUI lists it among its workflows"


FIXES = (
    Fix(
        ID, "Write a workflow that fits the files", plan, act,
        after=("fetch-assets", "place-assets", "rename-asset"), alone=True,
    ),
)  # fmt: skip
