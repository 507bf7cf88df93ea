"""A run of repairs: diagnosis, plan, steps, and the proof of each by looking again."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from klein_doctor import __version__
from klein_doctor.console import Console
from klein_doctor.counterpart import RED, counterpart
from klein_doctor.diagnose import Request, diagnose
from klein_doctor.exits import Exit, leading
from klein_doctor.fixing import fixes
from klein_doctor.model import Facts, Finding, Report, Verdict, known
from klein_doctor.plan import against
from klein_doctor.prepared import Prepared
from klein_doctor.privacy import Redactor
from klein_doctor.state import make_folder, need_state_folder
from klein_doctor.steps import Result, Step, StepFailed
from klein_doctor.transaction.around import Around
from klein_doctor.transaction.child import Child
from klein_doctor.transaction.in_use import in_words, users
from klein_doctor.transaction.inverse import take_back
from klein_doctor.transaction.journal import Journal
from klein_doctor.transaction.lock import Busy, held, lock_of
from klein_doctor.transaction.runs import SCRATCH, new_run, recover
from klein_doctor.transaction.transaction import Transaction

# Steps of these kinds move what a running program has loaded.
_UNDER_FEET = ("packages", "update")


class Limits(NamedTuple):
    """What ends a run early: stop when it is set, until by the clock of time.monotonic()."""

    stop: threading.Event
    until: float | None = None

    def left_s(self) -> float | None:
        return None if self.until is None else self.until - time.monotonic()

    def late(self) -> bool:
        return self.until is not None and time.monotonic() > self.until


def recover_first(request: Request, console: Console) -> None:
    """Take back what killed runs left open; before anything is judged, as it would mislead.

    Raises:
        RollbackFailed: something could not be taken back. Busy: a program stands in the way.
        UsageError: no home for a journal.
    """
    done, problems = recover(_state(request))
    for line in done:
        console.note(line)
    if problems:
        raise RollbackFailed(problems)


def _state(request: Request) -> Path:
    return need_state_folder(request.state_dir, os.environ)


class RollbackFailed(Exception):
    """Something could not be taken back; lines say what state things are in."""

    def __init__(self, lines: Sequence[str]):
        super().__init__("; ".join(lines))
        self.lines = tuple(lines)


def _places(facts: Facts) -> tuple[str, ...]:
    comfyui = known(facts.comfyui)
    python = known(facts.interpreter)
    return (
        comfyui.root.real if comfyui is not None else "",
        python.prefix.real if python is not None else "",
    )


def tidy(prepared: Prepared) -> None:
    """Remove a lock that a killed run left; none is taken where there is nothing to do."""
    path = lock_of(_places(prepared.report.facts), _state(prepared.request))
    if path.exists():
        with contextlib.suppress(Busy), held(path):
            pass


def needs_reboot(findings: Sequence[Finding]) -> bool:
    """Whether what failed wants a restart of the machine first."""
    failed = (finding for finding in findings if finding.verdict is Verdict.FAIL)
    return any(repair.id == "reboot" for finding in failed for repair in finding.fixes)


# What else to do once a run got that far, None for nothing: somebody is asked.
More = Callable[[Report, Request], "tuple[Prepared, Sequence[Step]] | None"]


def carry_out(
    prepared: Prepared,
    steps: Sequence[Step],
    console: Console,
    limits: Limits | None = None,
    around: Around | None = None,
    more: More | None = None,
) -> Report:
    """Do the steps, prove each, and judge the machine anew.

    Raises:
        Busy: another doctor is at work on this target. UsageError, OSError.
    """
    state = _state(prepared.request)
    lock = lock_of(_places(prepared.report.facts), state)
    with held(lock):
        journal = new_run(state)
        run = _Run(prepared, journal, lock, console, limits or Limits(threading.Event()), around)
        report = run.all(steps)
        while more is not None and report.exit_code is Exit.PROBLEMS:
            told = more(report, run.request)
            if told is None:
                break
            report = run.on(*told)
        return report


class _Run:
    """The steps of one run under way, with the machine as it was last seen."""

    def __init__(
        self,
        prepared: Prepared,
        journal: Journal,
        lock: Path,
        console: Console,
        limits: Limits,
        around: Around | None,
    ):
        self.first = prepared.report
        self.before = prepared.report  # what the steps under way were planned from
        self.seen = prepared.report
        self.request = prepared.request
        self.console = console
        self.limits = limits
        self.around = around or Around()
        self.journal = journal
        self.lock = lock
        self.planned: list[Step] = []
        self.results: list[Result] = []
        self.moved = False  # the model runs in another environment than when the steps were planned
        self.redactor = Redactor.of_this_machine(os.environ)

    def on(self, prepared: Prepared, steps: Sequence[Step]) -> Report:
        """Go on with steps that were planned from what is there by now."""
        self.before = self.seen = prepared.report
        self.request, self.moved = prepared.request, False
        return self.all(steps)

    def all(self, steps: Sequence[Step]) -> Report:
        todo = [step for step in steps if step.grade != "manual"]
        by_hand = [step for step in steps if step.grade == "manual" and step not in self.planned]
        self.planned += [step for step in steps if step in todo or step in by_hand]
        self.results += [Result(step, "manual", "for you to do") for step in by_hand]
        scratch = self.journal.folder / SCRATCH
        try:
            for number, step in enumerate(todo, 1):
                self.console.began(step, number, len(todo))
                result = self._step(step, scratch)
                result = result._replace(says=self.redactor.text(result.says).local)
                self.results.append(result)
                self.console.ended(result)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return self._report()

    def _step(self, step: Step, scratch: Path) -> Result:
        reason, again = self._obstacle(step)
        if reason:
            return Result(step, "skipped", reason, again=again)
        began = time.monotonic()
        if not self.journal.records:
            self.journal.add(
                "run", created=self.first.created, version=__version__, lock=str(self.lock),
                target=self.first.target.python.real, comfyui=self.first.target.comfyui.real,
            )  # fmt: skip
        make_folder(scratch)
        number = len(self.journal.steps())
        self.journal.add("begin", step=number, fix=step.fix, title=step.title)
        child = Child(
            self.journal.folder / "log.txt", os.environ, self.limits.stop, self.limits.left_s
        )
        transaction = Transaction(
            self.journal, number, scratch, child, self.console.note, self.around
        )
        try:
            said = fixes()[step.fix].act(step, transaction)
            red = self._look_again(step) if step.python is None else self._look_there(step)
            if red:
                raise StepFailed(f"it was done, but {red}")
        except BaseException as error:
            return self._back(step, number, error, time.monotonic() - began)
        self.journal.add("seal", step=number)
        said += self._to_be_named(step)
        return Result(step, "done", said, time.monotonic() - began)

    def _obstacle(self, step: Step) -> tuple[str, bool]:
        """Why a step's turn passes, "" where it does not; and whether to try again later."""
        if self.limits.stop.is_set():
            return "interrupted before it began", True
        if self.limits.late():
            return "the deadline passed before it began", True
        if step.clears and self.seen is not self.before and not self._wanted(step):
            return "what it would mend is mended by now", False
        if self.moved and self._left_behind(step):
            return (
                "the model runs in another environment by now: run this again for that one",
                False,
            )
        bad = against(fixes()[step.fix], self.seen.findings)
        if bad is not None:
            return f"{bad.check} fails ({bad.title}), and this would keep what is wrong", False
        beside = fixes()[step.fix].beside or step.python is not None
        if step.kind in _UNDER_FEET and not beside:
            prefix = _places(self.seen.facts)[1]
            busy = users(prefix) if prefix else ()
            if busy:
                return f"in use by {in_words(busy)}: close it, then run this again", True
        return "", False

    def _wanted(self, step: Step) -> bool:
        # What makes an environment stands for another fix, which the findings name.
        return self._asked_for(step) or (step.python is not None and bool(self._still(step)))

    def _left_behind(self, step: Step) -> bool:
        """Whether a step is about the environment in which the model does not run any more."""
        root, prefix = (Path(each) for each in _places(self.before.facts))
        inner = root.is_relative_to(prefix)
        return any(
            Path(path.real).is_relative_to(prefix)
            and not (inner and Path(path.real).is_relative_to(root))
            for path in step.paths
        )

    def _asked_for(self, step: Step) -> bool:
        """Whether a finding that is red now names this fix, if not the one it was planned for."""
        warned = {f.check for f in self.before.findings if f.id in step.clears}
        return any(
            repair.id == step.fix
            for f in self.seen.findings
            if f.verdict is Verdict.FAIL or (f.verdict is Verdict.WARN and f.check in warned)
            for repair in f.fixes
        )

    def _still(self, step: Step) -> list[Finding]:
        """The findings a step is there for, of those that are red now."""
        wanted = [f for f in self.before.findings if f.id in step.clears]
        return [
            f for was in wanted if (f := counterpart(was, step.fix, self.seen.findings)) is not None
        ]

    def _look_again(self, step: Step) -> str:
        """What speaks against a step that was done, "" for nothing."""
        # Hashing everything anew after every step would take minutes and tell nothing new.
        self.request = dataclasses.replace(self.request, deep=False)
        self.seen = diagnose(self.request)
        proof = fixes()[step.fix].proof
        if proof is not None:
            return proof(step, self.seen.facts)
        red = self._still(step)
        return f"{red[0].check} still says: {red[0].title}" if red else ""

    def _look_there(self, step: Step) -> str:
        """As _look_again, of the environment that the step made: with no new failure, either."""
        self.request = dataclasses.replace(self.request, deep=False)
        request, seen = self.request, diagnose(self.request)
        if not _runs_in(seen, step):
            named = request.wish._replace(
                python=step.python.real if step.python else "", comfyui=seen.target.comfyui.real
            )
            request = dataclasses.replace(request, wish=named)
            seen = diagnose(request)
        # What it was about, the environment, is another one: the check alone tells.
        asked = {f.check for f in self.before.findings if f.id in step.clears}
        failed = {f.check for f in self.before.findings if f.verdict is Verdict.FAIL}
        for f in seen.findings:
            red = (*RED, Verdict.WARN) if f.check not in failed else RED
            if f.check in asked and f.verdict in red:
                return f"there {f.check} still says: {f.title}"
            if f.verdict is Verdict.FAIL and f.check not in failed:
                return f"there {f.check} says: {f.title}"
        self.seen, self.request, self.moved = seen, request, True
        return ""

    def _to_be_named(self, step: Step) -> str:
        """What to add where the doctor would not find the new environment by itself."""
        if step.python is None or self.request.wish.python != step.python.real:
            return ""
        return (
            f"; for the doctor, name it while the other one is in use: --python {step.python.real}"
        )

    def _back(self, step: Step, number: int, error: BaseException, took: float) -> Result:
        """Take a step back, whatever ended it."""
        said, again = _said(error)
        record = self.journal.steps()[number]
        problems = take_back(self.journal, record)
        with contextlib.suppress(Exception):
            self.seen = diagnose(self.request)
        if problems:
            text = f"{said}; and it could not be taken back: {'; '.join(problems)}"
            return Result(step, "rollback failed", text, took)
        return Result(step, "rolled back", said, took, again)

    def _changed(self) -> bool:
        """Whether a step that stays did anything: some find that all is as it should be."""
        return any(step.state == "sealed" and step.records for step in self.journal.steps())

    def _report(self) -> Report:
        after = self.seen  # as it was judged after the last step
        again = any(result.again for result in self.results)
        reboot = needs_reboot(after.findings)
        stopped = self.limits.stop.is_set()
        return after._replace(
            before=self.first.findings,
            steps_planned=tuple(self.planned),
            steps=tuple(self.results),
            run=self.journal.run if self._changed() else "",
            changed=self._changed(),
            reboot_needed=reboot,
            retry=again,
            exit_code=_exit(self.results, after, reboot=reboot, stopped=stopped),
        )


