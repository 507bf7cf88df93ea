"""The entry point: parse, run, write, exit. Heavy imports are made where they are used."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from klein_doctor.exits import Exit, UsageError
from klein_doctor.options import parse, with_variable

if TYPE_CHECKING:
    from klein_doctor.model import Report


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


def _run(arguments: list[str]) -> Exit:
    options = _options(arguments)
    if options is None:
        return Exit.OK
    if options.command == "explain":
        from klein_doctor.explain import explain

        if sys.stdout is None:
            raise UsageError("standard output is closed")
        with _reader_may_leave():
            explain(options.check, sys.stdout)
        return Exit.OK
    from klein_doctor.output import Output

    if options.command == "identify":
        from klein_doctor.identity.command import identify

        output = Output(options.output)
        with _reader_may_leave():
            return identify(options, output, _note)
    if options.command == "triage":
        from klein_doctor.triage.command import triage

        try:
            output = Output(options.output)
            with _reader_may_leave():
                return triage(options, output, _note)
        except UsageError as error:
            raise UsageError(with_variable(str(error), options)) from error
    if options.command == "download":
        from klein_doctor.download.command import download

        try:
            output = Output(options.output)
            with _reader_may_leave():
                return download(options, output, _note)
        except UsageError as error:
            raise UsageError(with_variable(str(error), options)) from error
    try:
        output = Output(options.output)
        report = _report(options, lambda: output.prepare(options.format))
    except UsageError as error:
        raise UsageError(with_variable(str(error), options)) from error
    form = "real" if options.unredacted else ("local" if options.format == "text" else "public")
    with _reader_may_leave():
        output.write(report, options.format, options.color, form)
    return report.exit_code


def _options(arguments: list[str]) -> argparse.Namespace | None:
    """The options; None when --help or --version was all that was asked."""
    with _reader_may_leave():
        try:
            return parse(arguments, os.environ)
        except SystemExit:
            return None
    return None


@contextlib.contextmanager
def _reader_may_leave() -> Iterator[None]:
    """A reader that goes away early (| head) changes nothing of the exit code.

    Raises:
        UsageError: standard output takes no more (a full disk).
    """
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # What is still in the buffer must not fail a second time when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        left = isinstance(error, BrokenPipeError) or (
            sys.platform == "win32" and error.errno == errno.EINVAL
        )
        if not left:
            raise UsageError(f"standard output: {error.strerror or error}") from error


def _report(options: argparse.Namespace, meanwhile: Callable[[], None]) -> Report:
    from klein_doctor import diagnose
    from klein_doctor.engine import Choice
    from klein_doctor.target import Wish

    wish = Wish(options.python, options.comfyui, options.gpu, options.assume, options.route)
    request = diagnose.Request(
        wish=wish,
        choice=Choice(options.select, options.ignore),
        strict=options.strict,
        deep=options.deep,
        state_dir=options.state_dir,
    )
    if options.source:
        return diagnose.again(options.source, request, _note)
    return diagnose.diagnose(request, meanwhile)


def _note(text: str) -> None:
    if sys.stderr is None:
        return  # print() would turn to standard output, which belongs to the report
    shown = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
    print(f"klein-doctor: {shown}", file=sys.stderr)


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
