"""A ComfyUI server of the doctor's own: started on loopback, watched, and ended whatever happens.

It writes nothing of the user's: output, input, temporary files, user folder and database are its
own, and no bytecode is written. Arguments as in comfy/cli_args.py of ComfyUI 0.9.2 to 0.33.0.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from klein_doctor.generate.comfyui_client import Client, NoAnswer
from klein_doctor.generate.comfyui_prompt import check, ended_how
from klein_doctor.generate.faults import Failed
from klein_doctor.generate.job import Job, Watch
from klein_doctor.installation import PROXIES
from klein_doctor.processes import GRACE_S, end, tied
from klein_doctor.values import printable

LOG = "comfyui.log"
_LINES = 2000  # kept of what it prints
_LONGEST_LINE = 4096
_LONGEST_LOG = 8 << 20
_ENTRIES = 60  # of its last lines, in a message
_TICK_S = 0.25
_PORTS = 5  # tried, where others take them first
# What it prints where somebody else has the port (server.py).
_TAKEN = "is already in use"
# In its current folder: an address with the folder's whole path would need every sign escaped.
_DATABASE = "sqlite:///comfyui.db"


class Start(NamedTuple):
    """How a server is started.

    main: its main.py. base: the folder with models/ where that is not main's own, else "".
    isolated: the interpreter is given -s. path_files: YAML files of models that it is told of by
    arguments. arguments: more of them, as the card's memory asks for. custom_nodes: load them.
    """

    main: str
    base: str
    isolated: bool
    path_files: tuple[str, ...]
    arguments: tuple[str, ...]
    custom_nodes: bool = False


class Server:
    """A server that was started here; ended by stop(), whatever state it is in."""

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, log: _Log, folder: Path
    ) -> None:
        self.port = port
        self.pid = process.pid
        self.log = log
        self._process = process
        self._folder = folder

    def code(self) -> int | None:
        """The exit code of the process, None while it runs."""
        return self._process.poll()

    def stop(self) -> bool:
        """End it and all that it started; whether everything has ended."""
        try:
            return end(self._process)
        finally:
            self.log.close()
            shutil.rmtree(self._folder, ignore_errors=True)


def start(
    how: Start, job: Job, watch: Watch, limit_s: float, env: Mapping[str, str]
) -> tuple[Server, dict[str, Any]]:
    """Start a server and wait until it answers; with what it says of itself.

    Raises:
        Failed: it ended, or did not answer in time, or the run should end. Nothing of it is left.
    """
    for _ in range(_PORTS):
        server = _started(how, job, env)
        watch.root(server.pid)
        try:
            said = _answered(server, watch, limit_s)
        except BaseException:
            server.stop()
            raise
        if said is not None:
            return server, said
        server.stop()
    raise Failed("failed", "no-port", "No port of this machine stayed free for ComfyUI.")


def _started(how: Start, job: Job, env: Mapping[str, str]) -> Server:
    folder = Path(tempfile.mkdtemp(prefix="comfyui-", dir=job.folder))
    port = _free_port()
    full = _environment(env, job)
    try:
        process = subprocess.Popen(
            tied(_argv(how, job, port, folder), full),
            cwd=folder,  # where it writes a log of its own
            env=full,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=sys.platform != "win32",
        )
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        says = f"{job.python} cannot be started: {error.strerror or error}"
        raise Failed("failed", "not-started", says) from error
    return Server(process, port, _Log(process.stdout, job.folder / LOG), folder)


def _argv(how: Start, job: Job, port: int, folder: Path) -> list[str]:
    argv = [job.python, *(("-s",) if how.isolated else ()), how.main]
    argv += ["--listen", "127.0.0.1", "--port", str(port), "--disable-auto-launch"]
    for name in ("output", "input", "temp", "user"):
        own = folder / name
        own.mkdir()
        argv += [f"--{name}-directory", str(own)]
    argv += ["--database-url", _DATABASE, "--disable-api-nodes"]
    argv += [] if how.custom_nodes else ["--disable-all-custom-nodes"]
    argv += ["--base-directory", how.base] if how.base else []
    argv += ["--extra-model-paths-config", *how.path_files] if how.path_files else []
    return [*argv, *(("--cpu",) if job.device == "cpu" else how.arguments)]


def _environment(env: Mapping[str, str], job: Job) -> dict[str, str]:
    full = {name: value for name, value in env.items() if name not in PROXIES}
    full |= {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"}
    if job.gpu and job.device == "cuda":
        full["CUDA_VISIBLE_DEVICES"] = job.gpu
    return full


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _answered(server: Server, watch: Watch, limit_s: float) -> dict[str, Any] | None:
    """What it says of itself once it answers; None where somebody else has its port."""
    client, limit = Client(server.port), time.monotonic() + limit_s
    while True:
        check(watch)
        code = server.code()
        if code is not None:
            server.log.close()
            text = server.log.end()
            if _TAKEN in text:
                return None
            raise Failed("failed", "server-died", f"{ended_how(code)} {server.log.telling()}", text)
        with contextlib.suppress(NoAnswer):
            said = client.stats()
            if said:
                # Somebody else's, where it knows nothing of our folders.
                ours = str(server._folder / "output") in map(str, said.get("argv") or ())
                return said if ours else None
        if time.monotonic() > limit:
            says = f"ComfyUI did not answer within {limit_s:.0f} s of its start."
            raise Failed("failed", "hung", says, server.log.end() or says)
        watch.stop.wait(_TICK_S)


class _Log:
    """What a server prints: in a file up to a size, its last lines in memory."""

    def __init__(self, stream: IO[bytes] | None, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def lines(self) -> list[str]:
        return list(self._lines)

    def end(self) -> str:
        """Its last lines."""
        return "\n".join(self.lines()[-_ENTRIES:])

    def telling(self) -> str:
        """The last line in which something went wrong, else the last one."""
        lines = [line.strip() for line in self.lines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower() and not line.startswith("File")]
        return printable((errors or lines or [""])[-1], _LONGEST_LINE)

    def close(self) -> None:
        """Read what is left of an ended program's words."""
        self._thread.join(GRACE_S)
        if self._stream is not None and not self._thread.is_alive():
            self._stream.close()

    def _read(self) -> None:
        with contextlib.ExitStack() as stack:
            file: IO[bytes] | None = None
            with contextlib.suppress(OSError):
                file = stack.enter_context(open(self._path, "ab"))
            left = _LONGEST_LOG
            while self._stream is not None:
                try:
                    data = self._stream.readline(_LONGEST_LINE)
                except (OSError, ValueError):
                    return
                if not data:
                    return
                # A bar of progress writes over itself: the last of it counts.
                text = data.decode("utf-8", "replace").rstrip("\r\n")
                self._lines.append(text.rpartition("\r")[2])
                left -= len(data)
                if file is not None and left > 0:
                    with contextlib.suppress(OSError):  # a full disk; the lines stay in memory
                        file.write(data)
                        file.flush()
