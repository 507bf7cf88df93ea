"""What the fixes of model files share; no fix itself."""

from __future__ import annotations

import os
import re
from pathlib import Path

from klein_doctor.assets import told
from klein_doctor.model import Private
from klein_doctor.modelfiles import ModelFile
from klein_doctor.steps import Case, StepFailed

OLD_NAME = "gives it its old name back"


def named(case: Case) -> list[tuple[ModelFile, tuple[str, ...]]]:
    """The files the findings are about, each with the ids of its findings.

    A finding may name more of them than its subject, as ``misnamed``.
    """
    models = told(case.facts, case.recipe)
    files = {file.path.real: file for file in models.files} if models is not None else {}
    found: dict[str, list[str]] = {}
    for finding, _ in case.asked:
        others = finding.evidence.get("misnamed", ())
        paths = [finding.subject, *(others if isinstance(others, tuple) else ())]
        for path in dict.fromkeys(each.real for each in paths if isinstance(each, Private)):
            if path in files:
                found.setdefault(path, []).append(finding.id)
    return [(files[path], tuple(ids)) for path, ids in found.items()]


def need(path: Path) -> None:
    """Raises StepFailed where a file that was planned for is gone."""
    if not os.path.lexists(path):
        raise StepFailed(f"{path} is gone by now; run this again")


def name_for(file: ModelFile) -> str:
    """A name from what the file is; its own extension stays."""
    words = [file.family or file.role or "unknown", file.variant, file.quantisation]
    stem = "-".join(word for word in words if word)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.").lower() or "unknown"
    return f"{plain}{os.path.splitext(file.path.real)[1]}"
