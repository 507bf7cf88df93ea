"""A program in a real pseudo-terminal of 80x24, and what somebody in front of it reads."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence

WAIT_S = 60.0
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][AB0]|\x1b[=>78]|\r")
UP, DOWN, ENTER, ESC, CTRL_C, CTRL_D = "\x1b[A", "\x1b[B", "\r", "\x1b", "\x03", "\x04"


# Makes the terminal the program's own, so that Ctrl-C there is a signal.
_OWN = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """One program at one terminal."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], columns: int = 80):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", _OWN, *command], env=dict(env), stdin=slave,
            stdout=slave, stderr=slave, close_fds=True, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.raw = ""
        self._read = 0

    @property
    def text(self) -> str:
        """All that was written, without control sequences."""
        return _CONTROL.sub("", self.raw)

    def until(self, wanted: str) -> str:
        """Wait for words that were not there at the last call; what came with them."""
        end = time.monotonic() + WAIT_S
        while wanted not in self.text[self._read :]:
            if time.monotonic() > end or not self._more(0.2):
                raise AssertionError(f"{wanted!r} did not come after:\n{self.text[self._read :]}")
        end_of_it = self.text.index(wanted, self._read) + len(wanted)
        found = self.text[self._read : end_of_it]
        self._read = end_of_it
        return found

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def end(self) -> int:
        """Wait for the end; the exit code."""
        end = time.monotonic() + WAIT_S
        while self.process.poll() is None and time.monotonic() < end:
            self._more(0.1)
        if self.process.poll() is None:
            raise AssertionError(f"it did not end after:\n{self.text[self._read :]}")
        code = self.process.wait(1)
        while self._more(0.0):
            pass
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self.master)

    def _more(self, wait_s: float) -> bool:
        """Read what there is; False at the end of the program."""
        ready, _, _ = select.select([self.master], [], [], wait_s)
        if not ready:
            return wait_s > 0
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.raw += data.decode("utf-8", "replace")
        return bool(data)
