"""The test generation over ComfyUI: the running server of the installation, or one of its own."""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from klein_doctor.generate.comfyui_client import Client, Ended, NoAnswer
from klein_doctor.generate.comfyui_given import Given
from klein_doctor.generate.comfyui_graph import PHASES, is_cached, text_to_image
from klein_doctor.generate.comfyui_prompt import Line, Stage, check, follow
from klein_doctor.generate.comfyui_server import Server, start
from klein_doctor.generate.faults import Failed, first_line, kind_of
from klein_doctor.generate.job import Attempt, Job, Made, Watch
from klein_doctor.generation import Remark
from klein_doctor.klein_graph import Sampling
from klein_doctor.privacy import Redactor
from klein_doctor.recipe_comfyui_run import RunRules, load_comfyui_run
from klein_doctor.values import printable

_TICK_S = 1.0
_MOST_REMARKS = 50
_LONGEST_LINE = 300
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_COLOURS = re.compile(r"\x1b\[[0-9;]{0,20}m")
_PACKAGES = ("comfy-kitchen", "comfy-aimdo")


class Means(NamedTuple):
    """What a run works with.

    remark: the kind of remark that a line of the log is, "" for none. redactor: of this machine.
    env: of a server that is started.
    """

    remark: Callable[[str], str]
    redactor: Redactor
    env: Mapping[str, str] = os.environ
    rules: RunRules | None = None


class _Session(NamedTuple):
    """A server to work with. lines: of its log since the run began."""

    line: Line
    stats: dict[str, Any]
    lines: Callable[[], list[str]]


class _Result:
    """What has come of a run so far."""

    def __init__(self) -> None:
        self.made: list[Made] = []
        self.lines: list[str] = []
        self.stats: dict[str, Any] = {}
        self.gone = True


def run(job: Job, watch: Watch, given: Given, means: Means) -> Attempt:
    """Make the pictures; whatever goes wrong is told in the answer.

    A server that was started has ended when this returns or raises (KeyboardInterrupt); of a
    user's own server only the jobs of this run are ever withdrawn.
    """
    rules = means.rules or load_comfyui_run()
    stage, result = Stage(watch), _Result()
    fault: Failed | None = None
    stage.began("start", 0)
    try:
        with _session(job, watch, given, means, rules, result) as session:
            result.stats = session.stats
            try:
                _wait_turn(session, watch, rules)
                for picture, seed in enumerate(job.seeds, 1):
                    result.made.append(
                        _make(session, job, given, picture, seed, watch, stage, rules)
                    )
            finally:
                result.lines = session.lines()
    except Failed as error:
        fault = error
    except OSError as error:
        kind = kind_of(type(error).__name__, str(error), rules.faults)
        fault = Failed("failed", kind, f"{error.strerror or error}: {error.filename or ''}")
    return Attempt(
        outcome=fault.outcome if fault else "done",
        stage=(fault.stage or stage.name) if fault else "",
        kind=fault.kind if fault else "",
        says=means.redactor.text(fault.says).public if fault else "",
        text=fault.text if fault else "",
        made=tuple(result.made),
        remarks=_remarks(result.lines, means),
        versions=_versions(result.stats),
        gone=result.gone,
    )


# --- the server ------------------------------------------------------------------------------


@contextlib.contextmanager
def _session(
    job: Job, watch: Watch, given: Given, means: Means, rules: RunRules, result: _Result
) -> Iterator[_Session]:
    running = _running(given, watch) if given.port is not None else None
    if running is not None:
        yield running
        return
    server, stats = start(given.start, job, watch, rules.limits.start, means.env)
    line = Line(Client(server.port), server.code, True)
    try:
        try:
            yield _Session(line, stats, server.log.lines)
        except Failed as error:
            # A server that was ended tells why in its last words.
            raise _with_log(error, server) if server.code() is not None else error from None
    finally:
        result.gone = server.stop()


def _with_log(error: Failed, server: Server) -> Failed:
    server.log.close()
    text = f"{error.text}\n{server.log.end()}"
    return Failed(error.outcome, error.kind, error.says, text, error.stage)


def _running(given: Given, watch: Watch) -> _Session | None:
    """The server that runs; None where it does so no more."""
    client = Client(given.port or 0)
    try:
        stats = client.stats()
        mark = _last(client)
    except NoAnswer:
        return None
    if given.pid is not None:
        watch.root(given.pid)
    watch.note(f"ComfyUI runs on port {client.port}; the pictures are made there")

    def lines() -> list[str]:
        try:
            said = "".join(text for when, text in client.log() if when > mark)
        except NoAnswer:
            return []
        return said.splitlines()

    return _Session(Line(client, lambda: None, False), stats, lines)


