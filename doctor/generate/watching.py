"""Who listens to a run: keeps its phases, shows how far it is, and knows when it should end."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from klein_doctor.console import Lines
from klein_doctor.generation import Phase
from klein_doctor.repair import Limits

_EVERY_S = 0.1  # a bar is drawn no more often
_WORDS = {
    "start": "starting",
    "load": "loading the model",
    "place": "placing the model",
    "encode": "reading the prompt",
    "denoise": "denoising",
    "decode": "decoding",
    "save": "saving",
}


class Watcher:
    """Keeps a run's phases; implements job.Watch.

    total: of pictures. follow: told of each process whose memory is the run's.
    """

    def __init__(
        self,
        console: Lines,
        limits: Limits,
        total: int,
        follow: Callable[[int], None] = lambda pid: None,
    ) -> None:
        self.stop: threading.Event = limits.stop
        self._limits = limits
        self._console = console
        self._total = total
        self._follow = follow
        self._began = time.monotonic()
        self._phase: tuple[str, int, float] | None = None
        self._shown = 0.0
        self._width = 0
        self.phases: list[Phase] = []
        stderr = sys.stderr
        self._bar = console.bars and stderr is not None and stderr.isatty()

    @property
    def origin(self) -> float:
        """The moment of time.monotonic() from which the phases count."""
        return self._began

    def began(self, phase: str, picture: int) -> None:
        if self._phase is not None and self._phase[:2] == (phase, picture):
            return
        self._end()
        self._phase = (phase, picture, self._now())
        told = f"{self._of(picture)}{_WORDS.get(phase, phase)}"
        if self._bar:
            self._draw(told)
        else:
            self._console.event(told, {"event": "phase", "phase": phase, "picture": picture})

    def progress(self, done: int, total: int) -> None:
        if self._phase is None or total <= 0:
            return
        phase, picture, _ = self._phase
        if not self._bar:
            more = {"phase": phase, "picture": picture, "done": done, "total": total}
            self._console.event("", {"event": "progress", **more})
            return
        if done < total and time.monotonic() - self._shown < _EVERY_S:
            return
        marks = round(20 * min(done, total) / total)
        told = f"{self._of(picture)}{_WORDS.get(phase, phase)}"
        self._draw(f"{told} [{'#' * marks}{'.' * (20 - marks)}] {done}/{total}")

    def note(self, text: str) -> None:
        self._clear()
        self._console.note(text)

    def root(self, pid: int) -> None:
        self._follow(pid)

    def left_s(self) -> float | None:
        return self._limits.left_s()

    def close(self) -> tuple[Phase, ...]:
        """The phases, the last of which ends now."""
        self._end()
        self._clear()
        return tuple(self.phases)

    def _of(self, picture: int) -> str:
        return f"picture {picture} of {self._total}: " if picture else ""

    def _now(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def _end(self) -> None:
        if self._phase is not None:
            name, picture, began = self._phase
            self.phases.append(Phase(name, picture, began, self._now()))
            self._phase = None

    def _draw(self, text: str) -> None:
        self._shown = time.monotonic()
        stream: Any = sys.stderr
        try:
            stream.write(f"\r{text:<{self._width}}")
            stream.flush()
        except (OSError, ValueError):
            self._bar = False
        self._width = len(text)

    def _clear(self) -> None:
        if self._bar and self._width:
            self._draw("")
            stream: Any = sys.stderr
            stream.write("\r")
            self._width = 0
