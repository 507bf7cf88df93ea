"""Who listens to a run in the tests."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Listener:
    """A Watch that keeps what it hears; hook: called with (phase or step, picture or pid)."""

    def __init__(self, hook: Callable[[Listener, str], object] | None = None) -> None:
        self.stop = threading.Event()
        self.heard: list[str] = []
        self.pid = 0
        self.left: float | None = None
        self._hook = hook

    def began(self, phase: str, picture: int) -> None:
        self._hear(f"{phase} {picture}")

    def progress(self, done: int, total: int) -> None:
        self._hear(f"step {done}/{total}")

    def note(self, text: str) -> None:
        self._hear(text)

    def root(self, pid: int) -> None:
        self.pid = pid

    def left_s(self) -> float | None:
        return self.left

    def _hear(self, what: str) -> None:
        self.heard.append(what)
        if self._hook is not None:
            self._hook(self, what)
