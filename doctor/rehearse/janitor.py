"""Clears up after a rehearsal, whatever became of it: a process that outlives it for a moment.

Started as ``python -m klein_doctor.rehearse.janitor FOLDER``. On standard input it is told which
processes run, ``pid N`` a line, and which have ended, ``done N``. When its input ends, because the
rehearsal did or was killed, it ends those processes and what they started, and removes the folder.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

_MARK = ".klein-doctor-rehearsal"
_TRIES, _PAUSE_S = 20, 0.25


def mark(folder: Path) -> None:
    """Say that the folder is a rehearsal's: no other is ever removed."""
    (folder / _MARK).write_text("made by klein-doctor rehearse\n", encoding="utf-8")


def main(folder: Path) -> int:
    """Wait for the end, then clear up; answers with 1 where something stayed."""
    running: set[int] = set()
    for line in sys.stdin:
        word, _, number = line.partition(" ")
        (running.add if word == "pid" else running.discard)(int(number))
    end(running)
    if not (folder / _MARK).exists():
        return 0
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return 0
        time.sleep(_PAUSE_S)  # Windows frees the files of a program some time after its end
    return 1


def end(pids: Iterable[int]) -> None:
    """End processes and all that they started."""
    found: list[psutil.Process] = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            found += [process, *process.children(recursive=True)]
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(found, timeout=5)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
