"""Where a report goes: standard output, or a file that is whole or untouched."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from klein_doctor.exits import UsageError
from klein_doctor.model import Report
from klein_doctor.pipes import reader_may_leave

# Opened by name, the file behind it would be replaced under the shell that redirected to it.
_STANDARD = ("", "-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


class Output:
    """A destination, checked before the machine is read so that no work is lost."""

    def __init__(self, name: str) -> None:
        """name: a file, or "" for standard output.

        Raises:
            UsageError: it cannot be written, in one line.
        """
        self.name = name
        self.path = None if name in _STANDARD else _place(name)
        if self.path is not None:
            self._check(self.path)
        elif sys.stdout is None:
            raise UsageError("standard output is closed; --output writes to a file")

    def prepare(self, kind: str) -> None:
        """Load what rendering needs; may be called while something else is waited for."""
        if kind == "text":
            import klein_doctor.report.text  # noqa: F401

    def write(self, report: Report, kind: str, color: str, form: str) -> None:
        """Render the report to its destination."""
        self.send(lambda stream: _render(report, stream, kind, color, form))

    def send(self, render: Callable[[TextIO], None]) -> None:
        """Write what render writes.

        Raises:
            UsageError: the file, or standard output, cannot be written.
        """
        if self.path is None:
            with reader_may_leave():
                try:
                    render(_tolerant(sys.stdout))
                except SystemExit as error:  # what rich makes of a reader that went away
                    raise BrokenPipeError from error
            return
        try:
            self._write_file(self.path, render)
        except OSError as error:
            raise UsageError(f"--output {self.name}: {error.strerror or error}") from error

    def _check(self, path: Path) -> None:
        try:
            if path.is_dir():
                raise UsageError(f"--output {self.name}: it is a folder")
            if not path.parent.is_dir():
                raise UsageError(f"--output {self.name}: its folder does not exist")
            special = path.exists() and not path.is_file()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise (
                error
                if isinstance(error, UsageError)
                else UsageError(f"--output {self.name}: {reason}")
            ) from error
        place = path if special or path.exists() else path.parent
        if not os.access(place, os.W_OK) or not (special or os.access(path.parent, os.W_OK)):
            raise UsageError(f"--output {self.name}: no permission to write there")

    def _write_file(self, path: Path, render: Callable[[TextIO], None]) -> None:
        if path.exists() and not path.is_file():
            # A device or a pipe: there is nothing to replace.
            with path.open("w", encoding="utf-8", errors="backslashreplace") as stream:
                render(stream)
            return
        import tempfile

        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:30]}.")
        try:
            with open(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
                render(stream)
            os.chmod(temporary, path.stat().st_mode if path.exists() else 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _place(name: str) -> Path:
    """The file itself behind links, so that it is what gets replaced; a device as it was named."""
    path = Path(name)
    try:
        return path if path.exists() and not path.is_file() else Path(os.path.realpath(name))
    except (OSError, ValueError):
        return path


def _render(report: Report, stream: TextIO, kind: str, color: str, form: str) -> None:
    if kind == "text":
        from klein_doctor.report.text import render_text

        render_text(report, stream, color, form)
    elif kind == "brief":
        from klein_doctor.report.brief import render_brief

        stream.write(render_brief(report, form))
    elif kind == "markdown":
        from klein_doctor.report.markdown import render_markdown

        stream.write(render_markdown(report, form))
    elif kind == "html":
        from klein_doctor.report.html import render_html

        stream.write(render_html(report, form))
    else:
        from klein_doctor.report.document import render_json

        stream.write(render_json(report, form))


def _tolerant(stream: TextIO) -> TextIO:
    """The stream, made to escape what its encoding cannot carry instead of failing."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
