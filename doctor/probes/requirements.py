"""Requirement files as pip reads them, bounded, for a target that is not this Python."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from klein_doctor import markers
from klein_doctor.installation import Wanted
from klein_doctor.probes.outside import Outside, is_file
from klein_doctor.values import printable

LONGEST_FILE = 256 << 10
_LONGEST_LINE = 1000
_MOST_LINES = 4000
_LONGEST_SHOWN = 120
# What could let somebody in: a name and password before the host, a key behind the address.
_USER = re.compile(r"(\w+://)[^/\s]*@")
_QUERY = re.compile(r"(\w+://[^\s?#]*)\?[^\s#]*")
_COMMENT = re.compile(r"(^|\s)#.*$")
_OPTIONS = re.compile(r"\s--\w")  # --hash and the like, behind a requirement
# Where the target's Python is not known, a marker counts as met if one of these meets it.
_ANY_PYTHON = ((3, 8), (3, 9), (3, 10), (3, 11), (3, 12), (3, 13), (3, 14), (3, 20))


class Line(NamedTuple):
    """A requirement by its line number; text as written, without passwords."""

    number: int
    text: str
    requirement: Requirement | None


def read_requirements(path: Path) -> str:
    """The text of a requirements file, in UTF-8 or with the mark of UTF-16.

    Raises:
        OSError: it is no file, or it cannot be read.
    """
    if not is_file(path):
        raise FileNotFoundError
    with path.open("rb") as stream:
        raw = stream.read(LONGEST_FILE)
    wide = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    return raw.decode("utf-16" if wide else "utf-8-sig", "replace")


def parse_requirements(text: str, naming: tuple[str, ...] = ()) -> Iterator[Line]:
    """Requirements and options; requirement is None for what names no package.

    Args:
        naming: parse only lines that hold one of these words, in lower case; none means all.
    """
    for number, line in _joined(text):
        lower = line.lower()
        if not naming or any(word in lower for word in naming):
            yield Line(number, _shown(line), _requirement(line))


def wanted(
    path: Path, versions: Mapping[str, str], outside: Outside, python: tuple[int, ...] | None
) -> list[Wanted]:
    """The packages a file asks for, beside what the target has.

    Args:
        versions: of the target's distributions, by normalised name. python: the target's version,
            None unknown.

    Raises:
        OSError: the file cannot be read.
    """
    environments = [
        markers.environment(outside.platform, outside.machine, each)
        for each in ((python,) if python else _ANY_PYTHON)
    ]
    found = []
    for line in parse_requirements(read_requirements(path)):
        if line.requirement is None:
            continue
        name = canonicalize_name(line.requirement.name)
        marker = line.requirement.marker
        applies = any(markers.holds(marker, each) is not False for each in environments)
        found.append(Wanted(name, line.text, versions.get(name), applies))
    return found


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Lines by the number they begin at, continued ones put together, without comments."""
    lines = text.splitlines()[:_MOST_LINES]
    place = 0
    while place < len(lines):
        first, line = place + 1, lines[place][:_LONGEST_LINE]
        # A comment that ends in a backslash, as Windows folders do, is not continued.
        goes_on = lines[place].endswith("\\") and not line.lstrip().startswith("#")
        while goes_on and place + 1 < len(lines):
            place += 1
            line = (line.removesuffix("\\") + lines[place])[:_LONGEST_LINE]
            goes_on = lines[place].endswith("\\")
        place += 1
        line = _COMMENT.sub("", line.removesuffix("\\")).strip()
        if line:
            yield first, line


def _requirement(line: str) -> Requirement | None:
    if line.startswith("-"):
        return None
    try:
        return Requirement(_OPTIONS.split(line, maxsplit=1)[0])
    except (InvalidRequirement, ValueError, RecursionError):
        return None


def _shown(line: str) -> str:
    """A line fit for a report: no passwords, no hashes of files, printable, not long."""
    if not line.startswith("-"):
        line = _OPTIONS.split(line, maxsplit=1)[0]
    return printable(_QUERY.sub(r"\1", _USER.sub(r"\1", line.strip())), _LONGEST_SHOWN)
