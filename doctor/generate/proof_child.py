"""A child of the target's Python that runs the kernel proof, and what it says before it ends.

It may crash, hang, or print whatever it likes: each stage has its time, and nothing stays behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from klein_doctor.processes import GRACE_S, end, tied

SCRIPT = Path(__file__).with_name("proof_script.py")
# Reads the script, so that it need not lie where the target's Python would look for modules.
_BOOT = (
    "import sys; exec(compile(sys.stdin.buffer.read(int(sys.argv[1])), sys.argv[2], 'exec'),"
    " {'__name__': '__main__'})"
)
_MOST_LINES = 1000
_LONGEST_LINE = 1 << 16
_TAIL = 1 << 13  # kept of what goes to standard error, for its last line
_PULSE_S = 0.1


class End(NamedTuple):
    """How a child ended.

    how: ``done``, ``hung``, ``crashed`` (it ended without a word) or ``not-started``. signal: the
    number of the signal that ended it, 0 where none did. says: in words.
    """

    how: str
    signal: int = 0
    says: str = ""


class ProofChild:
    """One conversation.

    Args:
        command: the target's Python. env: the child's environment. folder: where it runs.
        stop: when set, it is ended. left_s: seconds left to the whole run, None: no limit.
        started: told the child's process id.
    """

    def __init__(
        self,
        python: str,
        env: Mapping[str, str],
        folder: Path,
        stop: threading.Event,
        left_s: Callable[[], float | None],
        started: Callable[[int], None],
    ) -> None:
        self._python = python
        self._env = dict(env)
        self._folder = folder
        self._stop = stop
        self._left_s = left_s
        self._started = started

    def converse(
        self,
        job: Mapping[str, Any],
        limit_s: Callable[[], float],
        hear: Callable[[dict[str, Any]], None],
    ) -> End:
        """Run the script to its end.

        Args:
            job: what it is to do. limit_s: seconds that the stage begun last may take.
            hear: told each message.

        Raises:
            KeyboardInterrupt: it was asked to stop.
            TimeoutError: the whole run's time is over.
        """
        text = SCRIPT.read_bytes()
        argv = [self._python, "-B", "-c", _BOOT, str(len(text)), str(SCRIPT)]
        try:
            process = subprocess.Popen(
                tied(argv, self._env),
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=sys.platform != "win32",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except (OSError, ValueError) as error:
            return End("not-started", 0, str(getattr(error, "strerror", None) or error))
        try:
            self._started(process.pid)
            pipes = _Pipes(process, text + json.dumps(dict(job)).encode("ascii") + b"\n")
            return self._listen(pipes.lines, limit_s, hear) or _death(process, pipes)
        finally:
            end(process)

    def _listen(
        self,
        lines: queue.Queue[bytes],
        limit_s: Callable[[], float],
        hear: Callable[[dict[str, Any]], None],
    ) -> End | None:
        """Take in lines until it is done or late; None where it fell silent."""
        since = time.monotonic()
        while True:
            if self._stop.is_set():
                raise KeyboardInterrupt
            left = self._left_s()
            if time.monotonic() - since > limit_s():
                return End("hung", 0, f"no answer within {limit_s():g} s")
            if left is not None and left <= 0:
                raise TimeoutError("the time there was ran out")
            try:
                line = lines.get(timeout=_PULSE_S)
            except queue.Empty:
                continue
            if not line:
                return None
            message = _message(line)
            if "stage" in message:
                since = time.monotonic()
            hear(message)
            if message.get("done") is True:
                return End("done")


class _Pipes:
    """Threads at the child's pipes, since a pipe cannot be waited for on every platform.

    lines: what it said, b"" when no more will come.
    """

    def __init__(self, process: subprocess.Popen[bytes], question: bytes) -> None:
        self._process = process
        self._question = question
        self.lines: queue.Queue[bytes] = queue.Queue(_MOST_LINES + 1)
        self._tail = b""
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._talk, self._complaints)
        ]
        for thread in self._threads:
            thread.start()

    def last_line(self) -> str:
        """The last line that went to standard error."""
        self._threads[1].join(GRACE_S)
        said = self._tail.decode("utf-8", "replace").splitlines()
        return next((line.strip() for line in reversed(said) if line.strip()), "")

    def _talk(self) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        # An OSError here means that it ended without asking; its exit status says why.
        with contextlib.suppress(OSError), stdin:
            stdin.write(self._question)
        with contextlib.suppress(OSError), stdout:
            for _ in range(_MOST_LINES):
                line = stdout.readline(_LONGEST_LINE)
                if not line:
                    break
                self.lines.put(line)
        self.lines.put(b"")

    def _complaints(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        with contextlib.suppress(OSError), stderr:
            while piece := os.read(stderr.fileno(), 1 << 16):
                self._tail = (self._tail + piece)[-_TAIL:]


def _message(line: bytes) -> dict[str, Any]:
    """One of the script's messages; {} for anything else."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _death(process: subprocess.Popen[bytes], pipes: _Pipes) -> End:
    """Why it fell silent."""
    try:
        code = process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        return End("hung", 0, "it closed its output and went on")
    said = pipes.last_line()
    if code < 0:
        try:
            return End("crashed", -code, signal.Signals(-code).name)
        except ValueError:
            return End("crashed", -code, f"signal {-code}")
    shown = f"0x{code & 0xFFFFFFFF:08X}" if sys.platform == "win32" else str(code)
    return End("crashed", 0, f"exit code {shown}" + (f": {said}" if said else ""))
