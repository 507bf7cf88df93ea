"""ComfyUI servers that run on this machine, asked over loopback and nowhere else.

Endpoints: /system_stats of ComfyUI's server.py, /internal/folder_paths of its internal routes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from klein_doctor.boxed import Boxed
from klein_doctor.installation import Server
from klein_doctor.privacy import Redactor
from klein_doctor.probes.found import Answer
from klein_doctor.probes.launch_flags import flags, listen_class
from klein_doctor.probes.loopback import ask, listener
from klein_doctor.probes.outside import is_file
from klein_doctor.values import printable

if TYPE_CHECKING:
    from psutil import Process

T = TypeVar("T")

_MOST_PORTS = 16
_MOST = 64  # folders of a category, categories, GPUs
_MOST_ARGUMENTS = 512
_LONGEST_PATH = 4096
_FARTHEST = 1 << 62
# The addresses through which loopback reaches a listener, the most exact first.
_NEAR = ("127.0.0.1", "0.0.0.0", "::", "::1")


class _Held(NamedTuple):
    """What the system tells of the process behind a port."""

    pid: int | None = None
    rss_bytes: int | None = None
    executable: Path | None = None
    cwd: Path | None = None


def ask_servers(
    redactor: Redactor, ports: Sequence[int], limit_s: float = 1.5
) -> tuple[Answer, ...]:
    """Ask every port at once; those at which nothing listens are left out.

    What was learned of a server within the limit stands, also where a later question stays open.
    """
    end = time.monotonic() + limit_s
    learned: dict[int, Answer] = {}
    asked = tuple(dict.fromkeys(ports))[:_MOST_PORTS]
    boxes = [
        Boxed(f"port {port}", partial(_ask, redactor, port, end, learned), limit_s)
        for port in asked
    ]
    for box in boxes:
        box.result()
    return tuple(learned[port] for port in asked if port in learned)


def _ask(redactor: Redactor, port: int, end: float, learned: dict[int, Answer]) -> None:
    connection = listener(port)
    if connection is None:
        return
    learned[port] = _other(port, "slow", "no whole answer in time")
    said = ask(connection, "/system_stats", end)
    answer = _read(redactor, port, said.data) if said.outcome == "ok" else None
    if answer is None:
        outcome = "other" if said.outcome == "ok" else said.outcome
        learned[port] = _other(port, outcome, said.detail or "it is no ComfyUI")
        return
    learned[port] = answer
    held = _held(port)
    server = answer.server._replace(pid=held.pid, rss_bytes=held.rss_bytes)
    answer = answer._replace(server=server, executable=held.executable, cwd=held.cwd)
    learned[port] = answer
    connection = listener(port)
    if connection is not None:
        said = ask(connection, "/internal/folder_paths", end)
        learned[port] = answer._replace(folders=_folders(said.data))


# --- what it says ----------------------------------------------------------------------------


def _read(redactor: Redactor, port: int, data: object) -> Answer | None:
    """What /system_stats tells; None where it is not a ComfyUI's."""
    whole = data if isinstance(data, dict) else {}
    system = whole.get("system")
    if not isinstance(system, dict) or not _is_comfyui(system, whole):
        return None
    argv = tuple(_text(item, 1000) for item in _list(system.get("argv"), _MOST_ARGUMENTS))
    server = Server(
        port=port,
        outcome="ok",
        detail="",
        pid=None,
        rss_bytes=None,
        version=_text(system.get("comfyui_version"), 80),
        torch=_text(system.get("pytorch_version"), 80),
        python=_text(system.get("python_version"), 80).partition(" ")[0],
        listen=listen_class(argv),
        flags=flags(redactor, argv[1:]),
        devices=tuple(
            (_text(item.get("name"), 120), _size(item.get("vram_total")),
             _size(item.get("vram_free")))
            for item in _list(whole.get("devices"), _MOST)
            if isinstance(item, dict)
        ),
    )  # fmt: skip
    return Answer(server, argv, None, None, None)


def _is_comfyui(system: dict[str, Any], whole: dict[str, Any]) -> bool:
    if isinstance(system.get("comfyui_version"), str):
        return True
    return isinstance(system.get("argv"), list) and isinstance(whole.get("devices"), list)


def _other(port: int, outcome: str, detail: str) -> Answer:
    server = Server(port, outcome, detail, None, None, "", "", "", "", (), ())
    return Answer(server, (), None, None, None)


def _folders(data: object) -> Mapping[str, tuple[str, ...]] | None:
    if not isinstance(data, dict):
        return None
    return {
        _text(category, 80): tuple(
            text
            for text in _list(folders, _MOST)
            if isinstance(text, str) and text.isprintable() and 0 < len(text) <= _LONGEST_PATH
        )
        for category, folders in list(data.items())[:_MOST]
    }


def _size(value: object) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _FARTHEST
    return value if isinstance(value, int) and whole else 0


def _text(value: object, longest: int) -> str:
    return printable(value, longest) if isinstance(value, str) else ""


def _list(value: object, most: int) -> list[Any]:
    return value[:most] if isinstance(value, list) else []


# --- whose process it is ---------------------------------------------------------------------


def _held(port: int) -> _Held:
    import psutil

    def told(call: Callable[[], T]) -> T | None:
        try:
            return call()
        except (psutil.Error, OSError, ValueError, RuntimeError):
            return None

    pid = told(lambda: _listening(port))
    process = told(lambda: psutil.Process(pid)) if pid is not None else None
    if process is None:
        return _Held()
    folder = told(process.cwd)
    cwd = Path(folder) if folder else None
    rss = told(lambda: int(process.memory_info().rss))
    return _Held(pid, rss, told(lambda: _executable(process, cwd)), cwd)


def _listening(port: int) -> int | None:
    """The process that answers on this port of loopback."""
    import psutil

    found: dict[str, int | None] = {}
    for each in psutil.net_connections("tcp"):
        if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port:
            found.setdefault(each.laddr.ip, each.pid)
    return next((found[address] for address in _NEAR if address in found), None)


def _executable(process: Process, cwd: Path | None) -> Path | None:
    """The interpreter as it was called: a venv's is a link, and that tells the venv."""
    real = process.exe()
    command = process.cmdline()
    called = _called(process, command[0], cwd) if command and command[0] else None
    if called is not None and (os.name == "nt" or not is_file(Path(real))):
        return called
    # A program may write over its own command line: the link must lead to what really runs.
    if called is not None and os.path.realpath(called) == os.path.realpath(real):
        return called
    return Path(real) if real else None


def _called(process: Process, name: str, cwd: Path | None) -> Path | None:
    if len(Path(name).parts) > 1:
        folders = [cwd or Path(os.sep)]
    else:
        path = process.environ().get("PATH", "")
        folders = [Path(folder) for folder in path.split(os.pathsep) if Path(folder).is_absolute()]
    names = (name, f"{name}.exe") if os.name == "nt" else (name,)
    places = (folder / each for folder in folders for each in names)
    return next((place for place in places if place.is_absolute() and is_file(place)), None)
