"""The journal of one run: each line is on the disk before what it announces is done."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from klein_doctor.state import make_folder, own_like_parent

NAME = "journal.jsonl"
Record = dict[str, Any]


class StepRecord(NamedTuple):
    """A step as the journal tells it.

    state: ``open`` (begun, neither sealed nor taken back), ``sealed`` or ``undone``.
    records: its intents in the order in which they were announced.
    """

    number: int
    fix: str
    title: str
    state: str
    records: tuple[Record, ...]


class Journal:
    """Append-only lines of JSON in the run's folder; a line broken off by a kill is not one.

    Args:
        folder: of the run; made if it is not there.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.records: list[Record] = []
        self._broken_off = False
        self._read()

    @property
    def run(self) -> str:
        """The run's id."""
        return self.folder.name

    def add(self, do: str, **data: Any) -> Record:
        """Write a line and wait until the disk has it.

        Raises:
            OSError: it cannot be written; then nothing may be done either.
        """
        make_folder(self.folder)
        record = {"do": do, **data}
        new = not (self.folder / NAME).exists()
        with open(self.folder / NAME, "ab") as stream:
            if self._broken_off:
                stream.write(b"\n")  # ends a line that a kill broke off
                self._broken_off = False
            stream.write(json.dumps(record).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        if new:
            own_like_parent(self.folder / NAME)
            sync_folder(self.folder)
        self.records.append(record)
        return record

    def steps(self) -> list[StepRecord]:
        """The steps with what became of them."""
        begun = [record for record in self.records if record["do"] == "begin"]
        return [self._step(record) for record in begun]

    def state(self) -> str:
        """``open`` where something is unfinished, ``undone`` where nothing was changed or is
        left of it, ``done``, or ``forgotten``."""
        if any(record["do"] == "forgotten" for record in self.records):
            return "forgotten"
        steps = self.steps()
        if any(self.unfinished(step) for step in steps):
            return "open"
        return "done" if any(s.state == "sealed" and s.records for s in steps) else "undone"

    def unfinished(self, step: StepRecord) -> bool:
        """Whether a kill broke a step off, or the undo that was to take it back."""
        return step.state == "open" or (step.state == "sealed" and step.number in self._undoing())

    def _undoing(self) -> set[int]:
        """The steps of an undo that began and came to no end."""
        last = next((r for r in reversed(self.records) if r["do"].startswith("undo-")), None)
        return set(last["steps"]) if last is not None and last["do"] == "undo-begins" else set()

    def _step(self, begin: Record) -> StepRecord:
        number = begin["step"]
        own = [r for r in self.records if r.get("step") == number and r is not begin]
        ends = {r["do"] for r in own}
        state = "undone" if "undone" in ends else "sealed" if "seal" in ends else "open"
        intents = tuple(r for r in own if r["do"] not in ("seal", "undone"))
        return StepRecord(number, begin["fix"], begin["title"], state, intents)

    def _read(self) -> None:
        try:
            data = (self.folder / NAME).read_bytes()
        except FileNotFoundError:
            return
        self._broken_off = bool(data) and not data.endswith(b"\n")
        for line in data.split(b"\n"):
            try:
                record = json.loads(line)
            except ValueError:
                continue  # broken off by a kill: what it announced was not begun
            if isinstance(record, dict) and isinstance(record.get("do"), str):
                self.records.append(record)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder; not every system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
