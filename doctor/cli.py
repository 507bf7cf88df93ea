"""The entry point: parse, run, write, exit. Heavy imports are made where they are used."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from klein_doctor.exits import Exit, UsageError
from klein_doctor.options import parse

if TYPE_CHECKING:
    from klein_doctor.model import Report


def main(argv: list[str] | None = None) -> int:
    """Run klein-doctor; returns the exit code. No exception leaves it."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        return int(_run(parse(arguments, os.environ)))
    except UsageError as error:
        return _complain(str(error), Exit.USAGE)
    except KeyboardInterrupt:
        return _complain("interrupted", Exit.INTERRUPTED)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(Exit.USAGE)
    except Exception as error:
        return _fault(error)


def _run(options: argparse.Namespace) -> Exit:
    if options.command == "explain":
        from klein_doctor.explain import explain

        with _reader_may_leave():
            explain(options.check, sys.stdout)
        return Exit.OK
    from klein_doctor.output import Output

    output = Output(options.output)
    report = _report(options, lambda: output.prepare(options.format))
    form = "real" if options.unredacted else ("local" if options.format == "text" else "public")
    with _reader_may_leave():
        output.write(report, options.format, options.color, form)
    return report.exit_code


@contextlib.contextmanager
def _reader_may_leave() -> Iterator[None]:
    """A reader that goes away early (| head) changes nothing of the exit code."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(options: argparse.Namespace, meanwhile: Callable[[], None]) -> Report:
    from klein_doctor import diagnose
    from klein_doctor.engine import Choice

    request = diagnose.Request(
        python=options.python,
        gpu=options.gpu,
        assume=options.assume,
        choice=Choice(options.select, options.ignore),
        strict=options.strict,
    )
    if options.source:
        return diagnose.again(options.source, request, _note)
    return diagnose.diagnose(request, meanwhile)


def _note(text: str) -> None:
    print(f"klein-doctor: {text}", file=sys.stderr)


def _complain(text: str, code: Exit) -> int:
    try:
        _note(text)
    except OSError:
        pass
    return int(code)


def _fault(error: Exception) -> int:
    """A fault of the doctor: where it happened, without what the user's data held."""
    from klein_doctor.boxed import place_of

    return _complain(
        f"a fault of the doctor itself: {type(error).__name__} at {place_of(error)}; "
        "please report it together with the command you ran",
        Exit.FAULT,
    )
