"""Standard streams whose other end may go away at any time."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

from klein_doctor.exits import UsageError


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
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


def say(text: str) -> None:
    """A line on standard error; where nobody takes it, the work goes on without."""
    if sys.stderr is None:
        return  # print() would turn to standard output, which belongs to the report
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
