"""A program of the target that a test generation runs: fed, listened to, and ended for certain.

On POSIX it leads a process group of its own. The group is ended before the leader's number is
given back to the system, so that no stranger's process can be meant.
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
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import psutil

from klein_doctor.processes import tied

_LONGEST_LINE = 1 << 16
_KEPT_LINES = 200
_LOG_BYTES = 4 << 20
_GRACE_S = 5.0
_WAITING = 1024  # messages that may wait to be heard


class WorkerProcess:
    """A running program. What it says is a stream of JSON objects, one a line; the rest is dropped.

    Args:
        text: its standard input. log: where its standard error goes, up to 4 MiB.

    Raises:
        OSError: it cannot be started, or the log cannot be written.
    """

    def __init__(
        self, argv: Sequence[str], text: str, *, cwd: Path, env: Mapping[str, str], log: Path
    ) -> None:
        self.tail: deque[str] = deque(maxlen=_KEPT_LINES)
        self._said: queue.Queue[dict[str, Any]] = queue.Queue(_WAITING)
        self._log = log.open("wb")
        flags = 0
        if sys.platform == "win32":
            flags = subprocess.CREATE_NO_WINDOW
        try:
            self._process = subprocess.Popen(
                tied(argv, env),
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=sys.platform != "win32",
                creationflags=flags,
            )
        except OSError:
            self._log.close()
            raise
        self.pid = self._process.pid
        self._threads = [
            threading.Thread(target=self._guarded, args=each, daemon=True)
            for each in (
                (self._feed, self._process.stdin, text),
                (self._listen, self._process.stdout),
                (self._keep, self._process.stderr),
            )
        ]
        for thread in self._threads:
            thread.start()

    def hear(self, wait_s: float) -> dict[str, Any] | None:
        """The next thing it says; None where it says nothing for so long."""
        try:
            return self._said.get(timeout=wait_s)
        except queue.Empty:
            return None

    def ended(self) -> bool:
        """Whether it has ended; its process group may live on until end()."""
        if self._process.returncode is not None:
            return True
        if sys.platform == "win32":
            return self._process.poll() is not None
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.pid, options) is not None
        return True

    def talking(self) -> bool:
        """Whether something it said may still come."""
        return self._threads[1].is_alive() or not self._said.empty()

    def end(self) -> tuple[int | None, bool]:
        """End it with all it started, politely at first; its exit status and whether all is gone.

        The status is negative for a signal, None where it does not end, stuck in a driver.
        """
        family = _children(self.pid)
        if not self.ended():
            with contextlib.suppress(OSError):
                self._process.terminate()
            end = time.monotonic() + _GRACE_S
            while not self.ended() and time.monotonic() < end:
                time.sleep(0.02)
        if sys.platform != "win32" and self._process.returncode is None:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
        for each in family:
            with contextlib.suppress(psutil.Error):
                each.kill()
        with contextlib.suppress(subprocess.TimeoutExpired, OSError):
            self._process.wait(_GRACE_S)
        for thread in self._threads:
            thread.join(_GRACE_S)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()
        with contextlib.suppress(OSError):
            self._log.close()
        status = self._process.returncode
        return status, status is not None and not self._group_lives()

    def _group_lives(self) -> bool:
        if sys.platform == "win32":
            return False
        end = time.monotonic() + _GRACE_S
        while time.monotonic() < end:  # the killed ones may still be on their way out
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return False
            except OSError:
                return True
            time.sleep(0.02)
        return True

    def _guarded(self, work: Any, *args: Any) -> None:
        """A stream that breaks, or a full disk, ends a thread and nothing else."""
        with contextlib.suppress(OSError, ValueError):
            work(*args)

    def _feed(self, stream: IO[bytes], text: str) -> None:
        with stream:
            stream.write(text.encode("utf-8"))

    def _listen(self, stream: IO[bytes]) -> None:
        while line := stream.readline(_LONGEST_LINE):
            if not line.startswith(b"{"):
                continue
            with contextlib.suppress(ValueError, RecursionError, queue.Full):
                message = json.loads(line)
                if isinstance(message, dict):
                    self._said.put(message, timeout=_GRACE_S)

    def _keep(self, stream: IO[bytes]) -> None:
        room = _LOG_BYTES
        while line := stream.readline(_LONGEST_LINE):
            self.tail.append(line.decode("utf-8", "replace"))
            if room > 0:
                with contextlib.suppress(OSError):
                    self._log.write(line[:room])
                    self._log.flush()
                room -= len(line)


def _children(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
        return found
    return []
