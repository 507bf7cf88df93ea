"""Folder trees that stand for a whole machine, with the home folder of a user called jane."""

from __future__ import annotations

from pathlib import Path

from klein_doctor.privacy import Redactor
from klein_doctor.probes.outside import Outside


def machine(root: Path, platform: str = "linux", **env: str) -> Outside:
    """A machine below a folder, with the home folder /home/jane and drives as folders."""
    home = root / "home" / "jane"
    home.mkdir(parents=True, exist_ok=True)
    names = {"HOME": str(home)}
    if platform == "win32":
        names = {
            "USERPROFILE": str(home),
            "APPDATA": str(home / "AppData" / "Roaming"),
            "LOCALAPPDATA": str(home / "AppData" / "Local"),
        }
    redactor = Redactor(("jane",), (str(home),), ())
    return Outside(root, {**names, **env}, platform, redactor, prefix=str(root / "doctor"))


def write(path: Path, text: str) -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def venv(folder: Path, windows: bool = False) -> Path:
    """The file that makes a folder an environment's; returns the interpreter."""
    return write(folder / ("Scripts/python.exe" if windows else "bin/python3"), "")
