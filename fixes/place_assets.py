"""A right model file in the wrong folder is linked to where its loader looks."""

from __future__ import annotations

import re
from pathlib import Path

from klein_doctor.assets import BY_ID, elsewhere, folder_for, told, wanted_row
from klein_doctor.fixes.shared_assets import need
from klein_doctor.fixing import Fix
from klein_doctor.model import Finding, Private, known
from klein_doctor.modelfiles import ModelFile
from klein_doctor.recipe import Recipe
from klein_doctor.steps import Case, Step
from klein_doctor.transaction.transaction import Transaction

ID = "place-assets"


def plan(case: Case) -> list[Step]:
    """One step per part that lies where its loader does not look."""
    models = told(case.facts, case.recipe)
    comfyui = known(case.facts.comfyui)
    folders = known(comfyui.folders, ()) if comfyui is not None else ()
    steps = []
    for finding, _ in case.asked:
        role = finding.evidence.get("role")
        if models is None or not isinstance(role, str) or role not in BY_ID:
            continue
        folder = folder_for(BY_ID[role].category, folders)
        files = [f for f in elsewhere(models, role) if f.path == finding.subject]
        if folder is not None and files:
            steps.append(_link(files[0], folder, role, finding, case.recipe))
    return steps


def _link(file: ModelFile, folder: Private, role: str, finding: Finding, recipe: Recipe) -> Step:
    name = re.split(r"[\\/]", file.path.real)[-1]
    if file.verdict == "wanted":
        name = wanted_row(role, recipe).name
    place = folder.below(name)
    return Step(
        ID, f"link {file.path.local} into {folder.local}", "move", "safe",
        {"source": file.path.real, "target": place.real}, paths=(place,), undo="removes the link",
        clears=(finding.id,),
    )  # fmt: skip


def act(step: Step, transaction: Transaction) -> str:
    """Give the file a second name where its loader looks."""
    source, target = Path(step.arguments["source"]), Path(step.arguments["target"])
    need(source)
    transaction.folder(target.parent)
    transaction.link(source, target)
    return f"{target} is {source}"


FIXES = (
    Fix(
        ID,
        "Link a file to where it is looked for",
        plan,
        act,
        after=("rename-asset", "quarantine-asset"),
    ),
)
