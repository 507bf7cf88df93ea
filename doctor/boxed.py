"""Run a piece of the doctor so that neither its crash nor its hanging ends the run."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from klein_doctor.model import Fault

T = TypeVar("T")


def _thread(where: str, run: Callable[[], None]) -> None:
    # A daemon thread: one stuck on a dead network drive must not hold up the exit.
    threading.Thread(target=run, daemon=True, name=where).start()


class Boxed(Generic[T]):
    """A call that runs in a thread of its own, with a time limit counted from its start.

    begin: runs what it is given in some other thread.
    """

    def __init__(
        self,
        where: str,
        call: Callable[[], T],
        limit_s: float,
        begin: Callable[[str, Callable[[], None]], None] = _thread,
    ) -> None:
        self.where = where
        self.limit_s = limit_s
        self.over = threading.Event()
        self._result: list[T] = []
        self._fault: list[Fault] = []
        self._call = call
        self._end = time.monotonic() + limit_s
        begin(where, self._run)

    def _run(self) -> None:
        try:
            self._result.append(self._call())
        except Exception as error:
            self._fault.append(Fault(self.where, type(error).__name__, place_of(error)))
        except SystemExit:
            pass  # it would end a thread that others share
        finally:
            self.over.set()

    def result(self) -> T | Fault:
        """Wait for the call until its limit is over, and return its value or the Fault."""
        over = self.over.wait(max(0.0, self._end - time.monotonic()))
        if self._result:
            return self._result[0]
        if self._fault:
            return self._fault[0]
        if not over:
            return Fault(self.where, "timeout", f"no answer within {self.limit_s:g} s")
        return Fault(self.where, "ended", "ended without an answer")


def boxed(where: str, call: Callable[[], T], limit_s: float) -> T | Fault:
    """Run call in a box and wait for it."""
    return Boxed(where, call, limit_s).result()


class InTurn:
    """Boxed calls one after another, in one thread for as long as none of them hangs.

    For many short ones: a thread for each would take longer than they do.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] | None = None

    def __enter__(self) -> InTurn:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def run(self, where: str, call: Callable[[], T], limit_s: float) -> T | Fault:
        """Run call in a box and wait for it; one that hangs is left behind with its thread."""
        box = Boxed(where, call, limit_s, self._begin)
        found = box.result()
        if not box.over.is_set():
            self._leave()
        return found

    def _begin(self, where: str, run: Callable[[], None]) -> None:
        if self._calls is None:
            self._calls = SimpleQueue()
            _thread("in turn", partial(_one_by_one, self._calls))
        self._calls.put(run)

    def _leave(self) -> None:
        if self._calls is not None:
            self._calls.put(None)
        self._calls = None


def _one_by_one(calls: SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := calls.get()) is not None:
        call()


def place_of(error: Exception) -> str:
    """Where in the doctor it happened; not the message, which may quote the user's data."""
    frames: list[Any] = list(traceback.extract_tb(error.__traceback__))
    if not frames:
        return ""
    last = frames[-1]
    return f"{last.filename.replace(chr(92), '/').rsplit('/', 1)[-1]}:{last.lineno}"
