"""The report for a chat: plain text under 1,900 characters."""

from __future__ import annotations

from klein_doctor.model import Report, Verdict, known
from klein_doctor.report import words

LIMIT = 1900


def render_brief(report: Report, form: str) -> str:
    """A few lines: verdict, machine, what is wrong, what to do."""
    found = words.groups(report)
    lines = [f"klein-doctor {report.version}: {words.headline(report)}"]
    lines.append(f"card: {words.card_line(report)}")
    lines.append(f"driver: {words.driver_line(report) or 'unknown'}; {words.system_line(report)}")
    lines.append(f"Python {words.python_line(report)}; {words.torch_line(report) or 'no torch'}")
    comfyui = words.comfyui_line(report)
    lines.append(f"{f'ComfyUI {comfyui}; ' if comfyui else ''}RAM {words.memory_line(report)}")
    if report.plan:
        lines.append(f"way: {report.plan}")
    if known(report.facts.generation) is not None or known(report.facts.proven) is not None:
        lines.append(f"picture: {report.picture}")
    if found.first is not None:
        label = "fix first" if found.first.verdict is Verdict.FAIL else "remark"
        lines.append(f"{label}: {found.first.check}: {found.first.title}. {found.first.detail}")
        lines += [f"  -> {repair.summary}" for repair in found.first.fixes[:2]]
    bad = (Verdict.FAIL, Verdict.WARN, Verdict.CRASHED)
    rest = [f for f in report.findings if f.verdict in bad and f is not found.first]
    lines += [f"{finding.verdict.value}: {finding.check}: {finding.title}" for finding in rest]
    unknown = [f.check for f in found.unjudged if f.verdict is Verdict.UNKNOWN]
    if unknown:
        lines.append(f"not judged: {', '.join(unknown)}")
    lines += [f"not judged: {f.check}: {f.reason}" for f in found.unjudged if words.told_why(f)]
    text = "\n".join(lines)
    if len(text) >= LIMIT:
        text = text[: LIMIT - 40].rsplit("\n", 1)[0] + "\n(shortened; see --format text)"
    return text + "\n"
