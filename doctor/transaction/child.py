"""Programs the doctor runs for a repair: bounded, logged, ended with all that they started."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from klein_doctor.privacy import without_signature
from klein_doctor.processes import GRACE_S, end, tied
from klein_doctor.state import own_like_parent
from klein_doctor.steps import StepFailed
from klein_doctor.values import printable

_LINES = 400  # kept of what a program prints, for its message
_LONGEST = 300


class Child:
    """Runs programs to their end.

    Args:
        log: where everything they print is written. env: their environment.
        stop: when set, the running program is ended. left_s: seconds left to the run, None: all.
    """

    def __init__(
        self,
        log: Path,
        env: Mapping[str, str],
        stop: threading.Event | None = None,
        left_s: Callable[[], float | None] = lambda: None,
    ):
        self._log = log
        self._env = dict(env)
        self._stop = stop or threading.Event()
        self.left_s = left_s

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        limit_s: float = 3600.0,
        told: Callable[[str], None] | None = None,
    ) -> str:
        """Run a program and answer its standard output; told hears each line of it as it comes.

        env: added to the environment; an empty value takes the variable out.

        Raises:
            StepFailed: it cannot be started, ran out of time, or ended with another code than 0.
        """
        left = self.left_s()
        deadline = left is not None and left < limit_s
        limit_s = limit_s if left is None else min(limit_s, max(left, 0.0))
        both = {**self._env, **(env or {})}
        try:
            process = subprocess.Popen(
                tied(argv, both),
                cwd=cwd,
                env={key: value for key, value in both.items() if value != ""},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=sys.platform != "win32",
            )
        except OSError as error:
            raise StepFailed(f"{argv[0]} cannot be started: {error.strerror or error}") from error
        out: list[str] = []
        tail: deque[str] = deque(maxlen=_LINES)
        with self._kept(process), _appended(self._log) as log:
            own_like_parent(self._log)
            log.write("$ " + without_signature(" ".join(map(str, argv))) + "\n")
            readers = [
                _reader(process.stdout, (out.append, tail.append, log.write), told),
                _reader(process.stderr, (tail.append, log.write), told),
            ]
            late = not self._wait(process, limit_s)
            for reader in readers:
                reader.join(GRACE_S)
        name = Path(argv[0]).name
        if late:
            until = "the deadline" if deadline else f"the limit of {limit_s:.0f} s"
            raise StepFailed(f"{name} was still at work at {until}", again=True)
        if process.returncode:
            said = self.telling(list(tail)) or f"it ended with code {process.returncode}"
            raise StepFailed(f"{name} says: {said}")
        return "".join(out)

    @staticmethod
    def telling(lines: Sequence[str]) -> str:
        """The line in which a program says what went wrong: its last error, else its last line."""
        clean = [printable(without_signature(line.strip()), _LONGEST) for line in lines]
        # pip's last line of a conflict says less than the one before.
        clean = [line for line in clean if line and "ResolutionImpossible" not in line]
        # What it did not see coming, it prints as a traceback, whose last line tells.
        if "ERROR: Exception:" in clean:
            return clean[-1]
        errors = [line for line in clean if line.lower().startswith(("error", "fatal", "\u00d7 "))]
        return (errors or clean or [""])[-1]

    def _wait(self, process: subprocess.Popen[bytes], limit_s: float) -> bool:
        end = time.monotonic() + limit_s
        while process.poll() is None:
            if self._stop.is_set():
                raise KeyboardInterrupt
            if time.monotonic() > end:
                return False
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        return True

    @contextlib.contextmanager
    def _kept(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Whatever happens, nothing that was started goes on running."""
        try:
            yield
        finally:
            if process.poll() is None:
                end(process)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError, ValueError):
                        stream.close()


@contextlib.contextmanager
def _appended(path: Path) -> Iterator[IO[str]]:
    """A log to be added to; on a full disk what it lacks is no reason to lose what was said."""
    stream = open(path, "a", encoding="utf-8")
    try:
        yield stream
    finally:
        with contextlib.suppress(OSError):
            stream.close()


def _reader(
    stream: IO[bytes] | None,
    sinks: Sequence[Callable[[str], object]],
    told: Callable[[str], None] | None,
) -> threading.Thread:
    def read() -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in stream or ():
                text = line.decode("utf-8", "replace")
                for sink in sinks:
                    sink(text)
                if told is not None:
                    told(text.rstrip())

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread
