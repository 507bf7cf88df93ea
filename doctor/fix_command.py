"""``klein-doctor --fix``: what clears the failures, unattended, proven."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from klein_doctor.console import Lines
from klein_doctor.diagnose import Request, request_of
from klein_doctor.exits import Exit, UsageError
from klein_doctor.model import Report
from klein_doctor.output import Output
from klein_doctor.plan import Wishes
from klein_doctor.repair import (
    Limits,
    Prepared,
    RollbackFailed,
    carry_out,
    prepare,
    recover_first,
    tidy,
)
from klein_doctor.rows import parse
from klein_doctor.transaction.around import Around
from klein_doctor.transaction.lock import Busy
from klein_doctor.values import printable

_LONGEST_ANSWERS = 1 << 16


def fix(options: argparse.Namespace, output: Output, note: Callable[[str], None]) -> Exit:
    """Plan, do, prove, report; with --dry-run, plan and report. Returns the exit code.

    Raises:
        UsageError: in one line.
    """
    console = Lines(options.progress, _log(options.log))
    wishes = wishes_of(options)
    around_of(options, threading.Event())  # a deadline that is none is told before anything is read
    request = request_of(options)
    broken = () if options.dry_run else _recovered(request, console)
    prepared = prepare(request, wishes)
    report = prepared.report
    if broken:
        report = report._replace(exit_code=Exit.ROLLBACK_FAILED)
    elif not options.dry_run:
        report = _done(prepared, options, console)
    output.write(report, options.format, options.color, _form(options))
    return report.exit_code


def wishes_of(options: argparse.Namespace) -> Wishes:
    """What the command line allows."""
    return Wishes(
        options.only, options.without, options.deny, options.safe, answers(options.answers)
    )


def answers(name: str) -> dict[str, str]:
    """The answers of a TOML file, flat; {} for "".

    Raises:
        UsageError: it cannot be read or is not such a file.
    """
    if not name:
        return {}
    try:
        with open(name, "rb") as stream:
            data = parse(stream.read(_LONGEST_ANSWERS).decode("utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--answers {printable(name, 200)}: {reason}") from error
    found = {}
    for key, value in data.items():
        if isinstance(value, list):
            value = ",".join(map(str, value))
        if isinstance(value, dict):
            raise UsageError(f"--answers {printable(name, 200)}: {key} is a table, not an answer")
        found[key] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


def around_of(options: argparse.Namespace, stop: threading.Event) -> Around:
    """What steps need of the command line."""
    from klein_doctor.download.command import seconds

    return Around(
        state_dir=options.state_dir, recipe=options.recipe, offline=options.offline,
        assets_from=options.assets_from, use_hf_token=options.use_hf_token, xet=options.xet,
        deadline_s=seconds(options.deadline) or None, progress=options.progress, stop=stop,
    )  # fmt: skip


def _recovered(request: Request, console: Lines) -> tuple[str, ...]:
    """Take back what killed runs left open; answers with what could not be."""
    try:
        recover_first(request, console)
    except RollbackFailed as error:
        for line in error.lines:
            console.note(f"could not be taken back: {line}")
        return error.lines
    except OSError as error:
        raise UsageError(f"{error.filename or 'the disk'}: {error.strerror or error}") from error
    return ()


def _done(prepared: Prepared, options: argparse.Namespace, console: Lines) -> Report:
    report = prepared.report
    if not any(step.grade != "manual" for step in prepared.plan.steps):
        tidy(prepared)
        console.note("nothing to do" if not prepared.plan.steps else "nothing the doctor can do")
        return report
    stop = threading.Event()
    around = around_of(options, stop)
    until = None if around.deadline_s is None else time.monotonic() + around.deadline_s
    try:
        with signals(stop):
            return carry_out(prepared, prepared.plan.steps, console, Limits(stop, until), around)
    except Busy as error:
        console.note(str(error))
        return report._replace(exit_code=Exit.TRY_AGAIN, retry=True)
    except OSError as error:
        raise UsageError(f"{error.filename or 'the disk'}: {error.strerror or error}") from error


@contextlib.contextmanager
def signals(stop: threading.Event) -> Iterator[None]:
    """A polite request to end takes the step under way back; a second one ends it at once."""

    def ask(*_: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is None or signal.getsignal(number) == signal.SIG_IGN:
            continue  # nohup and the like wish it ignored
        if threading.current_thread() is threading.main_thread():
            before[number] = signal.signal(number, ask)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _log(name: str) -> Path | None:
    if not name:
        return None
    path = Path(os.path.abspath(name))
    try:
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise UsageError(f"--log {printable(name, 200)}: {error.strerror or error}") from error
    return path


def _form(options: argparse.Namespace) -> str:
    from klein_doctor.cli import form_of

    return form_of(options)
