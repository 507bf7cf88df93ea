"""``klein-doctor setup``: choose, review the plan, do it, see what changed."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from klein_doctor import answers as a
from klein_doctor.chosen import Row, chosen_by, table
from klein_doctor.console import Lines
from klein_doctor.diagnose import Request, recipe_of, request_of
from klein_doctor.exits import Exit, UsageError
from klein_doctor.fix_command import log_of, mended, recovered, wishes_of
from klein_doctor.history import keep
from klein_doctor.model import Report, known
from klein_doctor.options import form_of
from klein_doctor.output import Output
from klein_doctor.plan import Wishes
from klein_doctor.prepared import Prepared, prepare
from klein_doctor.started import tell as told
from klein_doctor.steps import Step
from klein_doctor.symptoms import NOTHING, checks_of, explaining, led
from klein_doctor.wizard import questions as q
from klein_doctor.wizard.ask import Asker, Left, asker, columns, tell
from klein_doctor.wizard.known import of_log
from klein_doctor.wizard.shown import plan_lines

_PRIVATE = "make-venv"  # the fix that makes an environment of its own


def setup(options: argparse.Namespace, output: Output, note: Callable[[str], None]) -> Exit:
    """Ask, do what was ticked, prove it, report; returns the exit code.

    Raises:
        UsageError: nobody can be asked, or an answer given beforehand is none.
    """
    if options.source:
        raise UsageError("setup acts on this machine; --from judges a report of another one")
    asking = asker(options.color)
    session = _Session(options, asking, Lines(options.progress, log_of(options.log)))
    try:
        return session.run(output)
    except (Left, KeyboardInterrupt):
        note("you left; nothing was changed")
        return Exit.INTERRUPTED


class _Session:
    """One run of the wizard: what was said so far, and the plan that follows from it."""

    def __init__(self, options: argparse.Namespace, asking: Asker, console: Lines):
        self.options = options
        self.asking = asking
        self.console = console
        self.wishes: Wishes = wishes_of(options)
        self.answers = dict(self.wishes.answers)
        self.request = request_of(options)
        self.recipe = recipe_of(self.request)
        self.checks: tuple[str, ...] = ()  # those that can explain what happened
        self.offered: set[str] = set()  # fixes that were in a table already

    def run(self, output: Output) -> Exit:
        blocked = recovered(self.request, self.console)
        if blocked is not Exit.OK:
            return blocked
        prepared = self._place(self._looked())
        self._happened(prepared)
        prepared = self._way(self._where(prepared))
        steps = self._download(prepared, self._steps(prepared))
        report = self._pictured(self._do(prepared, steps))
        if not self.options.dry_run:
            keep(report, self.options)
        report = led(report, self.checks)
        output.write(report, self.options.format, self.options.color, form_of(self.options))
        told(report)
        return report.exit_code

    def _looked(self) -> Prepared:
        self.console.note("looking at this machine; nothing is changed")
        return prepare(self.request, self.wishes)

    # --- questions, in their order -----------------------------------------------------------

    def _place(self, prepared: Prepared) -> Prepared:
        """Which ComfyUI; a folder that the search does not know is taken as --comfyui takes it."""
        if self.request.wish.comfyui:
            self._taken("ComfyUI", self.request.wish.comfyui, "--comfyui")
            return prepared
        folder = self.answers.get(a.INSTALL, "")
        if folder:
            self._taken(a.INSTALL, folder, "--answers")
        else:
            search = known(prepared.report.facts.search)
            question = q.install_question(search) if search is not None else None
            if question is None or search is None:
                return prepared
            folder = self.asking.one(question)
            judged = search.judged()
            if judged is not None and judged.root.real == folder:
                return prepared
        self._wish(comfyui=folder)
        return self._looked()

    def _happened(self, prepared: Prepared) -> None:
        """What went wrong: what is known of it is told, and leads the summary."""
        symptom = self._ask(q.symptom_question())
        if symptom == NOTHING:
            return
        from klein_doctor.recipe_messages import load_known

        checks = checks_of(symptom, load_known().symptoms)
        lines = of_log(self.request)
        for check, line in lines:
            tell(f"{check}: {line}" if check else line, "  " if check else "")
        logged = tuple(check for check, _ in lines if check)
        self.checks = tuple(dict.fromkeys((*logged, *checks)))
        found = explaining(prepared.report.findings, self.checks)
        if found:
            tell("Found here, and it can cause this:")
        elif checks:
            tell("Nothing that was checked here causes this.")
        for finding in found[:5]:
            tell(f"{finding.check} ({finding.verdict.value}): {finding.title}", "  ")

    def _where(self, prepared: Prepared) -> Prepared:
        """Change this install, or leave it alone, where a change has consequences."""
        from klein_doctor.fixing import fixes

        question = q.environment_question(
            prepared.plan, prepared.optional, private=_PRIVATE in fixes()
        )
        if question is None or (self.wishes.only and q.TORCH not in self.wishes.only):
            return prepared
        told = a.ENVIRONMENT in self.answers
        answer = self._ask(question)
        self.answers[a.ENVIRONMENT] = answer
        self.wishes = self.wishes._replace(answers=dict(self.answers))
        return prepared if told else self._looked()

    def _way(self, prepared: Prepared) -> Prepared:
        """ComfyUI or diffusers, where both would do."""
        if self.options.route != "auto":
            self._taken(a.ROUTE, self.options.route, "--route")
            return prepared
        question = q.route_question(prepared.report.facts, self.recipe)
        if question is None:
            return prepared
        route = self._ask(question)
        if route == prepared.report.route:
            return prepared
        self._wish(route=route)
        return self._looked()

    def _steps(self, prepared: Prepared) -> tuple[Step, ...]:
        """The table, and what of it is to be done."""
        rows = table(prepared.plan, prepared.optional)
        self.offered |= {row.step.fix for row in rows}
        if rows:
            tell("")
            tell("The plan; nothing of it is done yet:")
            for line in plan_lines(rows, columns() - 1):
                tell_line(line)
        for name, reason in prepared.plan.left:
            tell(f"left out: {name}: {reason}", "  ")
        ours = {str(n): row for n, row in enumerate(rows, 1) if row.tick is not None}
        if not ours:
            tell("There is nothing here that the doctor can do." if rows else "Nothing to do.")
            return ()
        if self.wishes.only:
            self._taken(a.STEPS, ", ".join(self.wishes.only), "--only")
            return prepared.plan.steps
        if a.STEPS in self.answers:
            self._taken(a.STEPS, self.answers[a.STEPS], "--answers")
            return chosen_by(self.answers[a.STEPS], rows)
        choices = tuple(q.Choice(n, f"{n:>2}. {row.step.title}") for n, row in ours.items())
        question = q.Question(a.STEPS, "What is to be done? The ticked steps.", choices, "")
        chosen = self.asking.many(question, [n for n, row in ours.items() if row.tick])
        steps = tuple(row.step for n, row in ours.items() if n in chosen)
        torch = known(prepared.report.facts.torch)
        return self._torch(rows, steps) if torch is not None and torch.present else steps

    def _torch(self, rows: Sequence[Row], steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """The steps without PyTorch's where it is not to be replaced."""
        question = q.torch_question(rows, steps)
        if question is None or self._ask(question) == "here":
            return steps
        return tuple(step for step in steps if step.fix != q.TORCH)

    def _download(self, prepared: Prepared, steps: Sequence[Step]) -> tuple[Step, ...]:
        """Fetch or not: the steps without downloads where not; --only has said so."""
        if self.wishes.only:
            return tuple(steps)
        question = q.download_question(steps, prepared.report.facts, prepared.report.files)
        if question is None or self._ask(question) == "true":
            return tuple(steps)
        return tuple(step for step in steps if step.kind != "download")

    # --- what is done with the answers -------------------------------------------------------

    def _do(self, prepared: Prepared, steps: Sequence[Step]) -> Report:
        report = prepared.report._replace(steps_planned=tuple(steps))
        if self.options.dry_run or not any(step.grade != "manual" for step in steps):
            self.console.note("nothing was changed")
            return report
        try:
            return mended(prepared, steps, self.options, self.console, self._more)
        except KeyboardInterrupt:  # a second one; what was under way was taken back
            self.console.note("interrupted; klein-doctor takes back what is open when it runs next")
            return report._replace(exit_code=Exit.INTERRUPTED)

    def _more(self, report: Report, request: Request) -> tuple[Prepared, tuple[Step, ...]] | None:
        """What shows only now, as the files for a ComfyUI just installed: asked for as the first.

        None where there is nothing new, or the user leaves; what was done stays.
        """
        if self.answers.get(a.STEPS, "fails") not in ("fails", "all"):
            return None
        prepared = prepare(request, self.wishes)
        plan, optional = (
            each._replace(steps=tuple(step for step in each.steps if step.fix not in self.offered))
            for each in (prepared.plan, prepared.optional)
        )
        if all(step.grade == "manual" for step in plan.steps):
            return None
        prepared = prepared._replace(plan=plan, optional=optional)
        tell("")
        tell("With that done, there is more to see.")
        try:
            return prepared, self._download(prepared, self._steps(prepared))
        except (Left, KeyboardInterrupt):
            return None

    def _pictured(self, report: Report) -> Report:
        """With a test generation where one is wanted; who leaves here keeps what was done."""
        from klein_doctor.wizard.generate import after_repair

        try:
            return after_repair(report, self.request, self.options, self.console, self._ask)
        except Left:
            return report

    def _ask(self, question: q.Question) -> str:
        """The answer that was given beforehand, said in a line, else the user's."""
        answer = q.given(question, self.answers)
        if answer is None:
            return self.asking.one(question)
        self._taken(question.key, answer, a.source_of(question.key, self.options))
        return answer

    def _taken(self, name: str, value: str, source: str) -> None:
        self.console.note(f"{name}: {value} (from {source})")

    def _wish(self, **changed: Any) -> None:
        wish = self.request.wish._replace(**changed)
        self.request = dataclasses.replace(self.request, wish=wish)


def tell_line(line: str) -> None:
    """A line that is laid out already."""
    from klein_doctor.pipes import say

    say(line)