def _runs_in(report: Report, step: Step) -> bool:
    """Whether the interpreter of a report is the one that a step made."""
    python = known(report.facts.interpreter)
    return (
        python is not None
        and step.python is not None
        and (os.path.dirname(python.path.real) == os.path.dirname(step.python.real))
    )


def _said(error: BaseException) -> tuple[str, bool]:
    if isinstance(error, StepFailed):
        return error.says, error.again
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", True
    if isinstance(error, OSError):
        return f"{error.filename or 'the disk'}: {error.strerror or error}", False
    from klein_doctor.boxed import place_of

    return (
        f"a fault of the doctor itself: {type(error).__name__} at "
        f"{place_of(error) if isinstance(error, Exception) else '?'}; please report it",
        False,
    )


def _exit(results: Sequence[Result], after: Report, *, reboot: bool, stopped: bool) -> Exit:
    codes = [after.exit_code]
    for result in results:
        if result.state == "rollback failed":
            codes.append(Exit.ROLLBACK_FAILED)
        elif result.again:
            codes.append(Exit.TRY_AGAIN)
        elif result.state == "rolled back":
            codes.append(Exit.FIX_ROLLED_BACK)
    codes += [Exit.INTERRUPTED] if stopped else []
    codes += [Exit.REBOOT] if reboot else []
    return leading(*codes)
