"""ComfyUI's launch arguments, as rows of ``recipes/flags.toml``: what may be kept of each."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from klein_doctor.rows import RECIPES, RecipeError, read, rows

_VALUES = frozenset({"none", "one", "optional", "many"})
_KEEP = frozenset({"value", "path", "name"})


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
    table = rows(FlagRow, read(folder / "flags.toml"), "flag")
    found: dict[str, FlagRow] = {}
    for row in table:
        if row.values not in _VALUES or row.keep not in _KEEP or row.name in found:
            raise RecipeError(f"recipe flags.toml: {row.name} stands twice or has an unknown word")
        found[row.name] = row
    return found
