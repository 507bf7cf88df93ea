"""What the search for ComfyUI hands from probe to probe: unredacted, never part of a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from klein_doctor.installation import Server


class Saved(NamedTuple):
    """Arguments that a launcher keeps for an installation; kind as Launcher.kind."""

    kind: str
    path: Path
    arguments: tuple[str, ...]


class Found(NamedTuple):
    """An installation as Install has it, with its real paths and the saved arguments.

    ports: those that its launchers' files name.
    """

    root: Path
    kind: str
    found_by: str
    python: Path | None
    python_from: str
    base: Path
    last_used: int | None = None
    port: int | None = None
    saved: tuple[Saved, ...] = ()
    ports: tuple[int, ...] = ()


class Answer(NamedTuple):
    """What a listening server said of itself, and what the system says of its process.

    argv: its command line from main.py on. folders: category to folders, as /internal/folder_paths
    gives them, None where it did not answer that.
    """

    server: Server
    argv: tuple[str, ...]
    cwd: Path | None
    executable: Path | None
    folders: Mapping[str, tuple[str, ...]] | None
