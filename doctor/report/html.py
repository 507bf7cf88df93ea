"""The report as one page: nothing outside it is needed, no script, good to read and to print."""

from __future__ import annotations

import json
from html import escape

from klein_doctor.model import Finding, Report, Verdict
from klein_doctor.report import html_generation, words
from klein_doctor.report.commands import argv_lines, command_lines
from klein_doctor.report.html_style import STYLE
from klein_doctor.report.repairs import size
from klein_doctor.steps import Result, Step

_BADGES = {
    Verdict.FAIL: ("bad", "fails"),
    Verdict.WARN: ("warn", "remark"),
    Verdict.CRASHED: ("warn", "check crashed"),
    Verdict.UNKNOWN: ("idle", "not judged"),
    Verdict.SKIPPED: ("idle", "waits"),
    Verdict.PASS: ("good", "fine"),
}
_STATES = {
    "done": ("good", "done"),
    "rolled back": ("warn", "taken back"),
    "rollback failed": ("bad", "could not be taken back"),
    "skipped": ("idle", "skipped"),
    "manual": ("idle", "by hand"),
}
_FAMILIES = {**words.FAMILIES, "attention": "attention", "hub": "the Hub", "doctor": "the doctor"}
ROUTES = {"comfyui": "ComfyUI", "diffusers": "diffusers"}
# What a browser may load of it: nothing but what stands in the page.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_LONGEST_JSON = 200_000


def render_html(report: Report, form: str) -> str:
    """A whole page."""
    body = "".join(
        (
            _steps(report, form),
            _first(report, form),
            html_generation.section(report, form),
            _machine(report, form),
            _findings(report, form),
            _record(report),
        )
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>klein-doctor: {_text(words.headline(report))}</title>\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n{_header(report)}"
        f"<main>\n{body}</main>\n{_footer(report)}</body>\n</html>\n"
    )


def _header(report: Report) -> str:
    kind, word = {0: ("good", "healthy"), 1: ("bad", "problems"), 5: ("bad", "not proven")}.get(
        int(report.exit_code), ("warn", words.verdict_word(report))
    )
    note = "replayed from a report" if report.replayed else "read on this machine"
    note = "it changed this machine, undoable" if report.changed else note
    when = f"{_text(report.created[:10])} {_text(report.created[11:16])} UTC"
    return (
        f"<header>\n{badge(kind, word)}\n<h1>{_text(words.headline(report))}</h1>\n"
        f'<p class="soft">FLUX.2 [klein] 4B, card: {_text(words.card_line(report))}, '
        f"by {ROUTES.get(report.route, 'diffusers')}. {when}, {note}.</p>\n</header>\n"
    )


def _footer(report: Report) -> str:
    return (
        f"<footer>klein-doctor {_text(report.version)}, tables of {_text(report.recipe)}, exit "
        f"code {int(report.exit_code)}. Names of people, machines and folders are replaced unless "
        "it was asked not to.</footer>\n"
    )


def badge(kind: str, word: str) -> str:
    return f'<span class="badge {kind}">{_text(word)}</span>'


def _text(value: object) -> str:
    """A text that stays one, whatever it holds."""
    return escape(str(value), quote=True)


# --- findings --------------------------------------------------------------------------------


def _first(report: Report, form: str) -> str:
    found = words.groups(report)
    bad = [f for f in (found.first, *found.others) if f is not None and f.verdict is Verdict.FAIL]
    remarks = [f for f in (found.first, *found.warnings) if f and f.verdict is Verdict.WARN]
    parts = []
    if bad:
        parts.append("<h2>Fix first</h2>\n")
        parts += [_problem(report, finding, form) for finding in bad]
    if remarks:
        parts.append("<h2>Remarks</h2>\n")
        parts += [_problem(report, finding, form) for finding in remarks]
    return "".join(parts)


def _problem(report: Report, finding: Finding, form: str) -> str:
    kind, word = _BADGES[finding.verdict]
    extra = " is-warn" if finding.verdict is Verdict.WARN else ""
    parts = [
        f'<section class="card first{extra}"><div class="top"><h3>{_text(finding.title)}</h3>'
        f'<code class="id">{_text(finding.check)}</code></div>',
        f"<p>{badge(kind, word)} {_text(finding.detail)}</p>",
    ]
    parts += _body(report, finding, form)
    after = words.following(report, finding)
    if after:
        names = ", ".join(f"<code>{_text(each.check)}</code>" for each in after)
        parts.append(f'<p class="small soft">Should clear with it: {names}</p>')
    return "".join((*parts, "</section>\n"))


def _body(report: Report, finding: Finding, form: str) -> list[str]:
    parts = []
    if finding.subject is not None and getattr(finding.subject, form):
        parts.append(
            f'<p class="small">Where: <code>{_text(getattr(finding.subject, form))}</code></p>'
        )
    for number, repair in enumerate(finding.fixes):
        parts.append(f"<p><b>{'Fix' if not number else 'Or'}:</b> {_text(repair.summary)}</p>")
        parts.append(_commands(command_lines(report, repair, form)))
    return parts


