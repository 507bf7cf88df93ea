"""How Klein is meant to be sampled, as rows of ``recipes/workflow.toml``."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from klein_doctor.rows import RECIPES, RecipeError, read, rows


class SettingsRow(NamedTuple):
    """Steps and cfg (in tenths) of a variant."""

    variant: str
    steps: int
    cfg_tenths: int
    source: str
    as_of: str


@lru_cache(maxsize=1)
def load_workflow(folder: Path = RECIPES) -> dict[str, SettingsRow]:
    """The rows by variant.

    Raises:
        RecipeError: naming the row that is not what it should be.
    """
    table = rows(SettingsRow, read(folder / "workflow.toml"), "settings")
    found = {row.variant: row for row in table}
    if sorted(found) != ["base", "distilled"] or len(table) != len(found):
        raise RecipeError("recipe workflow.toml: [[settings]] needs base and distilled, once each")
    return found
