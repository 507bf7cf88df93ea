"""Arguments of ComfyUI in the files that start it: taken out, or given another value."""

from __future__ import annotations

import re
from collections.abc import Callable

from klein_doctor.editing.text import decoded, lines

_COMMENTS = {
    "bat": re.compile(r"\s*(?:@?\s*rem(?:\s|$)|::)", re.IGNORECASE),
    "ps1": re.compile(r"\s*#"),
    "sh": re.compile(r"\s*#"),
    "comfy-cli": re.compile(r"\s*[#;]"),
}
# How many values follow an argument, by the words of recipes/flags.toml.
_VALUE = r"""(?:[ \t]*=[ \t]*|[ \t]+)(?!-)(?:[^\s"'^`\\&|;<>()]+)"""
_VALUES = {"none": "", "one": f"(?:{_VALUE})?", "optional": f"(?:{_VALUE})?", "many": None}
_ADDRESS = r"(?:(?:[ \t]*=[ \t]*|[ \t]+)[0-9A-Fa-f.:,\[\]*]+(?![\w.-]))?"
LOOPBACK = "127.0.0.1"


def without(data: bytes, kind: str, flag: str, values: str) -> bytes:
    """A launcher without an argument and its values; comments stay as they are.

    kind: as Launcher.kind. values: ``none``, ``one``, ``optional`` or ``many``.
    """
    follow = _VALUES[values]
    if follow is None:
        follow = f"(?:{_VALUE})*"
    pattern = re.compile(rf"(?P<lead>[ \t]*)(?<![\w-]){re.escape(flag)}(?![\w-]){follow}")
    return _edited(data, kind, lambda line: pattern.sub(_drop, line))


def loopback(data: bytes, kind: str) -> bytes:
    """A launcher whose server listens to this machine alone."""
    pattern = re.compile(rf"(?<![\w-])--listen(?![\w-]){_ADDRESS}")
    return _edited(data, kind, lambda line: pattern.sub(f"--listen {LOOPBACK}", line))


def _drop(found: re.Match[str]) -> str:
    """One space goes with it, unless it stands first on its line."""
    return "" if found["lead"] and found.start() > 0 else found["lead"]


def _edited(data: bytes, kind: str, edit: Callable[[str], str]) -> bytes:
    whole = decoded(data)
    comment = _COMMENTS.get(kind)
    changed = [
        line if comment is not None and comment.match(line) else edit(line)
        for line in lines(whole.text)
    ]
    return whole.bytes("".join(changed))
