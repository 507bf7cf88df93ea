"""The chain of a rehearsal: the doctor's own commands, one after the other, on the stage."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from klein_doctor.rehearse.hub import Hub
from klein_doctor.rehearse.index import PackageIndex
from klein_doctor.rehearse.janitor import mark
from klein_doctor.rehearse.stage import CARD, FAULTS, Stage

_LIMIT_S = 300.0
_FIXES = 2  # runs of --fix, each taken back by itself
_RED = ("fail", "warn")
_SIDE = "128"  # pixels: enough for a miniature
_STACK = ("torch", "diffusers", "transformers", "accelerate")


class Act(NamedTuple):
    """One thing that was tried. ok: None where it was left out, and says tells why.

    lines: what a person should see of it.
    """

    name: str
    title: str
    ok: bool | None
    says: str
    seconds: float
    lines: tuple[str, ...] = ()


class Ran(NamedTuple):
    """A command's end; document: its JSON, {} where there is none."""

    code: int
    document: dict[str, Any]
    error: str


class Failed(Exception):
    """The chain cannot go on; in one line."""


class Rehearsal:
    """One rehearsal below a folder, which must exist and be empty.

    Args:
        told: hears each act as it ends. tell: hears of each process that runs, for the janitor.
    """

    def __init__(self, top: Path, told: Callable[[Act], None], tell: Callable[[str], None]):
        self.top, self.told, self.tell = top, told, tell
        self.acts: list[Act] = []

    def all(self) -> tuple[Act, ...]:
        """Everything, to the end or to where it cannot go on."""
        mark(self.top)
        with Hub() as hub, PackageIndex() as index:
            stage = Stage(self.top, hub, index)
            try:
                self._act("stage", "a ComfyUI with six faults", lambda: _built(stage))
                before = stage.contents()
                self._act("diagnose", "what the doctor sees", lambda: self._diagnosed(stage))
                self._act("plan", "what it would do", lambda: self._planned(stage))
                self._act("fix", "what it does", lambda: self._fixed(stage))
                self._act("prove", "a second look", lambda: self._proven(stage))
                self._act("generate", "three pictures", lambda: self._generated(stage))
                self._act("undo", "all of it taken back", lambda: self._undone(stage, before))
            except Failed:
                pass
        return tuple(self.acts)

    def _act(self, name: str, title: str, do: Callable[[], tuple[bool | None, str, list[str]]]
             ) -> None:  # fmt: skip
        began = time.monotonic()
        try:
            ok, says, lines = do()
        except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
            ok, says, lines = False, f"it could not be done: {_line(error)}", []
        act = Act(name, title, ok, says, time.monotonic() - began, tuple(lines))
        self.acts.append(act)
        self.told(act)
        if ok is False and name in ("stage", "diagnose", "fix"):
            raise Failed(says)

    def _diagnosed(self, stage: Stage) -> tuple[bool, str, list[str]]:
        ran = self._doctor(stage)
        red = _red(ran.document)
        missed = [fault for fault in FAULTS if fault.check not in red]
        lines = [f"{'MISSED' if f in missed else 'named'} {f.check}: {f.says}" for f in FAULTS]
        if missed:
            return False, f"it did not name {', '.join(f.check for f in missed)}", lines
        return True, f"all {len(FAULTS)} faults are named; exit code {ran.code}", lines

    def _planned(self, stage: Stage) -> tuple[bool, str, list[str]]:
        ran = self._doctor(stage, "--fix", "--dry-run")
        steps = ran.document["plan"]
        ours = [step for step in steps if step["grade"] != "manual"]
        lines = [f"{step['fix']}: {step['title']}" for step in ours]
        return bool(ours), f"{len(ours)} steps; nothing was changed", lines

    def _fixed(self, stage: Stage) -> tuple[bool, str, list[str]]:
        ran = self._doctor(stage, "--fix")
        ends = [step for step in ran.document["steps"] if step["state"] != "manual"]
        opened = self._doctor(stage, "--fix", "--only", "loopback-only")
        ends += [step for step in opened.document["steps"] if step["state"] != "manual"]
        lines = [f"{step['state']}: {step['title']}" for step in ends]
        bad = [step for step in ends if step["state"] not in ("done", "skipped")]
        fetched = sum(request.origin == "store" for request in stage.hub.requests)
        says = f"{sum(s['state'] == 'done' for s in ends)} steps done and proven"
        says += f", {fetched} files fetched from the embedded Hub" if fetched else ""
        return not bad and bool(ends), says, lines

    def _proven(self, stage: Stage) -> tuple[bool, str, list[str]]:
        ran = self._doctor(stage)
        verdicts = _verdicts(ran.document)
        left = [f for f in FAULTS if f.check in _red(ran.document)]
        by_hand = [f for f in left if verdicts[f.check] == "warn"]
        if len(by_hand) < len(left):
            return False, f"still there: {', '.join(f.check for f in left)}", []
        says = "no planted fault is left"
        if by_hand:
            says = "no failure is left; by hand only in a container: "
            says += ", ".join(fault.check for fault in by_hand)
        others = sorted(name for name, v in verdicts.items() if v == "fail")
        lines = [f"of this machine, not of the rehearsal: {name}" for name in others]
        return True, says, lines

    def _generated(self, stage: Stage) -> tuple[bool | None, str, list[str]]:
        lacking = [name for name in _STACK if importlib.util.find_spec(name) is None]
        if lacking:
            return None, (
                f"left out: {', '.join(lacking)} not installed beside the doctor; pip install "
                "'.[diffusers]' where it was installed from brings them (several GB)"
            ), []  # fmt: skip
        ran = self._doctor(
            stage, "generate", "--route", "diffusers", "--device", "cpu", "--expect", "reference",
            "--size", _SIDE, "--python", sys.executable, comfyui=False,
        )  # fmt: skip
        made = ran.document.get("generation")
        if not made:
            return False, f"none was begun (exit code {ran.code}): {ran.error}", []
        seeds, seconds = made["picture"]["seeds"], made["seconds"]["pictures"]
        lines = [f"seed {seed}: {took:.1f} s" for seed, took in zip(seeds, seconds, strict=True)]
        says = f"{len(seeds)} pictures by the real diffusers on the processor: {made['verdict']}"
        return ran.code == 0, says, lines

    def _undone(self, stage: Stage, before: dict[str, str]) -> tuple[bool, str, list[str]]:
        stage.index.stop()
        for _ in range(_FIXES):
            self._doctor(stage, "undo", judge=False)
        after = {n: d for n, d in stage.contents().items() if not n.endswith(".parked")}
        changed = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
        if changed:
            return False, f"{len(changed)} files differ from before", changed[:5]
        return True, "every file has its first bytes again, without a network", []

    def _doctor(
        self, stage: Stage, *arguments: str, comfyui: bool = True, judge: bool = True
    ) -> Ran:
        """One command, as a script would run it."""
        words = [*arguments, "--state-dir", str(stage.state)]
        if judge:
            words += ["--recipe", str(stage.recipe), "--format", "json"]
            words += ["--assume", CARD, "--comfyui", str(stage.comfyui)] if comfyui else []
        argv = [sys.executable, "-m", "klein_doctor", *words]
        with self._running(argv, stage) as process:
            out, err = process.communicate(timeout=_LIMIT_S)
        last = err.decode("utf-8", "replace").strip().splitlines()[-1:]
        document = json.loads(out) if judge and out.startswith(b"{") else {}
        if judge and not document:
            raise ValueError(" ".join(last) or f"exit code {process.returncode}")
        return Ran(process.returncode, document, " ".join(last))

    @contextmanager
    def _running(self, argv: Sequence[str], stage: Stage) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen(
            argv, env=stage.environment(), cwd=stage.top, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.tell(f"pid {process.pid}")
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
            self.tell(f"done {process.pid}")


def janitor(top: Path) -> subprocess.Popen[str]:
    """The process that clears the folder up when this one ends, however that is."""
    return subprocess.Popen(
        [sys.executable, "-m", "klein_doctor.rehearse.janitor", str(top)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        start_new_session=sys.platform != "win32",
    )  # fmt: skip


def teller(stream: IO[str] | None) -> Callable[[str], None]:
    """Writes lines to the janitor; nobody listens where the folder is kept."""

    def tell(line: str) -> None:
        if stream is not None:
            stream.write(line + "\n")
            stream.flush()

    return tell


def _built(stage: Stage) -> tuple[bool, str, list[str]]:
    stage.build()
    return True, f"below {stage.top}", [fault.says for fault in FAULTS]


def _verdicts(document: dict[str, Any]) -> dict[str, str]:
    worst: dict[str, str] = {}
    for finding in document["findings"]:
        if worst.get(finding["check"]) != "fail":
            worst[finding["check"]] = finding["verdict"]
    return worst


def _red(document: dict[str, Any]) -> set[str]:
    return {name for name, verdict in _verdicts(document).items() if verdict in _RED}


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
