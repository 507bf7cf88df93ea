"""One job of ComfyUI's ("prompt" in its API) from its submission to how it ended."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from klein_doctor.generate.comfyui_client import Client, Ended, NoAnswer, Refusal, verdict
from klein_doctor.generate.comfyui_client import shown as pictures_of
from klein_doctor.generate.comfyui_events import Event, Events
from klein_doctor.generate.comfyui_graph import PHASES, Graph, phase_of
from klein_doctor.generate.faults import Failed
from klein_doctor.generate.job import Watch
from klein_doctor.recipe_comfyui_run import Limits

_TICK_S = 0.5  # how soon a wish to stop is heard
_MOST_STEPS = 100_000
_TOLD_S = 1.0  # until an ended process is told of
_KILLED = -9
_GONE = 2  # questions in a row at which nobody listened


class Stage:
    """The phase a run is in; tells the watch when another begins."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._now = ("", -1)

    @property
    def name(self) -> str:
        return self._now[0]

    def began(self, phase: str, picture: int) -> None:
        if phase and (phase, picture) != self._now:
            self._now = (phase, picture)
            self._watch.began(phase, picture)


class Line(NamedTuple):
    """The line to a server.

    code: the exit code of its process, None while it runs or untold. own: it was started here.
    """

    client: Client
    code: Callable[[], int | None]
    own: bool


class Made(NamedTuple):
    """How a job ended, and the seconds it was at work."""

    ended: Ended
    seconds: float


def check(watch: Watch) -> None:
    """Raise Failed where the run should end."""
    if watch.stop.is_set():
        raise Failed("interrupted", "stopped", "The run was stopped.")
    left = watch.left_s()
    if left is not None and left <= 0:
        raise Failed("interrupted", "deadline", "The time that was given is over.")


def follow(
    line: Line, graph: Graph, picture: int, watch: Watch, stage: Stage, limits: Limits
) -> Made:
    """Put a job into the queue and wait until it has ended.

    Raises:
        Failed: it was not taken, the server died or hangs, or the run should end. What is left of
            the job is then withdrawn, and nothing else that the server does.
    """
    number, client_id = str(uuid.uuid4()), uuid.uuid4().hex
    events = Events(line.client.port, client_id, watch.stop.wait)
    job = _Prompt(line, graph, number, picture, watch, stage, limits)
    try:
        refusal = _submitted(line, graph, client_id, number)
        if refusal is not None:
            raise _refused(refusal)
        while job.ended is None:
            check(watch)
            event = events.next(_TICK_S)
            if event is not None:
                job.hear(event)
            elif events.lost:
                job.ask_soon()
            job.ask_if_due()
        return Made(job.ended, time.monotonic() - job.began)
    finally:
        events.close()
        if job.ended is None and not line.own:  # one of our own ends with all its jobs
            line.client.withdraw(number)


def _submitted(line: Line, graph: Graph, client_id: str, number: str) -> Refusal | None:
    try:
        return line.client.submit(graph, client_id, number)
    except NoAnswer as error:
        # One that breaks off as it dies is not told of at once.
        raise died(line) if error.gone or _code(line) is not None else _odd(error) from error


def _odd(error: NoAnswer) -> Failed:
    return Failed("failed", "no-answer", f"ComfyUI does not answer as it should: {error}")


def died(line: Line) -> Failed:
    """The server's process has ended, or nobody listens any more."""
    code = _code(line)
    if code is None:
        return Failed("failed", "server-died", "The ComfyUI server ended during the run.")
    return Failed("failed", "killed" if code == _KILLED else "server-died", ended_how(code))


def _code(line: Line) -> int | None:
    """The exit code of our own server's process, waited for a moment; None while it runs."""
    end = time.monotonic() + _TOLD_S
    while (code := line.code()) is None and line.own and time.monotonic() < end:
        time.sleep(0.05)
    return code


