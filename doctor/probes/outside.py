"""The doctor's only window on the machine's files and environment.

Everything below reads through it, so that a folder tree can stand for a whole machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from klein_doctor.privacy import Redactor

_MAX_TEXT = 1 << 20
# ComfyUI's own port, and the first Desktop's (Comfy-Org/desktop).
COMFYUI_PORTS = (8188, 8000)


@dataclass(frozen=True)
class Outside:
    """A machine: where its file system begins, its environment, its platform name."""

    root: Path
    env: Mapping[str, str]
    platform: str
    redactor: Redactor
    release: str = ""
    machine: str = ""
    prefix: str = field(default=sys.prefix)
    executable: str = field(default=sys.executable or "")
    ports: tuple[int, ...] = ()  # where a running ComfyUI is looked for, on loopback

    @classmethod
    def real(cls) -> Outside:
        """This machine."""
        release, machine = _release_and_machine()
        return cls(
            root=Path("/"),
            env=dict(os.environ),
            platform=sys.platform,
            redactor=Redactor.of_this_machine(os.environ),
            release=release,
            machine=machine,
            ports=COMFYUI_PORTS,
        )

    @property
    def windows(self) -> bool:
        return self.platform == "win32"

    def here(self) -> Path:
        """The current folder; one that does not exist where it was deleted under us."""
        if self.root != Path("/"):
            return self.root
        try:
            return Path.cwd()
        except OSError:
            return self.root / "deleted"

    def at(self, path: str) -> Path:
        """A path of the machine as a path of this process."""
        return self.root / path.lstrip("/") if path.startswith("/") else Path(path)

    def text(self, path: str) -> str:
        """The text of a small file, "" when it is absent or closed to us."""
        return read_text(self.at(path))

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted, none when it is absent or closed to us."""
        return names(self.at(path))


def read_text(path: Path, limit: int = _MAX_TEXT) -> str:
    """The first `limit` bytes of a regular file as text; "" for what cannot be read."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as stream:
            return stream.read(limit).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def names(path: Path) -> list[str]:
    """The sorted names in a folder; none for what cannot be listed."""
    try:
        return sorted(os.listdir(path))
    except (OSError, ValueError):
        return []


def is_file(path: Path) -> bool:
    """Whether this is a file we can see; False where the question itself is refused."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_dir(path: Path) -> bool:
    """Whether this is a folder we can see; False where the question itself is refused."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _release_and_machine() -> tuple[str, str]:
    if hasattr(os, "uname"):
        name = os.uname()
        return name.release, name.machine
    version = sys.getwindowsversion()  # type: ignore[attr-defined,unused-ignore]
    release = f"{version.major}.{version.minor}.{version.build}"
    return release, os.environ.get("PROCESSOR_ARCHITECTURE", "")
