"""What speaks against a workflow by itself, wherever its files may be."""

from __future__ import annotations

import re

from klein_doctor.model import Private, Verdict
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.workflows import workflow_of
from klein_doctor.triage.values import Match

_REFUSED = re.compile(r"(?i)klein[-_ ]?(?:base[-_])?9b|flux[._-]?2[-_]dev")
_CERTAIN, _LIKELY = 330.0, 310.0


def judge_graph(outside: Outside, text: str) -> list[Match] | None:
    """Matches for a workflow in either of its forms; None where it is none that uses FLUX.2."""
    from klein_doctor.checks.workflow import judge_workflow

    workflow = workflow_of(outside, text)
    if workflow is None:
        return None
    matches = []
    for file in workflow.files:
        if file.active and _REFUSED.search(file.name.real):
            line = f"{file.node}: {file.name.public}"
            matches.append(
                Match(
                    "license-non-commercial",
                    Private.plain(line),
                    "The workflow loads a 9B or [dev] transformer, which is not free for "
                    "commercial use and takes another text encoder than Klein 4B.",
                    "Choose flux-2-klein-4b-fp8.safetensors in that node.",
                    "high",
                    _LIKELY,
                )
            )
            break
    judged = judge_workflow(workflow, {})
    if judged.verdict is Verdict.WARN:
        loaded = ", ".join(file.name.public for file in workflow.files if file.active)
        matches.insert(
            0,
            Match(
                "workflow-mismatch",
                Private.plain(f"workflow loads {loaded}"[:400]),
                f"{judged.title}. {judged.detail}",
                "Change that in the workflow, or take one made for distilled Klein.",
                "high",
                _CERTAIN,
            ),
        )
    return matches
