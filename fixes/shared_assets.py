"""What the fixes of model files share; no fix itself."""

from __future__ import annotations

import os
from pathlib import Path

from klein_doctor.assets import told
from klein_doctor.modelfiles import ModelFile
from klein_doctor.steps import Case, StepFailed

OLD_NAME = "gives it its old name back"


def named(case: Case) -> list[tuple[ModelFile, tuple[str, ...]]]:
    """The files the findings are about, each with the ids of its findings."""
    models = told(case.facts, case.recipe)
    files = {file.path.real: file for file in models.files} if models is not None else {}
    found: dict[str, list[str]] = {}
    for finding, _ in case.asked:
        if finding.subject is not None and finding.subject.real in files:
            found.setdefault(finding.subject.real, []).append(finding.id)
    return [(files[path], tuple(ids)) for path, ids in found.items()]


def need(path: Path) -> None:
    """Raises StepFailed where a file that was planned for is gone."""
    if not os.path.lexists(path):
        raise StepFailed(f"{path} is gone by now; run this again")
