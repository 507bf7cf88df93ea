"""The environment that a launcher's file names, and another written in its place. Pure."""

from __future__ import annotations

import re

from klein_doctor.editing.text import decoded, lines
from klein_doctor.shells import COMMENTS

# What follows an environment's folder where it is switched on or its Python is called.
_BEHIND = r"(?=[\\/]+(?:bin|scripts)[\\/]+(?:activate|python))"
_SAFE = re.compile(r"[\w./\\:+-]+")


def names(line: str, folder: str, root: str) -> bool:
    """Whether a line names an environment's folder in so many words: see ``instead``."""
    return bool(_name(folder, root).search(line))


def can_stand(new: str, folder: str, root: str) -> bool:
    """Whether a folder can be written where another is named, in quotes or not."""
    both = _inside(folder, root) and _inside(new, root)
    return both or bool(_SAFE.fullmatch(new))


def instead(data: bytes, kind: str, folder: str, new: str, root: str) -> bytes:
    """A launcher with another environment's folder where it names one.

    Of folders that both lie in root the last name alone is replaced, so that whatever stands before
    it stays: ``./``, ``%~dp0``, a variable. kind: as Launcher.kind.

    Raises:
        ValueError: the file's encoding has no sign for the new name.
    """
    whole, comment, name = decoded(data), COMMENTS[kind], _name(folder, root)
    both = _inside(folder, root) and _inside(new, root)
    text = _last(new) if both else new
    changed = [
        line if comment.match(line) else name.sub(lambda _: text, line)
        for line in lines(whole.text)
    ]
    return whole.bytes("".join(changed))


def _name(folder: str, root: str) -> re.Pattern[str]:
    if _inside(folder, root):
        before = r"(?:(?<=%~dp0)|(?<=%~dp0%)|(?<![\w.\-$%!{]))"
        return re.compile(before + re.escape(_last(folder)) + _BEHIND, re.IGNORECASE)
    parts = [re.escape(part) for part in re.split(r"[\\/]+", folder.rstrip("\\/"))]
    return re.compile(r"(?<![\w.\-\\/])" + r"[\\/]+".join(parts) + _BEHIND, re.IGNORECASE)


def _inside(folder: str, root: str) -> bool:
    return _plain(folder).rpartition("/")[0] == _plain(root)


def _last(folder: str) -> str:
    return _plain(folder).rpartition("/")[2]


def _plain(path: str) -> str:
    return path.replace("\\", "/").rstrip("/")
