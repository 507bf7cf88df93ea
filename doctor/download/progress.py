"""What a user sees while files come: bars, a line now and then, or JSON lines; on stderr."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any, Protocol, TextIO

from klein_doctor.pipes import say
from klein_doctor.values import printable

_PLAIN_S = 10.0
_JSON_S = 1.0
_GB = 1e9


class Display(Protocol):
    """Told of everything; from any thread. Counts are bytes, negative where some are given up."""

    def begin(self, total: int, here: int) -> None:
        """The transfer begins: so many bytes in all, so many of them here."""

    def file(self, name: str, size: int, doing: str) -> None:
        """A file is worked on."""

    def add(self, name: str, count: int, fresh: bool = True) -> None:
        """Bytes of a file are there; not fresh: from an earlier try."""

    def done(self, name: str, state: str) -> None:
        """A file is finished, one way or another."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def end(self) -> None:
        """Nothing more comes."""


def display(mode: str) -> Display:
    """The one for a mode; auto is bars on a terminal and lines elsewhere."""
    stream = sys.stderr
    if stream is None:
        return _Silent()
    if mode == "json":
        return _Json()
    if mode == "auto" and stream.isatty():
        return _Bars(stream)
    return _Lines()


class _Counting:
    """The sums every display needs."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.total = self.here = self.came = 0
        self.files: dict[str, list[int]] = {}
        self.begun = time.monotonic()

    def begin(self, total: int, here: int) -> None:
        self.total, self.here, self.begun = total, here, time.monotonic()

    def file(self, name: str, size: int, doing: str) -> None:
        with self.lock:
            self.files[name] = [0, size]

    def add(self, name: str, count: int, fresh: bool = True) -> None:
        with self.lock:
            self.files.setdefault(name, [0, 0])[0] += count
            if fresh:
                self.came += count
            else:
                self.here += count

    def done(self, name: str, state: str) -> None: ...

    def note(self, text: str) -> None: ...

    def end(self) -> None: ...

    def rate(self) -> float:
        """Bytes a second since the beginning."""
        return self.came / max(0.001, time.monotonic() - self.begun)

    def left_s(self) -> float | None:
        """Seconds left at that rate."""
        missing = self.total - self.here - self.came
        return missing / self.rate() if self.rate() > 0 and missing >= 0 else None


class _Silent(_Counting):
    pass


class _Lines(_Counting):
    """A line every ten seconds while something comes."""

    def __init__(self) -> None:
        super().__init__()
        self._next = time.monotonic() + _PLAIN_S

    def add(self, name: str, count: int, fresh: bool = True) -> None:
        with self.lock:
            super().add(name, count, fresh)
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + _PLAIN_S
                left = self.left_s()
                rest = f", {_clock(left)} left" if left is not None else ""
                there = (self.here + self.came) / _GB
                self.note(
                    f"{there:.2f} of {self.total / _GB:.2f} GB, {self.rate() / 1e6:.1f} MB/s{rest}"
                )

    def note(self, text: str) -> None:
        with self.lock:
            say(f"klein-doctor: {printable(text)}")


class _Json(_Counting):
    """One JSON object a line: at every event, and of the sums once a second."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def begin(self, total: int, here: int) -> None:
        super().begin(total, here)
        self._say("begin", total=total, here=here)

    def file(self, name: str, size: int, doing: str) -> None:
        super().file(name, size, doing)
        self._say("file", name=name, bytes=size, doing=doing)

    def add(self, name: str, count: int, fresh: bool = True) -> None:
        with self.lock:
            super().add(name, count, fresh)
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + _JSON_S
                self._sums()

    def done(self, name: str, state: str) -> None:
        self._say("done", name=name, state=state)

    def note(self, text: str) -> None:
        self._say("note", text=text)

    def end(self) -> None:
        self._sums()

    def _sums(self) -> None:
        left = self.left_s()
        self._say(
            "progress",
            done=self.here + self.came,
            total=self.total,
            rate=round(self.rate()),
            left_s=None if left is None else round(left),
            files=[{"name": n, "done": d, "bytes": t} for n, (d, t) in self.files.items()],
        )

    def _say(self, event: str, **values: Any) -> None:
        with self.lock:
            say(json.dumps({"event": event, **values}))


class _Bars(_Counting):
    """A bar a file and one for all."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self._tasks: dict[str, Any] = {}

    def begin(self, total: int, here: int) -> None:
        super().begin(total, here)
        self._tasks[""] = self._bars.add_task("in all", total=total, completed=here)
        self._bars.start()

    def file(self, name: str, size: int, doing: str) -> None:
        super().file(name, size, doing)
        with self.lock:
            self._tasks[name] = self._bars.add_task(f"{doing} {printable(name, 40)}", total=size)

    def add(self, name: str, count: int, fresh: bool = True) -> None:
        super().add(name, count, fresh)
        with self.lock:
            for key in (name, ""):
                if key in self._tasks:
                    self._bars.advance(self._tasks[key], count)

    def done(self, name: str, state: str) -> None:
        with self.lock:
            if name in self._tasks:
                self._bars.remove_task(self._tasks.pop(name))

    def note(self, text: str) -> None:
        from rich.text import Text

        self._bars.console.print(Text(printable(text)))

    def end(self) -> None:
        self._bars.stop()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
