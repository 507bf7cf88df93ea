"""The JSON report: one document, its seal, and its short form for pasting."""

from __future__ import annotations

import json
from typing import Any

from klein_doctor.codec import encode
from klein_doctor.model import Finding, Report
from klein_doctor.report.commands import argv_lines, command_lines
from klein_doctor.steps import Result, Step

SCHEMA = "klein-doctor/report/1"


def document(report: Report, form: str) -> dict[str, Any]:
    """The report as JSON-ready data, sealed; form is one of codec.FORMS."""
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "created": report.created,
        "doctor": {
            "version": report.version,
            "recipe": report.recipe,
            "recipe_age_days": report.recipe_age_days,
        },
        "target": encode(report.target, form),
        "facts": encode(report.facts, form),
        "findings": [_finding(report, finding, form) for finding in report.findings],
        "first": report.first,
        "before": None
        if report.before is None
        else [_finding(report, finding, form) for finding in report.before],
        "plan": [_step(report, step) for step in report.steps_planned],
        "steps": [_result(report, result) for result in report.steps],
        "generation": report.record,
        "ready": report.ready,
        "changed": report.changed,
        "reboot_needed": report.reboot_needed,
        "retry": report.retry,
        "exit_code": int(report.exit_code),
    }
    data["seal"] = seal(data)
    return data


def seal(data: dict[str, Any]) -> str:
    """SHA-256 over the canonical JSON without the seal itself; tells accidental damage, no more."""
    import hashlib

    rest = {key: value for key, value in data.items() if key != "seal"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def render_json(report: Report, form: str) -> str:
    """One JSON document and a newline, in ASCII so that any stream can carry it."""
    return json.dumps(document(report, form), indent=1) + "\n"


def compact(report: Report, form: str, limit: int) -> str:
    """The document on one line; where it would grow beyond limit, without what it can spare: how
    memory went during a run, then the findings."""
    data = document(report, form)
    text = json.dumps(data, separators=(",", ":"))
    ran = data["facts"]["generation"].get("known")
    if len(text) > limit and ran:
        ran["samples"] = []
        data["seal"] = seal(data)
        text = json.dumps(data, separators=(",", ":"))
    if len(text) > limit:
        data["findings"] = []
        data["seal"] = seal(data)
        text = json.dumps(data, separators=(",", ":"))
    return text


def _step(report: Report, step: Step) -> dict[str, Any]:
    """A step with the paths as they are: whoever runs it needs them."""
    return {
        "fix": step.fix,
        "title": step.title,
        "kind": step.kind,
        "grade": step.grade,
        "paths": encode(step.paths, "real"),
        "commands": argv_lines(report, step.commands, "real"),
        "bytes": step.bytes,
        "undo": step.undo,
        "clears": list(step.clears),
        "touches": list(step.touches),
    }


def _result(report: Report, result: Result) -> dict[str, Any]:
    return {
        "fix": result.step.fix,
        "title": result.step.title,
        "state": result.state,
        "says": result.says,
        "seconds": round(result.seconds, 1),
        "clears": list(result.step.clears),
        "run": (report.run or None) if result.state == "done" else None,
    }


def _finding(report: Report, finding: Finding, form: str) -> dict[str, Any]:
    return {
        "id": finding.id,
        "check": finding.check,
        "family": finding.family,
        "subject": encode(finding.subject, form),
        "verdict": finding.verdict.value,
        "title": finding.title,
        "detail": finding.detail,
        "reason": finding.reason,
        "evidence": encode(finding.evidence, form),
        "because": finding.because,
        "fixes": [
            {
                "id": repair.id,
                "kind": repair.kind,
                "grade": repair.grade,
                "summary": repair.summary,
                "commands": command_lines(report, repair, form),
            }
            for repair in finding.fixes
        ],
    }