def _commands(lines: list[str]) -> str:
    return f"<pre>{_text(chr(10).join(lines))}</pre>" if lines else ""


def _findings(report: Report, form: str) -> str:
    """Everything that was judged, by family, those with something wrong in them open."""
    families: dict[str, list[Finding]] = {}
    for finding in report.findings:
        families.setdefault(finding.family, []).append(finding)
    order = list(_BADGES)
    parts = ["<h2>Everything that was judged</h2>\n"]
    for family, found in families.items():
        counts = {v: sum(f.verdict is v for f in found) for v in order}
        told = ", ".join(f"{n} {_BADGES[v][1]}" for v, n in counts.items() if n)
        opened = " open" if counts[Verdict.FAIL] else ""
        name = _FAMILIES.get(family) or family
        parts.append(
            f'<details class="card"{opened}><summary>{_text(name[:1].upper() + name[1:])} '
            f'<span class="soft">{_text(told)}</span></summary>'
        )
        for finding in sorted(found, key=lambda f: order.index(f.verdict)):
            parts.append(_line(finding, form))
        parts.append("</details>\n")
    return "".join(parts)


def _line(finding: Finding, form: str) -> str:
    kind, word = _BADGES[finding.verdict]
    told = [] if finding.verdict is Verdict.PASS else [finding.detail]
    told += [finding.reason or ""]
    if finding.because:
        what = "Waits for" if finding.verdict is Verdict.SKIPPED else "Follows from"
        told.append(f"{what} {finding.because}.")
    if finding.subject is not None:
        told.append(getattr(finding.subject, form))
    more = " ".join(text for text in told if text)
    return (
        f'<div class="finding"><div class="top"><span>{badge(kind, word)} '
        f'{_text(finding.title)}</span><code class="id">{_text(finding.check)}</code></div>'
        + (f'<p class="small soft">{_text(more)}</p>' if more else "")
        + "</div>"
    )


# --- the machine, the steps, the record --------------------------------------------------------


def _machine(report: Report, form: str) -> str:
    rows = [
        ("Card", words.card_line(report)),
        ("Driver", words.driver_line(report) or "unknown"),
        ("System", words.system_line(report)),
        ("Memory", words.memory_line(report)),
        ("Python", words.python_line(report)),
        ("PyTorch", words.torch_line(report) or "none"),
        ("ComfyUI", words.comfyui_line(report)),
        ("Other ComfyUIs", words.other_installs(report, form)),
        ("Arguments", words.arguments_line(report, form)),
        ("Files", report.files),
        ("Way", report.plan),
        ("Picture", report.picture if report.record is None else ""),
        ("Judged", getattr(words.place(report), form)),
        ("Assumed", report.target.assumed),
    ]
    told = "".join(f"<dt>{_text(n)}</dt><dd>{_text(v)}</dd>" for n, v in rows if v)
    return f'<h2>This machine</h2>\n<div class="card"><dl class="facts">{told}</dl></div>\n'


def _steps(report: Report, form: str) -> str:
    if report.steps:
        items = "".join(_ended(report, each, form) for each in report.steps)
        undo = f"klein-doctor undo {report.run}" if report.run else ""
        back = f"<p>To take it back: <code>{_text(undo)}</code></p>" if undo else ""
        return f'<h2>What was done</h2>\n<ol class="steps">{items}</ol>{back}\n'
    if report.steps_planned:
        items = "".join(_planned(report, each, form) for each in report.steps_planned)
        return f'<h2>The plan; nothing of it was done</h2>\n<ol class="steps">{items}</ol>\n'
    return ""


def _ended(report: Report, result: Result, form: str) -> str:
    kind, word = _STATES.get(result.state, ("idle", result.state))
    manual = argv_lines(report, result.step.commands, form) if result.state == "manual" else []
    return (
        f'<li class="card"><div class="top"><h3>{_text(result.step.title)}</h3>'
        f"{badge(kind, word)}</div><p>{_text(result.says)}</p>{_commands(manual)}</li>"
    )


def _planned(report: Report, step: Step, form: str) -> str:
    told = ", ".join(part for part in (step.kind, step.grade, size(step)) if part)
    more = f"<p>Touches {_text(', '.join(step.touches))}.</p>" if step.touches else ""
    more += f'<p class="small soft">Undo: {_text(step.undo)}</p>' if step.undo else ""
    return (
        f'<li class="card"><div class="top"><h3>{_text(step.title)}</h3>'
        f'<code class="id">{_text(step.fix)}</code></div><p class="small soft">{_text(told)}</p>'
        f"{more}{_commands(argv_lines(report, step.commands, form))}</li>"
    )


def _record(report: Report) -> str:
    if report.record is None:
        return ""
    text = json.dumps(report.record, indent=1, ensure_ascii=False)[:_LONGEST_JSON]
    return (
        '<h2>Record</h2>\n<details class="card"><summary>The run as a record '
        '<span class="soft">made to be shared: no names, no paths</span></summary>'
        f"<pre>{_text(text)}</pre></details>\n"
    )
