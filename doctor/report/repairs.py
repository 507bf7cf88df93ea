"""The part of the text report that tells what would be done, or what was."""

from __future__ import annotations

from typing import Protocol

from klein_doctor.model import Report
from klein_doctor.outcomes import gb
from klein_doctor.report.commands import argv_lines
from klein_doctor.steps import Result, Step

_STATES = {
    "done": ("Done", "green"),
    "rolled back": ("Back", "yellow"),
    "rollback failed": ("Failed", "bold red"),
    "skipped": ("Skipped", "yellow"),
    "manual": ("By hand", ""),
}


class Page(Protocol):
    """What the text report's page offers."""

    form: str

    def row(self, label: str, value: str, style: str = "") -> None: ...

    def wrapped(self, value: str, style: str, indent: int) -> None: ...

    def command(self, line: str) -> None: ...


def write(page: Page, report: Report) -> None:
    """The steps as they ended; of a plan that was not carried out, the steps themselves."""
    if report.steps:
        for result in report.steps:
            _ended(page, report, result)
        if report.run:
            page.wrapped(f"To take it back: klein-doctor undo {report.run}", "", 1)
        return
    if report.steps_planned:
        page.wrapped("The plan (nothing of it was done):", "bold", 1)
    for number, step in enumerate(report.steps_planned, 1):
        _planned(page, report, number, step)


def size(step: Step) -> str:
    """What a step fetches, in words; "" for nothing."""
    if step.bytes is None:
        return "size told while it runs"
    return gb(step.bytes) if step.bytes else ""


def _planned(page: Page, report: Report, number: int, step: Step) -> None:
    facts = ", ".join(part for part in (step.fix, step.kind, step.grade, size(step)) if part)
    page.row(f"{number}.", f"{step.title} ({facts})")
    if step.grade == "manual":
        for line in argv_lines(report, step.commands, page.form):
            page.command(line)
        return
    for path in step.paths:
        page.row("writes", getattr(path, page.form))
    if step.touches:
        page.row("touches", ", ".join(step.touches))
    if step.undo:
        page.row("undo", step.undo)


def _ended(page: Page, report: Report, result: Result) -> None:
    label, style = _STATES[result.state]
    says = {"manual": result.step.title, "done": result.says}
    page.row(label, says.get(result.state, f"{result.step.title}: {result.says}"), style)
    if result.state == "manual":
        for line in argv_lines(report, result.step.commands, page.form):
            page.command(line)
