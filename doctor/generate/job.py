"""What a route is asked for, what it answers, and what it tells while it runs.

A route (``comfyui``, ``diffusers``) is a function of (Job, Watch) that answers with an Attempt and
raises nothing of what can go wrong on a user's machine.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import NamedTuple, Protocol

from klein_doctor.generation import Remark


class Job(NamedTuple):
    """The pictures to make, one per seed, in this order, each of width x height pixels.

    guidance: as text, ``1.0``. folder: exists and is the doctor's own: pictures and logs go there.
    python: of the target, its real path. device: ``cuda`` or ``cpu``. gpu: the card's UUID as the
    driver says it, "" for whichever comes first.
    """

    prompt: str
    seeds: tuple[int, ...]
    width: int
    height: int
    steps: int
    guidance: str
    folder: Path
    python: str
    device: str
    gpu: str


class Made(NamedTuple):
    """A picture as the route left it; cached and not_finite as in generation.Picture."""

    seed: int
    path: Path
    seconds: float
    cached: bool
    not_finite: str


class Attempt(NamedTuple):
    """How a route went; outcome, stage, kind and says as in generation.Generation.

    text: what triage may explain: a traceback, an error's JSON, the end of a log; not redacted.
    versions: packages as the run itself named them. gone: every process it started has ended.
    """

    outcome: str
    stage: str
    kind: str
    says: str
    text: str
    made: tuple[Made, ...]
    remarks: tuple[Remark, ...]
    versions: tuple[tuple[str, str], ...]
    gone: bool = True


class Watch(Protocol):
    """Who listens to a run. stop: set when it should end soon and in good order."""

    stop: threading.Event

    def began(self, phase: str, picture: int) -> None:
        """A phase of generation.Phase begins, and with it the one before ends."""

    def progress(self, done: int, total: int) -> None:
        """So many steps of the phase are done."""

    def note(self, text: str) -> None:
        """A line for the user."""

    def root(self, pid: int) -> None:
        """The memory of this process and of what it starts is the run's."""

    def left_s(self) -> float | None:
        """Time until the deadline, None where there is none."""
