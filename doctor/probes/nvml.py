"""What NVML (the driver's query library) says of the GPUs, asked in a child process.

A broken driver hangs or crashes whoever asks it, so nvml_child.py asks; what it said before it
fell silent is kept.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from klein_doctor.model import Fact, Gpu, GpuProcess, Known, MigInstance, Nvml, Private, Unknown
from klein_doctor.privacy import without_folders
from klein_doctor.values import printable

T = TypeVar("T")

_CHILD = Path(__file__).with_name("nvml_child.py")
_LOAD_CUDA = "load libcuda"
_MOST_BYTES = 1 << 20
_LONGEST = 256
_GRACE_S = 1.0
_OUTCOMES = {
    4: "no-permission",
    9: "driver-not-loaded",
    12: "library-missing",
    18: "version-mismatch",
}


@dataclass
class _Account:
    """What the child has said so far. gpus: index -> merged fields."""

    stage: str = ""
    system: dict[str, object] = field(default_factory=dict)
    gpus: dict[int, dict[str, object]] = field(default_factory=dict)
    error: tuple[int, str] | None = None
    cuda_library: str = ""
    nvml_done: bool = False
    done: bool = False

    def hear(self, line: bytes) -> None:
        """Take in one line; anything that is not one of the child's messages is ignored."""
        if not line.startswith(b"{"):
            return
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return
        if isinstance(message, dict):
            self._stage(message.get("stage"))
            self._facts(message)
            self._error(message.get("error"))
            self.done = self.done or message.get("done") is True

    def _stage(self, stage: object) -> None:
        if not isinstance(stage, str):
            return
        self.nvml_done = self.nvml_done or stage == _LOAD_CUDA
        if self.error is None:  # else the stage that failed is the one worth knowing
            self.stage = _text(stage)

    def _facts(self, message: dict[str, object]) -> None:
        system, gpu, cuda = (message.get(key) for key in ("system", "gpu", "cuda_library"))
        if isinstance(system, dict):
            self.system.update(system)
        if isinstance(gpu, dict) and isinstance(gpu.get("index"), int):
            self.gpus.setdefault(gpu["index"], {}).update(gpu)
        if isinstance(cuda, str):
            self.cuda_library = _message(cuda)

    def _error(self, error: object) -> None:
        if isinstance(error, dict) and isinstance(error.get("code"), int):
            self.error = (error["code"], _message(error.get("text", "")))


@dataclass(frozen=True)
class _End:
    """How the conversation ended. how: done, hung, crashed or error; detail: in words."""

    how: str
    detail: str = ""