def ended_how(code: int) -> str:
    """How a server's process ended, by its exit code."""
    if code < 0:
        return f"ComfyUI was ended by signal {-code}."
    return f"ComfyUI ended by itself with code {code}."


def _refused(refusal: Refusal) -> Failed:
    stage = PHASES.get(refusal.node, "")
    says = f"ComfyUI does not take the job: {refusal.says}"
    return Failed("failed", refusal.kind, says, refusal.text, stage)


class _Prompt:
    """What is known of one job so far; ended: None until it has."""

    def __init__(
        self, line: Line, graph: Graph, number: str, picture: int, watch: Watch, stage: Stage,
        limits: Limits,
    ) -> None:  # fmt: skip
        self._line, self._graph, self._number, self._picture = line, graph, number, picture
        self._watch, self._stage, self._limits = watch, stage, limits
        self._messages: list[tuple[str, dict[str, Any]]] = []
        self._outputs: list[object] = []
        self._heard = self._asked = self.began = time.monotonic()
        self._gone, self._noted = 0, False
        self.ended: Ended | None = None

    def hear(self, event: Event) -> None:
        """Take in a message of the server's."""
        data = event.data
        if data.get("prompt_id") != self._number:
            return
        self._heard = self._asked = time.monotonic()
        if event.name == "execution_start":
            self.began = self._heard
        elif event.name == "executing":
            if data.get("node") is None:
                self.ask_soon()
            else:
                self._stage.began(phase_of(self._graph, str(data["node"])), self._picture)
        elif event.name == "progress":
            self._progress(data)
        elif event.name == "executed":
            self._outputs = [*self._outputs, data.get("output")][-len(self._graph) :]
        elif event.name.startswith("execution_") and len(self._messages) < len(self._graph):
            self._messages.append((event.name, data))
            self._conclude(verdict(self._messages, pictures_of(self._outputs)))

    def ask_soon(self) -> None:
        """The messages may be over: ask the history next."""
        self._asked = min(self._asked, time.monotonic() - self._limits.silent)

    def ask_if_due(self) -> None:
        """Ask what became of the job, where nothing was heard for a while.

        Raises:
            Failed: the server died, the job was taken out of the queue, or it hangs.
        """
        if self.ended is not None or time.monotonic() - self._asked < self._limits.silent:
            return
        self._asked = time.monotonic()
        try:
            self._ask()
            self._gone = 0
        except NoAnswer as error:
            self._gone += error.gone
            if self._line.code() is not None or self._gone >= _GONE:
                raise died(self._line) from error
        if self.ended is None and time.monotonic() - self._heard > self._limits.quiet:
            says = f"ComfyUI has not moved for {self._limits.quiet:.0f} s"
            raise Failed("failed", "hung", f"{says} ({self._stage.name or 'before it began'}).")

    def _ask(self) -> None:
        client, number = self._line.client, self._number
        self._conclude(client.ended(number))
        if self.ended is not None:
            return
        queue = client.queue()
        if number in queue.pending:
            self._heard = time.monotonic()  # others are at work; that is no hanging
            if not self._noted:
                self._noted = True
                self._watch.note("ComfyUI works at a job that was queued before; waiting for it")
        elif number not in queue.running:
            self._conclude(client.ended(number))
            if self.ended is None:
                says = "The job was taken out of ComfyUI's queue before it ended."
                raise Failed("interrupted", "interrupted", says)

    def _conclude(self, ended: Ended | None) -> None:
        if ended is None:
            return
        if ended.how == "success" and not ended.pictures:
            try:
                ended = self._line.client.ended(self._number) or ended
            except NoAnswer:
                pass
        self.ended = ended

    def _progress(self, data: dict[str, Any]) -> None:
        done, total = data.get("value"), data.get("max")
        if phase_of(self._graph, str(data.get("node"))) != "denoise":
            return
        if _is_count(done) and _is_count(total):
            self._watch.progress(int(done), int(total))  # type: ignore[arg-type]


def _is_count(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= _MOST_STEPS
