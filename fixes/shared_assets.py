"""What the fixes of model files share; no fix itself."""

from __future__ import annotations

import os
import re
from pathlib import Path

from klein_doctor.assets import rules, told
from klein_doctor.model import Private
from klein_doctor.modelfiles import ModelFile
from klein_doctor.recipe import Recipe
from klein_doctor.steps import Case, StepFailed

OLD_NAME = "gives it its old name back"


def named(case: Case) -> list[tuple[ModelFile, tuple[str, ...]]]:
    """The files the findings are about, each with the ids of its findings.

    A finding may name others than its subject, as ``misnamed``: what stands in the way of what
    mends it. Then it does not clear when they are gone.
    """
    models = told(case.facts, case.recipe)
    files = {file.path.real: file for file in models.files} if models is not None else {}
    found: dict[str, list[str]] = {}
    for finding, _ in case.asked:
        others = finding.evidence.get("misnamed")
        paths = others if isinstance(others, tuple) else (finding.subject,)
        for path in dict.fromkeys(each.real for each in paths if isinstance(each, Private)):
            if path in files:
                clears = [finding.id] if finding.subject in paths else []
                found.setdefault(path, []).extend(clears)
    return [(files[path], tuple(ids)) for path, ids in found.items()]


def need(path: Path) -> None:
    """Raises StepFailed where a file that was planned for is gone."""
    if not os.path.lexists(path):
        raise StepFailed(f"{path} is gone by now; run this again")


def name_for(file: ModelFile, recipe: Recipe) -> str:
    """The name it was published under, else one from what it is; its own extension stays."""
    ending = os.path.splitext(file.path.real)[1]
    row = next((row for row in rules(recipe).files if row.id and row.id == file.known), None)
    # A diffusers folder's names say nothing outside of it.
    if row is not None and row.layout != "diffusers":
        stem = os.path.splitext(row.name)[0]
        if stem.lower() != os.path.splitext(_last(file))[0].lower():
            return f"{stem}{ending}"
    words = [file.family or file.role or "unknown", file.variant, file.quantisation]
    stem = "-".join(word for word in words if word)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.").lower() or "unknown"
    return f"{plain}{ending}"


def _last(file: ModelFile) -> str:
    return re.split(r"[\\/]", file.path.real)[-1]
