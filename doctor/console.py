"""What a run of repairs says while it works: lines on standard error, and in a log."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Protocol

from klein_doctor.pipes import say
from klein_doctor.steps import Result, Step
from klein_doctor.values import printable


class Console(Protocol):
    """Told of what goes on; shows it or not."""

    def note(self, text: str) -> None: ...

    def began(self, step: Step, number: int, of: int) -> None: ...

    def ended(self, result: Result) -> None: ...


class Lines:
    """A line for everything; as JSON where a program reads along. bars: these may move."""

    def __init__(self, progress: str = "plain", log: Path | None = None):
        self._json = progress == "json"
        self._log = log
        self.bars = progress == "auto"

    def note(self, text: str) -> None:
        self._say(text, {"event": "note", "text": text})

    def event(self, text: str, event: dict[str, object]) -> None:
        """Something happened; text "": it is for programs alone."""
        if text or self._json:
            self._say(text, event)

    def began(self, step: Step, number: int, of: int) -> None:
        event = {"event": "step", "fix": step.fix, "title": step.title, "number": number, "of": of}
        self._say(f"[{number}/{of}] {step.title}", event)

    def ended(self, result: Result) -> None:
        event: dict[str, object] = {"event": "ended", "fix": result.step.fix}
        event |= {"state": result.state, "says": result.says}
        event["seconds"] = round(result.seconds, 1)
        self._say(f"      {result.state}: {result.says}", event)

    def _say(self, text: str, event: dict[str, object]) -> None:
        text = printable(text, 2000)
        say(json.dumps(event) if self._json else f"klein-doctor: {text}")
        if self._log is not None and text:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            with open(self._log, "a", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(f"{stamp} {text}\n")
