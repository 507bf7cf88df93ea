"""How a test generation with diffusers is run: ``recipes/diffusers.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from klein_doctor.rows import RECIPES, RecipeError, read, rows


class Api(NamedTuple):
    """What a version of diffusers decides. dtype_since: the first whose word for the type is so."""

    dtype_since: str
    source: str
    as_of: str


class Limit(NamedTuple):
    """How long a phase may go without a sign of progress."""

    phase: str
    seconds: int
    source: str
    as_of: str


class Lost(NamedTuple):
    """Words of an error after which the card does not answer any more."""

    texts: tuple[str, ...]
    source: str
    as_of: str


class DiffusersRules(NamedTuple):
    """The tables of the file; limits: seconds by phase."""

    as_of: str
    api: Api
    limits: dict[str, float]
    lost: Lost


def load_diffusers(folder: Path = RECIPES) -> DiffusersRules:
    """Read the tables.

    Raises:
        RecipeError: naming the file and row that is not what it should be.
    """
    data = read(folder / "diffusers.toml")
    limits = {row.phase: float(row.seconds) for row in rows(Limit, data, "limit")}
    if "start" not in limits or min(limits.values()) <= 0:
        raise RecipeError("recipe diffusers.toml: a [[limit]] is no time, or start has none")
    return DiffusersRules(
        str(data.get("as_of", "")),
        rows(Api, data, "api")[0],
        limits,
        rows(Lost, data, "lost")[0],
    )
