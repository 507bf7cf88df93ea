"""A watch that takes everything down, and what a run of the ComfyUI route is given in tests."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from klein_doctor.generate.comfyui_given import Given
from klein_doctor.generate.comfyui_run import Means
from klein_doctor.generate.comfyui_server import Start
from klein_doctor.generate.job import Job
from klein_doctor.klein_graph import Parts
from klein_doctor.privacy import Redactor
from klein_doctor.recipe_comfyui_run import Limits, load_comfyui_run

PARTS = Parts("klein.safetensors", "qwen.safetensors", "vae.safetensors")
# Short, so that no test waits long; none of them asserts how long something took.
LIMITS = Limits(start=20, quiet=1.5, queue=0.5, silent=0.2)
MARKS = {"clip missing": "encoder-incomplete", "invalid value": "not-finite"}


class Watch:
    """Takes down what it is told. at: called at each phase, to do something in the middle."""

    def __init__(self, at: Callable[[str, int], None] | None = None, left: float | None = None):
        self.stop = threading.Event()
        self.phases: list[tuple[str, int]] = []
        self.steps: list[tuple[int, int]] = []
        self.notes: list[str] = []
        self.roots: list[int] = []
        self._at, self._left = at, left

    def began(self, phase: str, picture: int) -> None:
        self.phases.append((phase, picture))
        if self._at is not None:
            self._at(phase, picture)

    def progress(self, done: int, total: int) -> None:
        self.steps.append((done, total))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def root(self, pid: int) -> None:
        self.roots.append(pid)

    def left_s(self) -> float | None:
        return self._left


def job(folder: Path, python: str = "python", **changes: Any) -> Job:
    made = Job("an apple", (7, 8, 7), 256, 256, 4, "1.0", folder, python, "cpu", "")
    return made._replace(**changes)


def given(port: int | None = None, main: str = "", **changes: Any) -> Given:
    start = Start(main=main, base="", isolated=False, path_files=(), arguments=())
    return Given(PARTS, start._replace(**changes), port, None)


def remark(line: str) -> str:
    return next((kind for words, kind in MARKS.items() if words in line), "")


def means(env: dict[str, str] | None = None, **limits: float) -> Means:
    rules = load_comfyui_run()._replace(limits=LIMITS._replace(**limits))
    redactor = Redactor(("jane",), ("/home/jane",), ())
    return Means(remark, redactor, {**os.environ, **(env or {})}, rules)
