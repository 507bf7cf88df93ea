"""Run a piece of the doctor so that neither its crash nor its hanging ends the run."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from klein_doctor.model import Fault

T = TypeVar("T")


class Boxed(Generic[T]):
    """A call that runs in a thread of its own, with a time limit counted from its start."""

    def __init__(self, where: str, call: Callable[[], T], limit_s: float) -> None:
        self.where = where
        self.limit_s = limit_s
        self._result: list[T] = []
        self._fault: list[Fault] = []
        self._call = call
        # A daemon thread: one stuck on a dead network drive must not hold up the exit.
        self._thread = threading.Thread(target=self._run, daemon=True, name=where)
        self._end = time.monotonic() + limit_s
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(self._call())
        except Exception as error:
            self._fault.append(Fault(self.where, type(error).__name__, place_of(error)))

    def result(self) -> T | Fault:
        """Wait for the call until its limit is over, and return its value or the Fault."""
        self._thread.join(max(0.0, self._end - time.monotonic()))
        if self._result:
            return self._result[0]
        if self._fault:
            return self._fault[0]
        if self._thread.is_alive():
            return Fault(self.where, "timeout", f"no answer within {self.limit_s:g} s")
        return Fault(self.where, "ended", "ended without an answer")


def boxed(where: str, call: Callable[[], T], limit_s: float) -> T | Fault:
    """Run call in a box and wait for it."""
    return Boxed(where, call, limit_s).result()


def place_of(error: Exception) -> str:
    """Where in the doctor it happened; not the message, which may quote the user's data."""
    frames: list[Any] = list(traceback.extract_tb(error.__traceback__))
    if not frames:
        return ""
    last = frames[-1]
    return f"{last.filename.replace(chr(92), '/').rsplit('/', 1)[-1]}:{last.lineno}"