def read_nvml(
    limit_s: float,
    redact: Callable[[str], Private],
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Nvml:
    """Ask NVML, for at most `limit_s` seconds; whatever goes wrong is told in the outcome.

    Args:
        redact: gives an identifier its public twin. env: the child's environment, None for ours.
    """
    account = _Account()
    try:
        end = _converse(account, limit_s, env, python)
    except (OSError, ValueError, RuntimeError) as error:  # no program, no room, no thread
        end = _End("error", _message(f"could not start Python to ask NVML: {error}"))
    return _nvml(account, end, redact)


# --- the conversation ------------------------------------------------------------------------


def _converse(
    account: _Account, limit_s: float, env: Mapping[str, str] | None, python: str
) -> _End:
    """Start the child and listen until it is done, gone, or out of time."""
    deadline = time.monotonic() + limit_s
    process = _start(python, env)
    # Interrupted, the doctor ends without this thread: its child must end with it.
    atexit.register(_stop, process)
    listener = _Listener(process, account)
    try:
        listener.start()
        over = listener.ended.wait(_left(deadline))
        return _end(process, listener, deadline) if over else _hung(limit_s)
    except subprocess.TimeoutExpired:
        return _hung(limit_s)
    finally:
        _stop(process)
        atexit.unregister(_stop)
        if listener.ident is not None:
            listener.join(_GRACE_S)


def _start(python: str, env: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW
    return subprocess.Popen(
        [python, "-I", str(_CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=None if env is None else dict(env),
        start_new_session=True,  # so that it can be killed with all it started
        creationflags=flags,
    )


class _Listener(threading.Thread):
    """Writes the question, reads the answers; `ended` is set when no more will come.

    A thread, since a pipe cannot be waited for with a limit on every platform.
    """

    def __init__(self, process: subprocess.Popen[bytes], account: _Account) -> None:
        super().__init__(name="nvml", daemon=True)
        assert process.stdin is not None and process.stdout is not None
        self._questions = process.stdin
        self._answers = process.stdout
        self.account = account
        self.ended = threading.Event()
        self.flooded = False

    def run(self) -> None:
        try:
            self._ask()
            self._listen()
        finally:
            self.ended.set()

    def _ask(self) -> None:
        path = [str(entry) for entry in sys.path if entry]
        question = json.dumps({"path": path}).encode("ascii")
        # An OSError means that the child ended without asking; its exit status says why.
        with contextlib.suppress(OSError), self._questions as stream:
            stream.write(question + b"\n")

    def _listen(self) -> None:
        taken = 0
        with self._answers as stream:
            while not self.account.done:
                line = stream.readline(_MOST_BYTES - taken)
                taken += len(line)
                self.flooded = taken >= _MOST_BYTES
                if not line or self.flooded:
                    return
                self.account.hear(line)


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _hung(limit_s: float) -> _End:
    return _End("hung", f"no answer within {limit_s:g} s")


def _end(process: subprocess.Popen[bytes], listener: _Listener, deadline: float) -> _End:
    """Why the child said no more."""
    if listener.account.done:
        return _End("done")
    if listener.flooded:
        return _End("error", "NVML's answers were longer than 1 MB")
    return _End("crashed", _cause(process.wait(max(_GRACE_S, _left(deadline)))))


def _cause(status: int) -> str:
    """An exit status in words: a signal's name, Windows' code in hex, or the number."""
    if status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    if sys.platform == "win32":
        return f"exit code 0x{status & 0xFFFFFFFF:08X}"
    return f"exit code {status}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Kill the child with all it started; one stuck inside the kernel is left behind."""
    if process.poll() is None:
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)


# --- from words to values --------------------------------------------------------------------


def _nvml(account: _Account, end: _End, redact: Callable[[str], Private]) -> Nvml:
    outcome, detail = _outcome(account, end)
    missing = _missing(outcome, account.stage)
    return Nvml(
        outcome=outcome,
        stage=account.stage,
        detail=detail,
        driver=_fact(account.system.get("driver"), _as_text, missing),
        cuda=_fact(account.system.get("cuda"), _as_version, missing),
        cuda_library=_cuda_library(account, end),
        gpus=tuple(
            _gpu(index, said, redact, missing) for index, said in sorted(account.gpus.items())
        ),
    )


def _outcome(account: _Account, end: _End) -> tuple[str, str]:
    """What became of NVML itself; trouble with libcuda afterwards is not NVML's."""
    if account.error is not None:
        code, text = account.error
        return _OUTCOMES.get(code, "error"), text
    if account.nvml_done:
        return "ok", ""
    return end.how, end.detail


def _missing(outcome: str, stage: str) -> str:
    """Why a value was never spoken of."""
    if outcome == "ok":
        return "NVML did not answer"
    how = {"hung": "NVML hung", "crashed": "NVML crashed"}.get(outcome, "NVML gave up")
    return f"{how} before this was read ({stage or 'start'})"


def _cuda_library(account: _Account, end: _End) -> Fact[str]:
    if account.cuda_library:
        return Known(account.cuda_library)
    if not account.nvml_done:
        return Unknown("not tried, since NVML did not get that far")
    if end.how == "crashed":
        return Known(f"loading it crashed ({end.detail})")
    return Unknown(f"loading it did not end ({end.detail})")


def _gpu(
    index: int, said: dict[str, object], redact: Callable[[str], Private], missing: str
) -> Gpu:
    fault = _message(said.get("fault") or "")
    missing = fault or missing
    uuid = _as_text(said.get("uuid"))
    return Gpu(
        nvml_index=index,
        name=_fact(said.get("name"), _as_text, missing),
        uuid=redact(uuid) if uuid else Private.plain(""),
        compute_capability=_fact(said.get("capability"), _as_pair, missing),
        total_bytes=_fact(said.get("total"), _as_int, missing),
        reserved_bytes=_fact(said.get("reserved"), _as_int, missing),
        used_bytes=_fact(said.get("used"), _as_int, missing),
        free_bytes=_fact(said.get("free"), _as_int, missing),
        display_active=_fact(said.get("display"), _as_bool, missing),
        compute_mode=_fact(said.get("mode"), _as_text, missing),
        mig_enabled=_fact(said.get("mig"), _as_bool, missing),
        mig_instances=_slices(said.get("slices"), redact, missing),
        processes=_fact(said.get("processes"), _as_processes, missing),
        driver_model=_fact(said.get("model"), _as_text, missing),
        fault=fault,
    )


def _slices(raw: object, redact: Callable[[str], Private], missing: str) -> tuple[MigInstance, ...]:
    found = []
    for part in raw if isinstance(raw, list) else ():
        uuid = _as_text(part.get("uuid")) if isinstance(part, dict) else None
        if uuid:  # a slice can be chosen by its identifier only
            found.append(MigInstance(redact(uuid), _fact(part.get("total"), _as_int, missing)))
    return tuple(found)


def _fact(raw: object, read: Callable[[object], T | None], missing: str) -> Fact[T]:
    if isinstance(raw, dict) and "unknown" in raw:
        return Unknown(_message(raw["unknown"]))
    value = read(raw)
    return Unknown(missing) if value is None else Known(value)


def _as_text(raw: object) -> str | None:
    return _text(raw) if isinstance(raw, str) and raw else None


def _as_bool(raw: object) -> bool | None:
    return raw if isinstance(raw, bool) else None


def _as_int(raw: object) -> int | None:
    return raw if isinstance(raw, int) and not isinstance(raw, bool) and raw >= 0 else None


def _as_pair(raw: object) -> tuple[int, int] | None:
    if not isinstance(raw, list) or len(raw) != 2:
        return None
    major, minor = _as_int(raw[0]), _as_int(raw[1])
    return None if major is None or minor is None else (major, minor)


def _as_version(raw: object) -> tuple[int, int] | None:
    """13000 -> (13, 0); 12080 -> (12, 8)."""
    number = _as_int(raw)
    return None if not number else (number // 1000, number % 1000 // 10)


def _as_processes(raw: object) -> tuple[GpuProcess, ...] | None:
    if not isinstance(raw, list):
        return None
    found = []
    for each in raw:
        pid = _as_int(each.get("pid")) if isinstance(each, dict) else None
        if pid is not None:
            used = _fact(each.get("used"), _as_int, "the driver does not say")
            found.append(GpuProcess(pid, _as_text(each.get("name")) or "", used))
    return tuple(found)


def _text(value: object) -> str:
    """Text for one line of a terminal: bounded, without control characters."""
    return printable(str(value), _LONGEST)


def _message(value: object) -> str:
    """A library's message without the folders in it, which can name people."""
    return _text(without_folders(str(value)[: 4 * _LONGEST]))
