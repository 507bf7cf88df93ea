"""Programs the doctor starts: they end when it does, and nothing they started stays behind."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

import psutil

GRACE_S = 5.0
# Asks Linux to kill it when the doctor dies, then becomes the program: what a killed doctor
# had started must not go on working behind the back of the next one.
_TIED = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def tied(argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """The program, so that it ends with the doctor where the system can see to that.

    Raises:
        OSError: there is no such program.
    """
    if sys.platform != "linux" or not sys.executable:
        return list(argv)
    found = shutil.which(argv[0], path=env.get("PATH"))
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
    return [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *argv]


def end(process: subprocess.Popen[bytes]) -> bool:
    """End a program that was started here in a session of its own, and all that it started.

    Returns whether everything of it has ended.
    """
    family: list[psutil.Process] = []
    if process.poll() is None:
        with contextlib.suppress(psutil.Error):
            own = psutil.Process(process.pid)
            family = [*own.children(recursive=True), own]
    alive = _ended(family)
    with contextlib.suppress(subprocess.TimeoutExpired, OSError):
        process.wait(GRACE_S)
    return not alive and process.returncode is not None and not _ended(_left(process.pid))


def _ended(family: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Ask processes to end, then end them; those that go on all the same."""
    for each in family:
        with contextlib.suppress(psutil.Error):
            each.terminate()
    _, alive = psutil.wait_procs(family, timeout=GRACE_S)
    for each in alive:
        with contextlib.suppress(psutil.Error):
            each.kill()
    _, alive = psutil.wait_procs(alive, timeout=GRACE_S)
    return list(alive)


def _left(leader: int) -> list[psutil.Process]:
    """What outlived the process that led its session."""
    # A process of that number would be a stranger's: a session keeps its leader's number taken.
    if sys.platform == "win32" or psutil.pid_exists(leader):
        return []
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == leader:
                found.append(process)
    return found
