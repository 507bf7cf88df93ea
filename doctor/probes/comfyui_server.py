"""ComfyUI servers that run on this machine, asked over loopback and nowhere else.

Endpoints: ComfyUI server.py (/system_stats) and app/... internal routes (/internal/folder_paths).
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from klein_doctor.boxed import Boxed
from klein_doctor.installation import Server
from klein_doctor.model import Fault
from klein_doctor.privacy import Redactor
from klein_doctor.probes.found import Answer
from klein_doctor.probes.launch_flags import flags, listen_class

# Where a refused connection is not told at once (Windows), it is not waited for.
_CONNECT_S = 0.25
_LONGEST_ANSWER = 1 << 20
_MOST = 64
_FARTHEST = 1 << 62


class _Said(NamedTuple):
    """The answer to one request: outcome as Server.outcome, data of a JSON body."""

    outcome: str
    detail: str
    data: Any = None


def ask_servers(
    redactor: Redactor, ports: Sequence[int], limit_s: float = 1.5
) -> tuple[Answer, ...]:
    """Ask every port at once; those at which nothing listens are left out."""
    end = time.monotonic() + limit_s
    boxes = [(port, Boxed(f"port {port}", _asking(redactor, port, end), limit_s)) for port in ports]
    found = []
    for port, box in boxes:
        result = box.result()
        if isinstance(result, Fault):
            slow = result.kind == "timeout"
            result = _other(port, "slow" if slow else "other", "no whole answer in time")
        if result is not None:
            found.append(result)
    return tuple(found)


def _asking(redactor: Redactor, port: int, end: float) -> Any:
    return lambda: _ask(redactor, port, end)


def _ask(redactor: Redactor, port: int, end: float) -> Answer | None:
    host = next((host for host in ("127.0.0.1", "::1") if _listens(host, port)), None)
    if host is None:
        return None
    said = _get(host, port, "/system_stats", end)
    system = said.data.get("system") if isinstance(said.data, dict) else None
    if said.outcome != "ok" or not isinstance(system, dict) or not _is_comfyui(system, said.data):
        outcome = "other" if said.outcome == "ok" else said.outcome
        return _other(port, outcome, said.detail or "it is no ComfyUI")
    argv = tuple(_text(item, 1000) for item in _list(system.get("argv")))
    folders = _get(host, port, "/internal/folder_paths", end)
    pid, rss, executable, cwd = _process(port)
    server = Server(
        port=port,
        outcome="ok",
        detail="",
        pid=pid,
        rss_bytes=rss,
        version=_text(system.get("comfyui_version"), 80),
        torch=_text(system.get("pytorch_version"), 80),
        python=_text(system.get("python_version"), 80).partition(" ")[0],
        listen=listen_class(argv),
        flags=flags(redactor, argv[1:]),
        devices=tuple(_device(item) for item in _list(said.data.get("devices"))),
    )
    return Answer(server, argv, cwd, executable, _folders(folders.data))


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_S):
            return True
    except (OSError, OverflowError):
        return False


def _get(host: str, port: int, path: str, end: float) -> _Said:
    """One request: no proxy, no redirect followed, a bounded answer."""
    import http.client

    left = end - time.monotonic()
    if left <= 0:
        return _Said("slow", "no time left to ask")
    connection = http.client.HTTPConnection(host, port, timeout=left)
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        if 300 <= response.status < 400:
            return _Said("redirects", "it sends elsewhere, which is not followed")
        if response.status != 200:
            return _Said("other", f"it answers with status {response.status}")
        body = response.read(_LONGEST_ANSWER + 1)
        if len(body) > _LONGEST_ANSWER:
            return _Said("other", "its answer is longer than any ComfyUI's")
        return _Said("ok", "", json.loads(body))
    except TimeoutError:
        return _Said("slow", "no whole answer in time")
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return _Said("other", "its answer is no JSON")
    finally:
        connection.close()


def _is_comfyui(system: dict[str, Any], data: dict[str, Any]) -> bool:
    if isinstance(system.get("comfyui_version"), str):
        return True
    return isinstance(system.get("argv"), list) and isinstance(data.get("devices"), list)


def _other(port: int, outcome: str, detail: str) -> Answer:
    server = Server(port, outcome, detail, None, None, "", "", "", "", (), ())
    return Answer(server, (), None, None, None)


def _device(item: Any) -> tuple[str, int, int]:
    data = item if isinstance(item, dict) else {}
    return _text(data.get("name"), 120), _size(data.get("vram_total")), _size(data.get("vram_free"))


def _size(value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _FARTHEST
    return value if whole else 0


def _text(value: Any, longest: int) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(sign if sign.isprintable() else "?" for sign in text[:longest])


def _list(value: Any) -> list[Any]:
    return value[:_MOST] if isinstance(value, list) else []


def _folders(data: Any) -> Mapping[str, tuple[str, ...]] | None:
    if not isinstance(data, dict):
        return None
    found = {}
    for category, folders in list(data.items())[:_MOST]:
        texts = [folder[:1000] for folder in _list(folders) if isinstance(folder, str)]
        found[category[:80]] = tuple(text for text in texts if "\0" not in text)
    return found


def _process(port: int) -> tuple[int | None, int | None, Path | None, Path | None]:
    """Process, resident bytes, interpreter and folder of whoever listens on a port."""
    import psutil

    try:
        pid = next(
            (
                each.pid
                for each in psutil.net_connections("tcp")
                if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port
            ),
            None,
        )
        if pid is None:
            return None, None, None, None
        process = psutil.Process(pid)
        cwd = Path(process.cwd())
        return pid, int(process.memory_info().rss), _executable(process, cwd), cwd
    except (psutil.Error, OSError, ValueError):
        return None, None, None, None


def _executable(process: Any, cwd: Path) -> Path | None:
    """The interpreter as it was called: a venv's is a link, and that tells the venv."""
    command = process.cmdline()
    if command:
        called: Path = cwd / command[0]
        if called.is_absolute() and called.exists() and len(Path(command[0]).parts) > 1:
            return called
    found: str = process.exe()
    return Path(found) if found else None
