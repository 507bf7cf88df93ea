"""The report for a person at a terminal: good at 80 columns, without colours and in a pipe."""

from __future__ import annotations

import os
import re
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.containers import Lines
from rich.text import Text

from klein_doctor.model import Finding, Report, Verdict, known
from klein_doctor.report import repairs, words
from klein_doctor.report.commands import command_lines

_PIPE_WIDTH = 80
_WIDEST = 100
_NARROWEST = 40
_LABEL = 9
_STALE_DAYS = 120
_GOOD = ("verified", "ran as recorded")


def console_for(stream: TextIO, color: str) -> Console:
    """A console on the stream; color is auto, always or never."""
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdigit() and int(columns) else None
    terminal = stream.isatty()
    if width is None and terminal:
        try:
            width = os.get_terminal_size(stream.fileno()).columns or None
        except (OSError, ValueError):
            width = None
    plain = color == "never" or (color == "auto" and not _colours_wanted(terminal))
    return Console(
        file=stream,
        width=max(_NARROWEST, min(width or _PIPE_WIDTH, _WIDEST)),
        no_color=plain,
        color_system=None if plain else "standard",
        force_terminal=not plain,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )


def render_text(report: Report, stream: TextIO, color: str, form: str) -> None:
    """Write the report to the stream."""
    write(report, console_for(stream, color), form)


def write(report: Report, console: Console, form: str) -> None:
    """Write the report to a console of any kind."""
    page = _Page(console, report, form)
    found = words.groups(report)
    page.headline()
    repairs.write(page, report)
    page.generation()
    if found.first is not None and found.first.verdict is Verdict.FAIL:
        page.problem(found.first, "FIX FIRST")
        page.followers(words.following(report, found.first))
        for finding in found.others:
            page.problem(finding, "ALSO")
            page.followers(words.following(report, finding))
    else:
        page.machine()
    for finding in ([found.first] if found.first else []) + list(found.warnings):
        if finding.verdict is Verdict.WARN:
            page.remark(finding)
            page.followers(words.following(report, finding))
    for finding in found.crashed:
        page.remark(finding)
    page.unjudged(found)
    page.rest(found)


