"""The diffusers route of the test generation: a worker in the target's Python does it."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from klein_doctor.generate import diffusers_worker
from klein_doctor.generate.diffusers_faults import Ending, fault_of
from klein_doctor.generate.diffusers_ways import way
from klein_doctor.generate.job import Attempt, Job, Made, Watch
from klein_doctor.generate.worker_process import WorkerProcess
from klein_doctor.generation import Remark
from klein_doctor.privacy import without_folders
from klein_doctor.recipe_diffusers import DiffusersRules, load_diffusers
from klein_doctor.recipe_memory import Plan
from klein_doctor.values import printable

LOG = "diffusers.log"
EVENTS = "diffusers-events.jsonl"
_TICK_S = 0.1
_GRACE_S = 5.0
_MOST_EVENTS = 4096
_PHASES = ("start", "load", "place", "encode", "denoise", "decode", "save")
_HUB = re.compile(r"models--([\w.-]+)--([\w.-]+)")
# A token is of no use without a network; the rest keeps libraries from asking for one.
_SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "PYTHONIOENCODING": "utf-8",
}
_TAKEN_OUT = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "PYTHONSTARTUP", "PYTHONINSPECT")


def run(
    job: Job,
    watch: Watch,
    *,
    folder: Path,
    plan: Plan,
    env: Mapping[str, str],
    flags: Sequence[str] = (),
    rules: DiffusersRules | None = None,
) -> Attempt:
    """Make the job's pictures from a diffusers folder in the way of a memory plan.

    On a CPU the plan's way is gone as well, but accelerate has none for sequential-offload there.
    What the worker said lies in job.folder: its log, and its messages with each phase's memory.

    Args:
        env: the target's environment. flags: its interpreter's, such as ``-s``.
    """
    return _Run(job, watch, rules or load_diffusers()).make(folder, plan, env, flags)


class _Run:
    def __init__(self, job: Job, watch: Watch, rules: DiffusersRules) -> None:
        self._job, self._watch, self._rules = job, watch, rules
        self._stage = "start"
        self._made: list[Made] = []
        self._versions: dict[str, str] = {}
        self._error: dict[str, str] = {}
        self._done = False
        self._events: list[str] = []

    def make(
        self, folder: Path, plan: Plan, env: Mapping[str, str], flags: Sequence[str]
    ) -> Attempt:
        job = self._job
        self._watch.began("start", 0)
        try:
            worker = WorkerProcess(
                [job.python, *flags, "-"],
                self._source(folder, plan),
                cwd=job.folder,
                env=_environment(job, env),
                log=job.folder / LOG,
            )
        except OSError as error:
            says = f"the target's Python cannot be started: {error.strerror or error}"
            return self._attempt("failed", "not-started", says, "", True)
        self._watch.root(worker.pid)
        ours = "crashed"
        status: int | None = None
        gone = False
        try:
            ours = self._follow(worker)
        finally:
            status, gone = worker.end()
            self._keep_events()
        return self._judged(ours, status, gone, "".join(worker.tail))

    # --- while it runs ----------------------------------------------------------------------

    def _follow(self, worker: WorkerProcess) -> str:
        """Listen until it ends, or until there is a reason to end it: that reason, else ""."""
        heard = time.monotonic()
        over = False
        while True:
            over = over or worker.ended()
            message = worker.hear(0.0 if over else _TICK_S)
            if message is not None:
                heard = time.monotonic()
                self._take(message)
            elif over and (not worker.talking() or time.monotonic() - heard > _GRACE_S):
                return ""
            if self._watch.stop.is_set():
                return "stopped"
            left = self._watch.left_s()
            if left is not None and left <= 0:
                return "deadline"
            if time.monotonic() - heard > self._limit():
                return "hung"

    def _limit(self) -> float:
        return self._rules.limits.get(self._stage, self._rules.limits["start"])

    def _take(self, message: dict[str, Any]) -> None:
        """Take in one message; what does not have the worker's own shape is passed over."""
        if len(self._events) < _MOST_EVENTS:
            self._events.append(json.dumps(message))
        phase, picture = message.get("phase"), message.get("picture")
        if phase in _PHASES and isinstance(picture, int):
            self._stage = phase
            if phase != "start":  # that began before the worker did
                self._watch.began(phase, picture)
        progress = message.get("progress")
        if isinstance(progress, list) and len(progress) == 2:
            done, total = progress
            if isinstance(done, int) and isinstance(total, int):
                self._watch.progress(done, total)
        versions, error, made = (message.get(key) for key in ("versions", "error", "made"))
        if isinstance(versions, dict):
            self._versions = {
                printable(str(k), 40): printable(str(v), 80) for k, v in versions.items()
            }
        if isinstance(error, dict):
            self._error = {str(key): str(value) for key, value in error.items()}
        if isinstance(made, dict):
            self._take_made(made)
        self._done = self._done or message.get("done") is True

    def _take_made(self, made: dict[str, Any]) -> None:
        number, seconds = made.get("picture"), made.get("seconds")
        if isinstance(number, int) and 0 < number <= len(self._job.seeds):
            self._made.append(
                Made(
                    self._job.seeds[number - 1],
                    self._path(number),
                    float(seconds) if isinstance(seconds, (int, float)) else 0.0,
                    False,
                    str(made.get("not_finite", "")),
                )
            )

    # --- before and after -------------------------------------------------------------------

    def _path(self, number: int) -> Path:
        return self._job.folder / f"klein-{number}-seed-{self._job.seeds[number - 1]}.png"

    def _source(self, folder: Path, plan: Plan) -> str:
        """The worker with what it has to do."""
        job = self._job
        dtype = "bfloat16"
        todo = {
            "prompt": job.prompt,
            "pictures": [
                {"seed": seed, "path": str(self._path(number))}
                for number, seed in enumerate(job.seeds, 1)
            ],
            "width": job.width,
            "height": job.height,
            "steps": job.steps,
            "guidance": job.guidance,
            "folder": str(folder),
            "device": job.device,
            "dtype": dtype,
            "dtype_since": self._rules.api.dtype_since,
            "way": way(plan.id, job.device, f"torch.{dtype}")._asdict(),
            "plan": plan.id,
            "model": _model_name(folder),
        }
        source = Path(diffusers_worker.__file__).read_text("utf-8")
        # In the language of JSON inside one of Python: ASCII, whatever the prompt says.
        return f"{source}\n\nmain({json.dumps(json.dumps(todo))})\n"

    def _judged(self, ours: str, status: int | None, gone: bool, tail: str) -> Attempt:
        complete = self._done and len(self._made) == len(self._job.seeds)
        if complete:
            return self._attempt("done", "", "", "", gone)
        if ours in ("stopped", "deadline"):
            says = "stopped as asked" if ours == "stopped" else "the time for it was over"
            return self._attempt("interrupted", ours, says, tail, gone)
        ending = Ending(ours, status, self._stage, self._error, tail, self._limit())
        kind, says = fault_of(ending, self._rules.lost.texts)
        text = self._error.get("traceback", "") or tail
        return self._attempt(
            "failed", kind, printable(without_folders(says[:1600]), 400), text, gone
        )

    def _attempt(self, outcome: str, kind: str, says: str, text: str, gone: bool) -> Attempt:
        remarks: tuple[Remark, ...] = ()
        stage = "" if outcome == "done" else self._stage
        versions = tuple(sorted(self._versions.items()))
        return Attempt(outcome, stage, kind, says, text, tuple(self._made), remarks, versions, gone)

    def _keep_events(self) -> None:
        with contextlib.suppress(OSError):
            (self._job.folder / EVENTS).write_text("\n".join(self._events) + "\n", "utf-8")


def _environment(job: Job, env: Mapping[str, str]) -> dict[str, str]:
    found = {key: value for key, value in env.items() if key not in _TAKEN_OUT}
    found.update(_SETTINGS)
    if job.gpu:
        found |= {"CUDA_VISIBLE_DEVICES": job.gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    if job.device == "cpu":
        found["CUDA_VISIBLE_DEVICES"] = ""
    return found


def _model_name(folder: Path) -> str:
    """What a picture may say of where its model lay: the Hub's name or the folder's, no path."""
    cached = _HUB.search(str(folder))
    return "/".join(cached.groups()) if cached else folder.name
