"""pip's configuration as text: which constraints it keeps to, and one more put in.

pip reads several files and takes what the last of them says; within what it has read, ``[install]``
counts before ``[global]``. A value is a list, split at blanks.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from klein_doctor.editing.text import lines

SECTIONS = ("install", "global")  # the first that has the option counts
_SECTION = re.compile(r"^\[([^\]]+)\]")
_OPTION = re.compile(r"constraint[ \t]*[=:]", re.IGNORECASE)


def named(path: PurePath) -> str:
    """The file as pip.conf can name it: pip splits at spaces and reads by the system's encoding."""
    text = str(path)
    return text if text.isascii() and not re.search(r"\s", text) else path.as_uri()


def told(text: str) -> dict[str, str]:
    """The constraints of one file by section; sections that say nothing are left out.

    Raises:
        ValueError: it is no configuration that pip could read.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ValueError(str(error).partition("\n")[0]) from error
    values = {
        section: (parser.get(section, "constraint", fallback="") or "").strip()
        for section in SECTIONS
    }
    return {section: value for section, value in values.items() if value}


def in_force(values: Mapping[str, str]) -> list[str]:
    """What pip install takes for its constraints from what it was told."""
    return next((values[name].split() for name in SECTIONS if values.get(name)), [])


def with_constraints(text: str, places: Sequence[str]) -> str:
    """pip's configuration with these constraints more; the same text where it names them already.

    Raises:
        ValueError: it is no configuration that pip could read.
    """
    for place in places:
        text = _with_one(text, place)
    return text


def _with_one(text: str, place: str) -> str:
    if place in in_force(told(text)):
        return text
    parts, end = lines(text), "\r\n" if "\r\n" in text else "\n"
    if parts and not parts[-1].endswith("\n"):
        parts[-1] += end
    heads, options = _places(parts)
    section = "install" if "install" in options or "global" not in options else "global"
    if section in options:
        at = options[section] + 1
        while at < len(parts) and parts[at][:1] in (" ", "\t") and parts[at].strip():
            at += 1
        parts.insert(at, f"    {place}{end}")
    elif section in heads:
        parts.insert(heads[section] + 1, f"constraint = {place}{end}")
    else:
        parts += [f"[install]{end}", f"constraint = {place}{end}"]
    changed = "".join(parts)
    if place not in in_force(told(changed)):
        raise ValueError("the constraint could not be put in")
    return changed


def _places(parts: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
    """The line of each section's head, and of the option in it."""
    heads: dict[str, int] = {}
    options: dict[str, int] = {}
    section = ""
    for number, line in enumerate(parts):
        head = _SECTION.match(line)
        if head is not None:
            section = head.group(1)
            heads.setdefault(section, number)
        elif _OPTION.match(line):
            options.setdefault(section, number)
    return heads, options
