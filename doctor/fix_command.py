"""``klein-doctor --fix``: what clears the failures, unattended, proven."""

from __future__ import annotations

import argparse
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from klein_doctor import answers as a
from klein_doctor.chosen import chosen_by, table
from klein_doctor.console import Lines
from klein_doctor.diagnose import Request, request_of
from klein_doctor.duration import seconds
from klein_doctor.exits import Exit, UsageError
from klein_doctor.history import keep
from klein_doctor.interrupts import ends_politely
from klein_doctor.model import Report
from klein_doctor.options import form_of
from klein_doctor.output import Output
from klein_doctor.plan import Wishes
from klein_doctor.prepared import Prepared, prepare
from klein_doctor.repair import (
    Limits,
    More,
    RollbackFailed,
    carry_out,
    needs_reboot,
    recover_first,
    tidy,
)
from klein_doctor.started import tell
from klein_doctor.state import state_folder
from klein_doctor.steps import Step
from klein_doctor.symptoms import NOTHING, explained
from klein_doctor.transaction.around import Around
from klein_doctor.transaction.lock import Busy
from klein_doctor.values import printable

# After these a picture would prove nothing, or nobody waits for it.
_NOTHING_AFTER = (Exit.ROLLBACK_FAILED, Exit.REBOOT, Exit.INTERRUPTED, Exit.TRY_AGAIN)


def fix(options: argparse.Namespace, output: Output, note: Callable[[str], None]) -> Exit:
    """Plan, do, prove, report; with --dry-run, plan and report. Returns the exit code.

    Raises:
        UsageError: in one line.
    """
    begun = time.monotonic()
    console = Lines(options.progress, log_of(options.log))
    wishes = wishes_of(options)
    seconds(options.deadline)  # one that is none is told before anything is read
    if options.generate:
        from klein_doctor.generate.wish import wish_of

        wish_of(options)
    request = _answered(request_of(options), wishes)
    blocked = Exit.OK if options.dry_run else recovered(request, console)
    prepared = _chosen(prepare(request, wishes), wishes)
    report = prepared.report
    if blocked is not Exit.OK:
        report = report._replace(exit_code=blocked, retry=blocked is Exit.TRY_AGAIN)
    elif not options.dry_run:
        report = _done(prepared, options, console)
        if options.generate and report.exit_code not in _NOTHING_AFTER:
            from klein_doctor.generate.command import pictured

            report = pictured(report, request, options, console, begun)
    if not options.dry_run:
        keep(report, options)
    report = explained(report, wishes.answers.get(a.SYMPTOM, NOTHING))
    _written(report, options, output, note)
    tell(report)
    if options.generate:
        from klein_doctor.generate.command import preview

        preview(report, options)
    return report.exit_code


def _written(
    report: Report, options: argparse.Namespace, output: Output, note: Callable[[str], None]
) -> None:
    """The report; what was done is told on standard output where its file takes no more."""
    try:
        output.write(report, options.format, options.color, form_of(options))
    except UsageError as error:
        if output.path is None:
            raise
        note(f"{error}; the report goes to standard output")
        Output("").write(report, options.format, options.color, form_of(options))


def wishes_of(options: argparse.Namespace) -> Wishes:
    """What the command line allows, and answers beforehand."""
    answers = a.answers_of(options)
    return Wishes(options.only, options.without, options.deny, options.safe, answers)


def _answered(request: Request, wishes: Wishes) -> Request:
    """Of the ComfyUI and by the route that the answers name, where no option does."""
    wish, answers = request.wish, wishes.answers
    comfyui = wish.comfyui or answers.get(a.INSTALL, "")
    route = answers.get(a.ROUTE, "auto") if wish.route == "auto" else wish.route
    return dataclasses.replace(request, wish=wish._replace(comfyui=comfyui, route=route))


def _chosen(prepared: Prepared, wishes: Wishes) -> Prepared:
    """With the steps that the answers name, where --only does not."""
    steps = prepared.plan.steps
    if a.STEPS in wishes.answers and not wishes.only:
        ours = chosen_by(wishes.answers[a.STEPS], table(prepared.plan, prepared.optional))
        steps = (*(step for step in steps if step.grade == "manual"), *ours)
    if wishes.answers.get(a.DOWNLOAD) == a.NO:
        steps = tuple(step for step in steps if step.kind != "download")
    return prepared._replace(
        plan=prepared.plan._replace(steps=steps),
        report=prepared.report._replace(steps_planned=steps),
    )


def recovered(request: Request, console: Lines) -> Exit:
    """Take back what killed runs left open; where that is not to be had, it is said, with the code.

    Raises:
        UsageError: in one line.
    """
    try:
        recover_first(request, console)
    except RollbackFailed as error:
        for line in error.lines:
            console.note(f"could not be taken back: {line}")
        return Exit.ROLLBACK_FAILED
    except Busy as error:
        console.note(str(error))
        return Exit.TRY_AGAIN
    except OSError as error:
        raise UsageError(_of_the_disk(error, request.state_dir)) from error
    return Exit.OK


def _done(prepared: Prepared, options: argparse.Namespace, console: Lines) -> Report:
    steps = prepared.plan.steps
    if any(step.grade != "manual" for step in steps):
        return mended(prepared, steps, options, console)
    tidy(prepared)
    by_hand = "nothing that the doctor can do itself; the report says what to do by hand"
    console.note(by_hand if steps else "nothing to do")
    if needs_reboot(prepared.report.findings):
        return prepared.report._replace(reboot_needed=True, exit_code=Exit.REBOOT)
    return prepared.report


def mended(
    prepared: Prepared,
    steps: Sequence[Step],
    options: argparse.Namespace,
    console: Lines,
    more: More | None = None,
) -> Report:
    """Do these steps as the command line says, and judge again.

    Raises:
        UsageError: in one line.
    """
    stop = threading.Event()
    deadline = seconds(options.deadline)
    limits = Limits(stop, time.monotonic() + deadline if deadline else None)
    around = Around(
        state_dir=options.state_dir, recipe=options.recipe, offline=options.offline,
        assets_from=options.assets_from, use_hf_token=options.use_hf_token, xet=options.xet,
        progress=options.progress, stop=stop,
    )  # fmt: skip
    try:
        with ends_politely(stop):
            return carry_out(prepared, steps, console, limits, around, more)
    except Busy as error:
        console.note(str(error))
        return prepared.report._replace(
            steps_planned=tuple(steps), exit_code=Exit.TRY_AGAIN, retry=True
        )
    except OSError as error:
        console.note(_of_the_disk(error, options.state_dir))
        return prepared.report._replace(steps_planned=tuple(steps))


def _of_the_disk(error: OSError, state_dir: str) -> str:
    where = error.filename or state_folder(state_dir, os.environ) or "the disk"
    text = f"{where}: {error.strerror or error}"
    state = state_folder(state_dir, os.environ)
    place = Path(str(where))
    if state is not None and (state.is_relative_to(place) or place.is_relative_to(state)):
        text += "; --state-dir DIR names another place for the journal and the originals"
    return text


def log_of(name: str) -> Path | None:
    """The file of --log, made if it is not there; None for "".

    Raises:
        UsageError: it cannot be written.
    """
    if not name:
        return None
    path = Path(os.path.abspath(name))
    try:
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise UsageError(f"--log {printable(name, 200)}: {error.strerror or error}") from error
    return path
