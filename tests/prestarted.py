"""Processes of the doctor whose modules are read already: the price of a start is paid once.

Run as a program, this holds the modules and forks a process for each request; Prestarted is the
other end, in the test's process. What a user starts is a fresh interpreter: what depends on that
(signals, variables that Python itself reads, a terminal) is tested with one.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

POSSIBLE = hasattr(os, "fork") and hasattr(socket, "send_fds") and sys.platform == "linux"
_PACKAGE = "klein_doctor"
_LARGEST = 1 << 20
# Packages that read variables as they are imported: read here for what they need, not kept.
_FORGOTTEN = ("huggingface_hub",)
_LATER = ("huggingface_hub.file_download", "rich.progress", "PIL.PngImagePlugin", "questionary")


class Prestarted:
    """The process that forks, and what is asked of it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], env=dict(environment),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()],
            )  # fmt: skip

    def run(
        self, arguments: Sequence[str], env: Mapping[str, str], stdin: bytes, cwd: Path,
        limit_s: float,
    ) -> tuple[int, bytes, bytes]:  # fmt: skip
        """Exit code, standard output and standard error of the doctor; TimeoutExpired."""
        ends = [os.pipe() for _ in range(4)]
        inner = [ends[0][0], ends[1][1], ends[2][1], ends[3][1]]
        asked = {"arguments": list(arguments), "env": dict(env), "cwd": str(cwd)}
        try:
            socket.send_fds(self._ours, [json.dumps(asked).encode()], inner)
        finally:
            for fd in inner:
                os.close(fd)
        feed, out, err, status = ends[0][1], ends[1][0], ends[2][0], ends[3][0]
        got: dict[int, bytes] = {}
        threads = [threading.Thread(target=_read, args=(fd, got)) for fd in (out, err)]
        for thread in threads:
            thread.start()
        with contextlib.suppress(BrokenPipeError), open(feed, "wb") as stream:
            stream.write(stdin)
        with open(status, "rb", buffering=0) as stream:
            code = _ended(stream.fileno(), limit_s)
        for thread in threads:
            thread.join()
        if code is None:
            raise subprocess.TimeoutExpired([_PACKAGE, *arguments], limit_s, got[out], got[err])
        return code, got[out], got[err]


def _read(fd: int, got: dict[int, bytes]) -> None:
    with open(fd, "rb") as stream:
        got[fd] = stream.read()


def _ended(status: int, limit_s: float) -> int | None:
    """The exit code, negative for a signal; None where it had to be killed."""
    words: list[str] = []
    until = time.monotonic() + limit_s
    while select.select([status], [], [], max(0.0, until - time.monotonic()))[0]:
        data = os.read(status, 100)
        words += data.decode().split()
        if len(words) > 1 or not data:
            break
    if len(words) > 1:
        return int(words[1])
    if words:
        os.kill(int(words[0]), signal.SIGKILL)
    return None


def _serve(control: socket.socket) -> None:
    """Fork for each request until the other end is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        data, fds, _, _ = socket.recv_fds(control, _LARGEST, 4)
        if not data:
            return
        if not os.fork():
            control.close()
            _look_after(json.loads(data), fds)
        for fd in fds:
            os.close(fd)


def _look_after(request: dict[str, object], fds: list[int]) -> None:
    """Start the doctor in a child, whose code is reported; returns in the child alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, status = fds
    pid = os.fork()
    if pid:
        for fd in streams:
            os.close(fd)
        os.write(status, f"{pid} ".encode())
        _, waited = os.waitpid(pid, 0)
        os.write(status, str(os.waitstatus_to_exitcode(waited)).encode())
        os._exit(0)
    os.close(status)
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    _doctor(request)


def _doctor(request: dict[str, object]) -> NoReturn:
    """What ``python -m klein_doctor`` does after its start."""
    arguments, env, cwd = request["arguments"], request["env"], request["cwd"]
    assert isinstance(arguments, list) and isinstance(env, dict) and isinstance(cwd, str)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(cwd)
    sys.path[0] = cwd
    sys.dont_write_bytecode = bool(env.get("PYTHONDONTWRITEBYTECODE"))
    sys.argv = [_PACKAGE, *arguments]
    code: object = 0
    try:
        runpy.run_module(_PACKAGE, run_name="__main__", alter_sys=True)
    except SystemExit as left:
        code = left.code
    # The end of an interpreter without taking it to pieces, which would copy all of its memory.
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    assert isinstance(code, int)
    os._exit(code)


def _modules() -> Iterator[str]:
    package = importlib.import_module(_PACKAGE)
    for module in pkgutil.walk_packages(package.__path__, f"{_PACKAGE}."):
        if not module.name.endswith("__main__"):
            yield module.name


if __name__ == "__main__":
    with contextlib.closing(socket.socket(fileno=int(sys.argv[1]))) as asked:
        for name in (*_LATER, *_modules()):
            importlib.import_module(name)
        for name in [n for n in sys.modules if n.partition(".")[0] in _FORGOTTEN]:
            del sys.modules[name]
        gc.freeze()
        _serve(asked)
