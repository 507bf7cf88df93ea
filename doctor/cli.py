"""The entry point: parse, run, write, exit. Heavy imports are made where they are used."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from klein_doctor.exits import Exit, UsageError
from klein_doctor.options import form_of, parse, with_variable
from klein_doctor.pipes import reader_may_leave, say

if TYPE_CHECKING:
    from klein_doctor.model import Report
    from klein_doctor.output import Output

    Command = Callable[[argparse.Namespace, Output, Callable[[str], None]], Exit]


def main(argv: list[str] | None = None) -> int:
    """Run klein-doctor; returns the exit code. No exception leaves it."""
    try:
        return int(_run(sys.argv[1:] if argv is None else argv))
    except UsageError as error:
        return _complain(str(error), Exit.USAGE)
    except KeyboardInterrupt:
        return _complain("interrupted", Exit.INTERRUPTED)
    except Exception as error:
        return _fault(error)


# What a command is, by its module and function of (options, output, note).
_COMMANDS = {
    "identify": "identity.command:identify",
    "triage": "triage.command:triage",
    "download": "download.command:download",
    "generate": "generate.command:generate",
    "ready": "generate.ready:ready",
    "rehearse": "rehearse.command:rehearse",
    "history": "history:history",
    "setup": "wizard.setup:setup",
    "undo": "undoing:undo",
    "forget": "undoing:forget",
    "uninstall": "undoing:uninstall",
    "fix": "fix_command:fix",
}


def _run(arguments: list[str]) -> Exit:
    options = _options(arguments)
    if options is None:
        return Exit.OK
    if options.command in ("explain", "completion"):
        return _told(options)
    from klein_doctor.output import Output

    name = "fix" if options.fix else options.command
    try:
        output = Output(options.output)
        if name:
            return _command(name)(options, output, _note)
        report = _report(options, lambda: output.prepare(options.format))
        if options.symptom:
            from klein_doctor.symptoms import explained

            report = explained(report, options.symptom)
    except UsageError as error:
        raise UsageError(with_variable(str(error), options)) from error
    output.write(report, options.format, options.color, form_of(options))
    from klein_doctor.history import keep
    from klein_doctor.started import tell

    keep(report, options)
    tell(report)
    if not options.output and _offered(options, report):
        return _command("setup")(options, output, _note)
    return report.exit_code


def _command(name: str) -> Command:
    from importlib import import_module

    module, _, function = _COMMANDS[name].partition(":")
    found: Command = getattr(import_module(f"klein_doctor.{module}"), function)
    return found


def _told(options: argparse.Namespace) -> Exit:
    """What is known without a look at the machine, on standard output."""
    if sys.stdout is None:
        raise UsageError("standard output is closed")
    with reader_may_leave():
        if options.command == "completion":
            from klein_doctor.completion import script

            sys.stdout.write(script(options.shell))
        else:
            from klein_doctor.explain import explain

            explain(options.check, sys.stdout)
    return Exit.OK


def _offered(options: argparse.Namespace, report: Report) -> bool:
    """Whether the user takes the offer to repair; nothing is loaded where none can be made."""
    if options.format != "text" or not all(s and s.isatty() for s in (sys.stdin, sys.stderr)):
        return False
    from klein_doctor.wizard.offer import offer

    return offer(report, options.color)


def _options(arguments: list[str]) -> argparse.Namespace | None:
    """The options; None when --help or --version was all that was asked."""
    with reader_may_leave():
        try:
            return parse(arguments, os.environ)
        except SystemExit:
            return None
    return None


def _report(options: argparse.Namespace, meanwhile: Callable[[], None]) -> Report:
    from klein_doctor import diagnose

    request = diagnose.request_of(options)
    if options.source:
        return diagnose.again(options.source, request, _note)
    return diagnose.diagnose(request, meanwhile)


def _note(text: str) -> None:
    shown = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
    say(f"klein-doctor: {shown}")


def _complain(text: str, code: Exit) -> int:
    _note(text)
    return int(code)


def _fault(error: Exception) -> int:
    """A fault of the doctor: where it happened, without what the user's data held."""
    from klein_doctor.boxed import place_of

    return _complain(
        f"a fault of the doctor itself: {type(error).__name__} at {place_of(error)}; "
        "please report it together with the command you ran",
        Exit.FAULT,
    )
