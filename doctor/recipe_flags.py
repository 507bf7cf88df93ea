"""ComfyUI's launch arguments, as rows of ``recipes/flags.toml``: what may be kept of each."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from klein_doctor.rows import RECIPES, read, rows


class FlagRow(NamedTuple):
    """An argument: how many values it takes, and whether these may enter a report.

    values: ``none``, ``one``, ``optional`` or ``many``. keep: ``value``, ``path`` or ``name`` (the
    value is left out).
    """

    name: str
    values: str
    keep: str
    source: str
    as_of: str


@lru_cache(maxsize=1)
def load_flags(folder: Path = RECIPES) -> dict[str, FlagRow]:
    """The rows by argument name.

    Raises:
        RecipeError: naming the row that is not what it should be.
    """
    return {row.name: row for row in rows(FlagRow, read(folder / "flags.toml"), "flag")}
