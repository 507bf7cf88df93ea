"""A workflow that fits the files found here, where ComfyUI lists the saved ones."""

from __future__ import annotations

from pathlib import Path

from klein_doctor.assets import ROLES, loadable, told
from klein_doctor.fixing import Fix
from klein_doctor.klein_graph import Parts
from klein_doctor.model import known
from klein_doctor.modelfiles import Workflow
from klein_doctor.recipe_workflow import load_workflow
from klein_doctor.steps import Case, Step, StepFailed
from klein_doctor.transaction.transaction import Transaction
from klein_doctor.workflow_graph import text_to_image

ID = "place-workflow"
_STEM, _END = "klein-4b-text-to-image", ".json"


def plan(case: Case) -> list[Step]:
    """One step where all three parts are here and no such workflow is yet.

    Of the findings it clears those about a workflow that the doctor wrote. One of the user's stays
    as it is, and the finding with it.
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
    saved: tuple[Workflow, ...] = known(case.facts.workflows, ())
    own = [each for each in saved if _named(each, place.real)]
    if any(_names(each) == sorted(names) for each in own):
        return []
    again = [
        _again(each, finding.id, names)
        for finding, _ in case.asked
        for each in own
        if each.path == finding.subject and len(each.files) == len(ROLES)
    ]
    if again:
        return again
    return [
        Step(
            ID, f"write a workflow for the files found here, {place.local}; your own stay as they "
            "are", "config", "ask", {"path": place.real, "files": names}, paths=(place,),
            undo="removes the workflow",
        )
    ]  # fmt: skip


def _again(own: Workflow, finding: str, names: list[str]) -> Step:
    by_category = {file.category: file.name.real for file in own.files}
    was = [by_category.get(role.category, "") for role in ROLES]
    return Step(
        ID, f"write {own.path.local}, which klein-doctor made, anew for the files found here",
        "config", "ask", {"path": own.path.real, "files": names, "was": was}, paths=(own.path,),
        undo="puts it back as it was", clears=(finding,),
    )  # fmt: skip


def _named(workflow: Workflow, path: str) -> bool:
    """Whether it has a name that this fix gives."""
    stem = path[: -len(_END)]
    return workflow.path.real.startswith(stem) and workflow.path.real.endswith(_END)


def _names(workflow: Workflow) -> list[str]:
    return sorted(file.name.real for file in workflow.files)


def act(step: Step, transaction: Transaction) -> str:
    """Write it under the next free name, unless the same is there; or anew in its place."""
    path = Path(step.arguments["path"])
    data = _data(step.arguments["files"])
    if "was" in step.arguments:
        if path.read_bytes() != _data(step.arguments["was"]):
            raise StepFailed(
                f"{path} was changed since klein-doctor wrote it, and is yours: choose the files "
                "in its loaders, or rename it and run this again"
            )
        transaction.edit(path, data)
        return f"{path} loads the files found here now"
    number, place = 1, path
    while place.exists() or place.is_symlink():
        if place.is_file() and place.read_bytes() == data:
            return f"{place} is there already"
        number += 1
        place = path.with_name(f"{_STEM}-{number}{_END}")
    transaction.folder(place.parent)
    transaction.create(place, data)
    return f"{place} is written; ComfyUI lists it among its workflows"


def _data(files: list[str]) -> bytes:
    row = load_workflow()["distilled"]
    return text_to_image(Parts(*files), row.steps, row.cfg_tenths / 10)


FIXES = (
    Fix(
        ID, "Write a workflow that fits the files", plan, act,
        after=("fetch-assets", "place-assets", "rename-asset"), alone=True,
    ),
)  # fmt: skip
