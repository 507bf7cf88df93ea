"""The memory of a run, sampled from outside by a child that holds nothing on the card."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from klein_doctor.generation import Sample
from klein_doctor.privacy import without_folders
from klein_doctor.processes import end
from klein_doctor.values import printable

_CHILD = Path(__file__).with_name("sampling_child.py")
_INTERVAL_S = 0.05
_MOST = 600
_LONGEST = 256
_LONGEST_LINE = 4096
_FIRST_S = 5.0  # for the first sample, which is what the card held before the run
_GRACE_S = 2.0


class _Raw(NamedTuple):
    """A line of the child, in MiB; -1 where nobody could tell. mine: by the driver's list."""

    at_s: float
    used: int
    free: int
    mine: int
    ram: int


class Thinned:
    """The samples of a run of any length: at most so many, the heaviest of each stretch."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._kept: list[_Raw] = []
        self._stride = 1
        self._count = 0
        self._peaks: tuple[_Raw, ...] = ()

    def add(self, raw: _Raw) -> None:
        if self._count % self._stride == 0:
            self._kept.append(raw)
        else:
            self._kept[-1] = max(self._kept[-1], raw, key=_weight)
        self._count += 1
        # The highest of each figure stays, whatever the others were at that moment.
        rivals = (raw, *self._peaks)
        self._peaks = tuple(
            max(rivals, key=by) for by in (_weight, lambda r: r.mine, lambda r: r.ram)
        )
        if len(self._kept) > self._most - len(self._peaks):
            pairs = [self._kept[at : at + 2] for at in range(0, len(self._kept), 2)]
            self._kept = [max(pair, key=_weight) for pair in pairs]
            self._stride *= 2
            self._count = len(self._kept) * self._stride

    def all(self) -> list[_Raw]:
        """What was kept, in order of time."""
        return sorted({*self._kept, *self._peaks})


class Sampler:
    """Samples memory while the ``with`` block runs.

    Args:
        gpu: UUID of the card, "" for RAM alone. env: the child's environment, None for ours.

    by_process: whether the driver told what the run's processes hold. Where it does not (Windows,
    WSL, containers) what is theirs is what the card holds beyond what it held at first.
    fault: why the card is not told of, "" where it is.
    """

    def __init__(
        self,
        gpu: str = "",
        *,
        env: Mapping[str, str] | None = None,
        interval_s: float = _INTERVAL_S,
        python: str = sys.executable,
    ) -> None:
        self._gpu = gpu
        self._env = None if env is None else dict(env)
        self._interval_s = interval_s
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._first = threading.Event()
        self._before: _Raw | None = None
        self._thinned = Thinned()
        self._lock = threading.Lock()
        self.by_process = False
        self.fault = ""

    def __enter__(self) -> Sampler:
        try:
            self._process = subprocess.Popen(
                [self._python, "-I", str(_CHILD)],
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=sys.platform != "win32",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except (OSError, ValueError) as error:
            self.fault = f"Python could not be started to watch memory: {error}"
            return self
        path = [entry for entry in sys.path if entry]
        self._tell({"path": path, "gpu": self._gpu, "interval_s": self._interval_s})
        self._thread = threading.Thread(target=self._listen, daemon=True, name="sampler")
        self._thread.start()
        self._first.wait(_FIRST_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()  # tells it to end
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        end(process)
        if self._thread is not None:
            self._thread.join(_GRACE_S)

    def root(self, pid: int) -> None:
        """The memory of this process and of what it starts is the run's from now on."""
        self._tell({"root": pid})

    def samples(self) -> tuple[Sample, ...]:
        """What was seen so far, at most some hundreds, with every peak; at_s: time.monotonic()."""
        with self._lock:
            kept, before = self._thinned.all(), self._before
        base = before.used if before is not None else -1
        return tuple(self._sample(raw, base) for raw in kept)

    def _sample(self, raw: _Raw, base: int) -> Sample:
        ours = raw.mine if self.by_process else -1
        if not self.by_process and base >= 0 and raw.used >= 0:
            ours = max(0, raw.used - base)
        others = raw.used - ours if raw.used >= 0 and ours >= 0 else -1
        return Sample(raw.at_s, ours, max(others, -1), raw.free, raw.ram)

    def _tell(self, message: dict[str, object]) -> None:
        if self._process is None or self._process.stdin is None:
            return
        # Where it has ended there is nothing to tell it; the samples so far stay.
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(message).encode("ascii") + b"\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with contextlib.suppress(OSError), self._process.stdout as stream:
            while line := stream.readline(_LONGEST_LINE):
                self._hear(line)
        self._first.set()

    def _hear(self, line: bytes) -> None:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(found, list) or not found:
            return
        if isinstance(found[0], str):
            self.fault = printable(without_folders(found[0]), _LONGEST)
        elif len(found) == 5 and all(isinstance(part, (int, float)) for part in found):
            raw = _Raw(float(found[0]), *(int(part) for part in found[1:]))
            with self._lock:
                self._before = self._before or raw
                self.by_process = self.by_process or raw.mine > 0
                self._thinned.add(raw)
            self._first.set()


def _weight(raw: _Raw) -> tuple[int, int]:
    """What makes a moment worth keeping: memory of the card, then RAM."""
    return raw.used, raw.ram
