"""``klein-doctor generate``: pictures that prove the whole, with a report of it."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from klein_doctor.console import Lines
from klein_doctor.diagnose import Request, diagnose, request_of
from klein_doctor.duration import seconds
from klein_doctor.exits import Exit, UsageError
from klein_doctor.fix_command import log_of
from klein_doctor.generate.run import with_pictures
from klein_doctor.generate.wish import wish_of
from klein_doctor.history import keep
from klein_doctor.interrupts import ends_politely
from klein_doctor.model import Report, known
from klein_doctor.options import form_of
from klein_doctor.output import Output
from klein_doctor.pipes import reader_may_leave
from klein_doctor.repair import Limits


def generate(options: argparse.Namespace, output: Output, note: Callable[[str], None]) -> Exit:
    """Look, prove, generate, judge, report; returns the exit code.

    Raises:
        UsageError: in one line.
    """
    if options.assume:
        raise UsageError("--assume judges a card that is not here; generate needs one that is")
    console = Lines(options.progress, log_of(options.log))
    wish_of(options)  # what is none is told before anything is read
    request = request_of(options)
    report = pictured(diagnose(request), request, options, console)
    output.write(report, options.format, options.color, form_of(options))
    keep(report, options)
    preview(report, options)
    return report.exit_code


def pictured(
    report: Report,
    request: Request,
    options: argparse.Namespace,
    console: Lines,
    since: float | None = None,
) -> Report:
    """The report with a test generation as the command line wants it.

    since: the moment of time.monotonic() from which --deadline counts, None: from now.

    Raises:
        UsageError: in one line.
    """
    wish, deadline = wish_of(options), seconds(options.deadline)
    stop = threading.Event()
    begun = time.monotonic() if since is None else since
    limits = Limits(stop, begun + deadline if deadline else None)
    with ends_politely(stop):
        return with_pictures(report, request, wish, limits, console)


def preview(report: Report, options: argparse.Namespace) -> None:
    """Show the first picture below a text report on a terminal."""
    stream, ran = sys.stdout, known(report.facts.generation)
    if options.format != "text" or options.output or ran is None or not ran.pictures:
        return
    if stream is None or not stream.isatty():
        return
    from klein_doctor.report.preview import preview as show

    with reader_may_leave():
        columns = shutil.get_terminal_size().columns
        show(Path(ran.pictures[0].path.real), stream, os.environ, columns)
