"""Paths as their owner sees them."""

from __future__ import annotations

import os
from pathlib import Path

from klein_doctor.values import printable


def shown(path: Path) -> str:
    """A path with the home as ~ and nothing in it that would steer a terminal."""
    text, home = str(path), os.path.expanduser("~")
    if home not in ("~", "/", "") and (text == home or text.startswith(home + os.sep)):
        text = "~" + text[len(home) :]
    return printable(text)
