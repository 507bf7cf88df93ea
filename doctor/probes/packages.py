"""The distributions of the target, by the records pip and its like leave; nothing is imported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from klein_doctor.installation import Installed, Packages
from klein_doctor.model import Interpreter
from klein_doctor.probes.outside import is_file, names, read_text

_HEADER = 256 << 10
_MOST_LINES = 200
_LONGEST = 200
_LONGEST_LINE = 2000  # with an address in it
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,150}[A-Za-z0-9])?"
_ENTRY = re.compile(rf"({_NAME})-([0-9][A-Za-z0-9.+!_]{{0,99}})(?:-py[0-9.]+)?\.(?:dist|egg)-info")
_BARE = re.compile(rf"({_NAME})\.egg-info")
_REQUIRED = re.compile(rf"\s*({_NAME})(?=[\s(\[<>=!~;@,]|$)")
_METADATA = ("METADATA", "PKG-INFO")


class Record(NamedTuple):
    """One ``*.dist-info`` or ``*.egg-info`` of a folder; name is normalised (PEP 503)."""

    name: str
    version: str
    path: Path


def records(folder: Path) -> Iterator[Record]:
    """The install records of one folder, by their names alone."""
    for entry in names(folder):
        if not entry.endswith((".dist-info", ".egg-info")):
            continue
        found = _ENTRY.fullmatch(entry)
        if found:
            yield Record(normalised(found.group(1)), found.group(2), folder / entry)
        elif bare := _BARE.fullmatch(entry):
            # A source tree that was installed in place writes its version only inside.
            version = _written_version(folder / entry)
            if version:
                yield Record(normalised(bare.group(1)), version, folder / entry)


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_versions(interpreter: Interpreter) -> dict[str, Installed]:
    """All distributions of the target by normalised name; the first on its path wins.

    ``requires`` is empty here. A folder that holds two records of one name counts by the first
    that has its metadata: an interrupted upgrade leaves an empty one behind.
    """
    found: dict[str, Installed] = {}
    for place, records_here in enumerate(_by_place(interpreter)):
        for name, record in records_here.items():
            found.setdefault(name, Installed(name, record.version, (), place))
    return found


def read_packages(
    versions: dict[str, Installed], interpreter: Interpreter, watched: frozenset[str]
) -> Packages:
    """Count what read_versions found, and list what is watched with what it requires of the rest.

    A requirement keeps its text, marker included; one that names an address keeps its name alone.
    """
    wanted = [versions[name] for name in sorted(watched & versions.keys())]
    places = {
        place: _records(Path(interpreter.site_packages[place].real))
        for place in {item.place for item in wanted}
        if 0 <= place < len(interpreter.site_packages)
    }
    listed = []
    for item in wanted:
        record = places.get(item.place, {}).get(item.name)
        text = _metadata(record.path) if record is not None else ""
        listed.append(item._replace(requires=tuple(requirements(text, watched))))
    return Packages(len(versions), tuple(listed))


def requirements(metadata: str, watched: frozenset[str]) -> list[str]:
    """The Requires-Dist lines of a METADATA header that name a watched distribution.

    Left out: what only an extra asks for, and lines longer than any honest one.
    """
    found = []
    for line in _fields(metadata, "requires-dist"):
        named = _REQUIRED.match(line) if len(line) <= _LONGEST_LINE else None
        if named is None or normalised(named.group(1)) not in watched:
            continue
        requirement, _, marker = line.partition(";")
        if re.search(r"\bextra\s*(?:==|in\b)|[\"']\s*(?:==|in)\s*extra\b", marker):
            continue
        if "@" in line:  # an address may carry a password
            line = requirement.partition("@")[0]
        text = "".join(c for c in line if c.isascii() and c.isprintable()).strip()
        if len(text) <= _LONGEST:
            found.append(text)
    return found


def _by_place(interpreter: Interpreter) -> Iterator[dict[str, Record]]:
    for folder in interpreter.site_packages:
        yield _records(Path(folder.real))


def _records(folder: Path) -> dict[str, Record]:
    """The records of a folder by name."""
    found: dict[str, Record] = {}
    for record in records(folder):
        other = found.setdefault(record.name, record)
        if other is not record and not _has_metadata(other) and _has_metadata(record):
            found[record.name] = record
    return found


def _has_metadata(record: Record) -> bool:
    return any(is_file(record.path / name) for name in _METADATA)


def _metadata(path: Path) -> str:
    texts = (read_text(place, _HEADER) for place in (*(path / name for name in _METADATA), path))
    return next((text for text in texts if text), "")


def _written_version(path: Path) -> str:
    found = next(iter(_fields(_metadata(path), "version")), "")
    return found if re.fullmatch(r"[0-9][A-Za-z0-9.+!_-]{0,99}", found) else ""


def _fields(metadata: str, name: str) -> list[str]:
    """The values of a field in the header of a METADATA file, which an empty line ends."""
    found: list[str] = []
    for line in metadata.split("\n"):
        line = line.rstrip("\r")
        if not line or len(found) == _MOST_LINES:
            break
        key, colon, value = line.partition(":")
        if colon and key.lower() == name:
            found.append(value.strip())
    return found
