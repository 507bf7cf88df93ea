"""The report to paste into an issue: verdict, one machine-readable line, a table, the details."""

from __future__ import annotations

import re

from klein_doctor.model import Finding, Report, Verdict, known
from klein_doctor.report import words
from klein_doctor.report.commands import command_lines
from klein_doctor.report.document import compact

LIMIT = 60_000
_JSON_LIMIT = 40_000
_DETAILS_LIMIT = 15_000
_MARKS = {
    Verdict.FAIL: "FAIL",
    Verdict.WARN: "warn",
    Verdict.CRASHED: "crashed",
    Verdict.UNKNOWN: "not judged",
    Verdict.SKIPPED: "skipped",
    Verdict.PASS: "ok",
}


def render_markdown(report: Report, form: str) -> str:
    """Markdown under 60,000 characters."""
    parts = [
        _first_line(report),
        f"`{summary(report)}`",
        "",
        *_table(report, form),
        "",
        *_details("Findings", _findings(report, form)),
        *_details("Report for `klein-doctor --from`", _block(report, form)),
    ]
    return "\n".join(parts) + "\n"


def summary(report: Report) -> str:
    """One line of key=value pairs for scripts that triage issues."""
    gpu = words.chosen_gpu(report)
    capability = known(gpu.compute_capability) if gpu is not None else None
    nvml, system = known(report.facts.nvml), known(report.facts.system)
    torch, comfyui = known(report.facts.torch), known(report.facts.comfyui)
    memory = known(report.facts.memory)
    python = known(report.facts.interpreter)
    version = known(python.version) if python is not None else None
    values = {
        "klein-doctor": report.version,
        "recipe": report.recipe,
        "exit": int(report.exit_code),
        "first": report.first.partition(":")[0] if report.first else None,
        "gpu": known(gpu.name) if gpu is not None else None,
        "cc": "{}.{}".format(*capability) if capability else None,
        "driver": known(nvml.driver) if nvml is not None else None,
        "os": system.os if system is not None else None,
        "wsl": system.wsl if system is not None else None,
        "container": system.container or None if system is not None else None,
        "python": ".".join(str(part) for part in version) if version else None,
        "torch": known(torch.version) if torch is not None and torch.present else None,
        "cuda": known(torch.cuda) if torch is not None and torch.present else None,
        "route": report.route,
        "comfyui": known(comfyui.version) if comfyui is not None else None,
        "install": comfyui.kind if comfyui is not None else None,
        "ram": _gib(memory.total) if memory is not None else None,
        "vram_free": _gib(known(gpu.free_bytes)) if gpu is not None else None,
        "picture": report.record["verdict"] if report.record is not None else None,
    }
    return " ".join(f"{key}={_value(value)}" for key, value in values.items())


def _gib(size: int | None) -> str | None:
    return None if size is None else f"{size / 2**30:.1f}"


def _value(value: object) -> str:
    text = "-" if value is None or value == "" else str(value)
    text = re.sub(r"[^\x20-\x7e]|[`|]", "?", text)
    return f'"{text}"' if " " in text else text


def _first_line(report: Report) -> str:
    found = words.groups(report)
    text = f"**klein-doctor: {words.headline(report)}**"
    if found.first is not None:
        text += f" First: `{found.first.check}`, {_cell(found.first.title)}"
        text += f" (origin: {words.origin(found.first)})."
    return text + f" Custom nodes: {words.nodes_words(report)}."


def _table(report: Report, form: str) -> list[str]:
    rows = [
        ("Card", words.card_line(report)),
        ("Driver", words.driver_line(report) or "unknown"),
        ("OS", words.system_line(report)),
        ("Python", words.python_line(report)),
        ("PyTorch", words.torch_line(report) or "none"),
        ("ComfyUI", words.comfyui_line(report)),
        ("Other ComfyUIs", words.other_installs(report, form)),
        ("Arguments", words.arguments_line(report, form)),
        ("Memory", words.memory_line(report)),
        ("Files", report.files),
        ("Way", report.plan),
        ("Picture", report.picture),
        (
            "Judged",
            f"{getattr(words.place(report), form)} "
            f"({words.CHOSEN.get(report.target.python_from, '')})",
        ),
    ]
    if report.target.assumed:
        rows.insert(1, ("Assumed", report.target.assumed))
    told = [f"| {name} | {_cell(value)} |" for name, value in rows if value]
    return ["| | |", "|---|---|", *told]


def _findings(report: Report, form: str) -> list[str]:
    lines = ["| verdict | check | what |", "|---|---|---|"]
    order = list(_MARKS)
    for finding in sorted(report.findings, key=lambda f: order.index(f.verdict)):
        lines.append(
            f"| {_MARKS[finding.verdict]} | `{finding.check}` | {_cell(_said(finding, form))} |"
        )
    for finding in report.findings:
        if finding.verdict in (Verdict.FAIL, Verdict.WARN):
            for repair in finding.fixes:
                commands = command_lines(report, repair, form)
                lines += ["", f"`{finding.check}`: {_cell(repair.summary)}"]
                lines += ["```", *commands, "```"] if commands else []
    return _cut(lines)


def _said(finding: Finding, form: str) -> str:
    parts = [finding.title]
    if finding.detail and finding.verdict is not Verdict.PASS:
        parts.append(finding.detail)
    if finding.subject is not None:
        parts.append(f"At {getattr(finding.subject, form)}.")
    if finding.reason:
        parts.append(f"({finding.reason})")
    if finding.because:
        word = "Waits for" if finding.verdict is Verdict.SKIPPED else "Follows from"
        parts.append(f"{word} {finding.because}.")
    return " ".join(part if part.endswith((".", ")")) else part + "." for part in parts)


def _block(report: Report, form: str) -> list[str]:
    return ["```json", compact(report, form, _JSON_LIMIT), "```"]


def _details(title: str, lines: list[str]) -> list[str]:
    summary_text = re.sub(r"`([^`]*)`", r"<code>\1</code>", title)
    return ["<details>", f"<summary>{summary_text}</summary>", "", *lines, "", "</details>", ""]


def _cut(lines: list[str]) -> list[str]:
    kept: list[str] = []
    size = 0
    for line in lines:
        size += len(line) + 1
        if size > _DETAILS_LIMIT:
            return [*kept, "", "(shortened; the report below is whole)"]
        kept.append(line)
    return kept


def _cell(text: str) -> str:
    """A text that cannot leave its table cell or turn into a link, a mention or HTML."""
    flat = " ".join(text.split())
    flat = re.sub(r"([\\|`*_\[\]<>])", r"\\\1", flat)
    return re.sub(r"[@#](?=\w)", lambda m: f"{m.group(0)}\u200b", flat)