class _Page:
    """Lines of one report on one console."""

    def __init__(self, console: Console, report: Report, form: str) -> None:
        self.console = console
        self.report = report
        self.form = form

    def headline(self) -> None:
        style = {0: "bold green", 1: "bold red"}.get(int(self.report.exit_code), "bold yellow")
        note = "changed, undoable" if self.report.changed else "read only, nothing changed"
        if self.report.replayed:
            note = "replayed from a report"
        self.pair(words.headline(self.report), note, style)

    def pair(self, left: str, right: str, style: str, indent: int = 0) -> None:
        """A text and, at the right margin or on its own line, a quiet note."""
        room = self.console.width - indent - 2 - len(right)
        text = Text().append(left, style)
        if text.cell_len <= room:
            gap = self.console.width - indent - text.cell_len - len(right)
            text.append(" " * gap).append(right, "dim")
            self.line(text, indent)
        else:
            for part in _parts(text, self.console.width - indent):
                self.line(part, indent)
            self.line(Text(right, "dim"), indent + 2)

    def line(self, text: Text, indent: int = 0) -> None:
        text.rstrip()
        self.console.print(Text(" " * indent).append_text(text), soft_wrap=True)

    def row(self, label: str, value: str, style: str = "") -> None:
        """A label and a text that wraps below itself."""
        width = max(20, self.console.width - _LABEL - 2)
        for number, part in enumerate(_parts(Text(value, style), width)):
            head = Text().append(f"  {label if number == 0 else '':<{_LABEL}}", "dim")
            self.line(head.append_text(part))

    def problem(self, finding: Finding, label: str) -> None:
        self.pair(f"{label}  {finding.title}", finding.check, "bold red", 1)
        self.row("Seen", finding.detail)
        if finding.subject is not None:
            self.row("Where", getattr(finding.subject, self.form))
        for number, repair in enumerate(finding.fixes):
            self.row("Fix" if number == 0 else "or", repair.summary)
            for line in command_lines(self.report, repair, self.form):
                self.command(line)

    def command(self, line: str) -> None:
        """What is typed: in one line, whatever its length."""
        self.line(Text(line, "cyan"), 4)

    def followers(self, findings: tuple[Finding, ...]) -> None:
        if findings:
            self.wrapped("Should clear with it: " + ", ".join(f.check for f in findings), "", 1)

    def machine(self) -> None:
        report = self.report
        self.row("Card", words.card_line(report))
        driver = words.driver_line(report) or "unknown"
        self.row("System", f"driver {driver}; RAM {words.memory_line(report)}")
        comfyui = words.comfyui_line(report)
        if comfyui:
            self.row("ComfyUI", comfyui)
        python = f"Python {words.python_version(report)}"
        self.row("PyTorch", f"{words.torch_line(report) or 'none'}, {python}")
        if report.files:
            self.row("Files", report.files)
        if report.plan:
            self.row("Way", report.plan)
        if known(report.facts.generation) is None:
            self.row("Picture", report.picture)

    def generation(self) -> None:
        """This run's pictures: what is proven, and where they are."""
        ran = known(self.report.facts.generation)
        if ran is None:
            return
        good = self.report.record is not None and self.report.record["verdict"] in _GOOD
        self.row("Picture", self.report.picture, "green" if good else "bold red")
        if ran.pictures:
            path = getattr(ran.pictures[0].path, self.form)
            self.row("Saved", path.replace("\\", "/").rpartition("/")[0] or path)
        for check in ran.explained:
            self.row("Cause", f"it speaks for {check}: klein-doctor explain {check}")

    def usage(self) -> None:
        """How to go on with what was proven."""
        for label, value in self.report.usage:
            self.row(label, getattr(value, self.form), "cyan")

    def remark(self, finding: Finding) -> None:
        label = "Remark" if finding.verdict is Verdict.WARN else "Crashed"
        self.pair(f"{label}  {finding.title}", finding.check, "yellow", 1)
        if finding.check in words.TIPS:
            return
        reason = f" ({finding.reason})" if finding.reason else ""
        self.row("", finding.detail + reason)
        for repair in finding.fixes[:1]:
            self.row("Fix", repair.summary)

    def unjudged(self, found: words.Groups) -> None:
        unknown = [f for f in found.unjudged if f.verdict is Verdict.UNKNOWN or words.told_why(f)]
        skipped = len(found.unjudged) - len(unknown)
        reasons: dict[str, list[str]] = {}
        for finding in unknown:
            reasons.setdefault(finding.reason or "unknown", []).append(finding.check)
        for reason, checks in reasons.items():
            self.wrapped(f"Not judged: {reason} ({', '.join(checks)})", "yellow", 1)
        if skipped:
            more = f"{skipped} more checks wait" if skipped > 1 else "One more check waits"
            self.wrapped(f"{more} until the above is mended", "", 1)

    def rest(self, found: words.Groups) -> None:
        fine = words.fine(self.report)
        tip = found.first is not None and found.first.check in words.TIPS
        if fine and found.first is not None and not tip:
            self.wrapped("Fine: " + ", ".join(fine), "green", 1)
        where = getattr(words.place(self.report), self.form)
        chosen = words.CHOSEN.get(self.report.target.python_from, self.report.target.python_from)
        # A healthy machine's report keeps to ten lines; that ComfyUI's own was judged goes first.
        if not (tip and self.report.target.python_from == "comfyui"):
            self.wrapped(f"Judged: the Python in {where} ({chosen})", "", 1)
        if self.report.target.assumed:
            assumed = f"Assumed, not measured: {self.report.target.assumed}"
            self.wrapped(assumed, "yellow", 1)
        others = words.other_installs(self.report, self.form)
        if others:
            search = known(self.report.facts.search)
            why = f"; this is {search.why}" if search is not None and search.why else ""
            self.wrapped(f"Also here: {others}{why}; --comfyui names another", "", 1)
        if self.report.recipe_age_days > _STALE_DAYS:
            self.wrapped(
                f"The doctor's tables are {self.report.recipe_age_days} days old; a newer "
                "klein-doctor may know more.",
                "yellow",
                1,
            )
        self.usage()
        self.line(Text("Next: ").append(_next(self.report), "bold"))

    def wrapped(self, value: str, style: str, indent: int) -> None:
        width = max(20, self.console.width - indent - 2)
        for number, part in enumerate(_parts(Text(value, style), width)):
            self.line(part, indent + (2 if number else 0))


def _parts(text: Text, width: int) -> Lines:
    """The lines of a text. A path stays whole, even a long one, so that it can be copied."""
    at: list[int] = []
    room = width
    for word in re.finditer(r"\S+\s*", text.plain):
        if cell_len(word[0].rstrip()) > room and room < width:
            at.append(word.start())
            room = width
        room -= cell_len(word[0])
    lines = text.divide(at)
    for line in lines:
        line.rstrip()
    return lines


def _next(report: Report) -> str:
    first = next((f for f in report.findings if f.id == report.first), None)
    start = "start ComfyUI" if report.route == "comfyui" else "run your script"
    if first is not None and first.check in words.TIPS and not report.exit_code:
        return f"{start}; about the remark, klein-doctor explain {first.check}"
    if first is not None:
        return f"klein-doctor explain {first.check}"
    if not words.any_judged(report):
        return "klein-doctor, which judges all checks"
    if report.exit_code:
        return "klein-doctor --format markdown, and attach it to an issue"
    untried = not (report.ready or report.usage or report.replayed or report.target.assumed)
    if untried:
        return "klein-doctor generate, which makes a picture and proves it"
    return f"{start}; to report a problem, klein-doctor --format markdown"


def _colours_wanted(terminal: bool) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("CLICOLOR") == "0":
        return False
    if os.environ.get("FORCE_COLOR") or os.environ.get("CLICOLOR_FORCE", "0") != "0":
        return True
    return terminal and os.environ.get("TERM", "") != "dumb"
