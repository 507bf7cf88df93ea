"""What must be installed together and what must not: ``stack.toml`` and ``known_bad.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from klein_doctor.rows import RecipeError, read, rows


class StackFloor(NamedTuple):
    """The oldest version of a package the diffusers route runs with; error as people see it."""

    name: str
    version: str
    says: str
    error: str
    source: str
    as_of: str


class Matters(NamedTuple):
    """The packages whose requirements are judged on a route."""

    route: str
    packages: tuple[str, ...]
    source: str
    as_of: str


class Watched(NamedTuple):
    """Packages whose versions are read from the target."""

    names: tuple[str, ...]
    source: str
    as_of: str


class KnownBad(NamedTuple):
    """Versions that fail together; packages are requirements that must all hold."""

    id: str
    title: str
    says: str
    packages: tuple[str, ...]
    min_capability: str
    below_capability: str
    platforms: tuple[str, ...]
    route: str
    cure: str
    verdict: str
    source: str
    as_of: str


class StackRules(NamedTuple):
    """The tables of both files."""

    as_of: str
    floors: tuple[StackFloor, ...]
    matters: tuple[Matters, ...]
    watched: tuple[str, ...]
    known_bad: tuple[KnownBad, ...]


def load_stack(folder: Path) -> StackRules:
    """Read the tables.

    Raises:
        RecipeError: naming the file and row that is not what it should be.
    """
    # Heavy, and not needed to explain or to list checks.
    from packaging.requirements import InvalidRequirement, Requirement

    data, listed = read(folder / "stack.toml"), read(folder / "known_bad.toml")
    bad = rows(KnownBad, listed, "known_bad")
    for row in bad:
        for text in row.packages:
            try:
                Requirement(text)
            except InvalidRequirement as error:
                raise RecipeError(f"recipe known_bad.toml: {row.id}: {text!r}: {error}") from error
    return StackRules(
        as_of=min(str(each.get("as_of", "")) for each in (data, listed)),
        floors=rows(StackFloor, data, "floor"),
        matters=rows(Matters, data, "matters"),
        watched=tuple(name for row in rows(Watched, data, "watched") for name in row.names),
        known_bad=bad,
    )
