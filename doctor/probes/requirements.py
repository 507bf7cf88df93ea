"""Requirement files as pip reads them, bounded, for a target that is not this Python."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from klein_doctor.installation import Wanted
from klein_doctor.probes.outside import Outside

LONGEST_FILE = 256 << 10
_LONGEST_LINE = 1000
_MOST_LINES = 4000
_USER = re.compile(r"(\w+://)[^/@\s]*@")
_COMMENT = re.compile(r"(^|\s)#.*$")


class Line(NamedTuple):
    """A requirement by its line number; text as written, without passwords."""

    number: int
    text: str
    requirement: Requirement | None


def read_lines(path: Path) -> Iterator[Line]:
    """The requirements and options of a file; requirement is None for what names no package.

    Raises:
        OSError: the file cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError
    with path.open("rb") as stream:
        raw = stream.read(LONGEST_FILE)
    wide = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    yield from parse(raw.decode("utf-16" if wide else "utf-8-sig", "replace"))


def parse(text: str) -> Iterator[Line]:
    """As read_lines, of a text."""
    lines = text.splitlines()[:_MOST_LINES]
    place = 0
    while place < len(lines):
        first, line = place + 1, lines[place]
        while line.endswith("\\") and place + 1 < len(lines) and len(line) < _LONGEST_LINE:
            place += 1
            line = line[:-1] + lines[place]
        place += 1
        line = _COMMENT.sub("", line).strip()
        if line and len(line) <= _LONGEST_LINE:
            yield Line(first, _shown(line), _requirement(line))


def wanted(
    path: Path, versions: Mapping[str, str], outside: Outside, python: tuple[int, ...] | None
) -> list[Wanted]:
    """The packages a file asks for, beside what the target has.

    Raises:
        OSError: the file cannot be read.
    """
    environment = target_environment(outside, python)
    found = []
    for line in read_lines(path):
        if line.requirement is None:
            continue
        name = canonicalize_name(line.requirement.name)
        found.append(Wanted(name, line.text, versions.get(name), applies(line, environment)))
    return found


def target_environment(outside: Outside, python: tuple[int, ...] | None) -> dict[str, str]:
    """What environment markers are judged by: the target's system and Python."""
    systems = {"win32": "Windows", "darwin": "Darwin", "linux": "Linux"}
    version = ".".join(str(part) for part in python[:2]) if python else ""
    full = ".".join(str(part) for part in (*python, 0, 0)[:3]) if python else ""
    values = {
        "sys_platform": outside.platform,
        "platform_system": systems.get(outside.platform, outside.platform),
        "platform_machine": outside.machine,
        "os_name": "nt" if outside.windows else "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    if version:
        values.update(python_version=version, python_full_version=full)
    return values


def applies(line: Line, environment: Mapping[str, str]) -> bool:
    """Whether a requirement's marker holds for the target; True where that cannot be told."""
    if line.requirement is None or line.requirement.marker is None:
        return True
    try:
        return line.requirement.marker.evaluate(dict(environment))
    except Exception:  # packaging raises several kinds for markers it cannot compare
        return True


def _requirement(line: str) -> Requirement | None:
    if line.startswith("-"):
        return None
    text = re.split(r"\s--\w", line, maxsplit=1)[0]  # --hash and the like
    try:
        return Requirement(text)
    except (InvalidRequirement, ValueError, RecursionError):
        return None


def _shown(line: str) -> str:
    text = _USER.sub(r"\1", line)[:120]
    return "".join(sign if sign.isprintable() else "?" for sign in text)