def _last(client: Client) -> str:
    """The time of the last line of a server's log, as it writes it; "" where it shows none."""
    try:
        return max((when for when, _ in client.log()), default="")
    except NoAnswer:
        return ""


def _wait_turn(session: _Session, watch: Watch, rules: RunRules) -> None:
    """Wait until a user's server has nothing of theirs to do.

    Raises:
        Failed: refused, where it does not come to that in time.
    """
    if session.line.own:
        return
    began, noted = time.monotonic(), False
    while True:
        try:
            queue = session.line.client.queue()
        except NoAnswer as error:
            raise Failed("failed", "no-answer", f"ComfyUI does not answer: {error}") from error
        jobs = len(queue.running) + len(queue.pending)
        if not jobs:
            return
        if not noted:
            noted = True
            watch.note(f"ComfyUI is busy with {jobs} job(s) of yours; waiting until it is done")
        left = watch.left_s()
        over = left <= 0 if left is not None else time.monotonic() - began > rules.limits.queue
        if over:
            says = f"ComfyUI is busy: {jobs} job(s) of yours run or wait. They were left alone."
            raise Failed("refused", "queue-busy", says)
        if watch.stop.wait(_TICK_S):
            check(watch)


# --- a picture -------------------------------------------------------------------------------


def _make(
    session: _Session, job: Job, given: Given, picture: int, seed: int, watch: Watch,
    stage: Stage, rules: RunRules,
) -> Made:  # fmt: skip
    how = Sampling(job.prompt, job.width, job.height, job.steps, float(job.guidance), seed)
    # What a user's server saves would stay among their pictures.
    prefix = "klein-doctor" if session.line.own else None
    graph = text_to_image(given.parts, how, uuid.uuid4().hex, prefix)
    stage.began("load", picture)
    made = follow(session.line, graph, picture, watch, stage, rules.limits)
    _judge(made.ended, rules)
    stage.began("save", picture)
    data = _fetched(session, made.ended)
    path = job.folder / f"{picture}-{seed}.png"
    path.write_bytes(data)
    if not (data.startswith(_PNG) and data.endswith(_PNG_END)):
        says = "The picture that ComfyUI saved is not a whole PNG file."
        raise Failed("failed", "picture-damaged", says, says)
    return Made(seed, path, made.seconds, is_cached(graph, made.ended.cached), "")


def _judge(ended: Ended, rules: RunRules) -> None:
    """Raise Failed where a job ended otherwise than well."""
    if ended.how == "interrupted":
        says = "The job was interrupted in ComfyUI."
        raise Failed("interrupted", "interrupted", says)
    if ended.how == "error":
        kind = kind_of(ended.exception, ended.message, rules.faults)
        says = f"{ended.node}: {first_line(ended.message) or ended.exception}"
        head = "Traceback (most recent call last):\n" if ended.trace else ""
        text = f"{head}{ended.trace}{ended.exception}: {ended.message}"
        raise Failed("failed", kind, says, text, PHASES.get(ended.node, ""))
    if not ended.pictures:
        says = "ComfyUI reports success but names no picture."
        raise Failed("failed", "picture-missing", says, stage="save")


def _fetched(session: _Session, ended: Ended) -> bytes:
    try:
        reply = session.line.client.picture(ended.pictures[-1])
    except NoAnswer as error:
        says = f"The picture could not be fetched from ComfyUI: {error}"
        raise Failed("failed", "picture-missing", says) from error
    if reply.status != 200:
        says = f"ComfyUI does not find the picture that it saved (status {reply.status})."
        raise Failed("failed", "picture-missing", says)
    return reply.body


# --- what is told ----------------------------------------------------------------------------


def _remarks(lines: list[str], means: Means) -> tuple[Remark, ...]:
    found: dict[Remark, None] = {}
    for line in lines:
        clean = _COLOURS.sub("", line).strip()
        kind = means.remark(clean) if clean else ""
        if kind and len(found) < _MOST_REMARKS:
            shown = means.redactor.text(printable(clean, _LONGEST_LINE)).public
            found[Remark(kind, shown)] = None
    return tuple(found)


def _versions(stats: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    found = {
        "comfyui": stats.get("comfyui_version"),
        "torch": stats.get("pytorch_version"),
        "python": str(stats.get("python_version") or "").partition(" ")[0],
    }
    packages = stats.get("comfy_package_versions")
    for each in packages if isinstance(packages, list) else []:
        if isinstance(each, dict) and each.get("name") in _PACKAGES:
            found[str(each["name"])] = each.get("installed")
    return tuple(
        (name, printable(value, 80))
        for name, value in found.items()
        if isinstance(value, str) and value
    )
