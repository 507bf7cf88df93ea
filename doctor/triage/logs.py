"""The newest log of the ComfyUI that is judged: of the running server, else of a file.

ComfyUI keeps its log in memory (/internal/logs/raw); ComfyUI-Manager and the Desktop write files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from klein_doctor.probes.loopback import ask, listener
from klein_doctor.probes.outside import Outside, names
from klein_doctor.target import Aim

_ANSWER_S = 3.0
_MOST_FILES = 200


class Log(NamedTuple):
    """A log: its text, or the file that holds it. said: where it came from."""

    data: bytes | None
    path: Path | None
    said: str


def newest_log(outside: Outside, aim: Aim) -> Log | None:
    """What ComfyUI said last; None where no log is found."""
    running = _of_server(aim)
    if running is not None:
        return running
    files = [(stamp, path) for path in _files(outside, aim) if (stamp := _modified(path))]
    if not files:
        return None
    path = max(files)[1]
    return Log(None, path, outside.redactor.path(str(path)).local)


def _of_server(aim: Aim) -> Log | None:
    port = aim.found.port if aim.found is not None else None
    connection = listener(port) if port is not None else None
    if connection is None:
        return None
    said = ask(connection, "/internal/logs/raw", time.monotonic() + _ANSWER_S)
    entries = said.data.get("entries") if isinstance(said.data, dict) else None
    pieces = [
        piece
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and isinstance(piece := entry.get("m"), str)
    ]
    text = "".join(pieces).encode("utf-8", "replace")
    return Log(text, None, f"the log of the ComfyUI on port {port}") if text.strip() else None


def _files(outside: Outside, aim: Aim) -> Iterator[Path]:
    folders: list[tuple[Path, str]] = []
    if aim.found is not None:
        for folder in dict.fromkeys((aim.found.base, aim.found.root, aim.found.root.parent)):
            folders += [(folder / "user", "comfyui"), (folder, "comfyui"), (folder / "logs", "")]
    home, roaming = outside.env.get("HOME", ""), outside.env.get("APPDATA", "")
    for place in (
        f"{roaming}/ComfyUI/logs" if roaming else "",
        f"{home}/Library/Application Support/ComfyUI/logs" if home else "",
        f"{home}/Library/Logs/ComfyUI" if home else "",
        f"{home}/.config/ComfyUI/logs" if home else "",
    ):
        if place:
            folders.append((outside.at(place), "comfyui"))
    for folder, begins in folders:
        for name in names(folder)[:_MOST_FILES]:
            if name.lower().startswith(begins) and name.lower().endswith(".log"):
                yield folder / name


def _modified(path: Path) -> float:
    try:
        found = path.stat()
    except OSError:
        return 0.0
    return found.st_mtime if os.path.isfile(path) and found.st_size else 0.0
