"""What the test pictures are made of, as a row of ``recipes/prompt.toml``."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from klein_doctor.rows import RECIPES, RecipeError, read, rows


class PromptRow(NamedTuple):
    """A prompt with its seeds, in the order A, B, A; pixels: of a side."""

    id: str
    text: str
    seeds: tuple[int, ...]
    pixels: int
    source: str
    as_of: str


@lru_cache(maxsize=1)
def load_prompt(folder: Path = RECIPES) -> PromptRow:
    """The prompt of the test pictures.

    Raises:
        RecipeError: there is none, or its seeds are not two, the first again at the end.
    """
    row = rows(PromptRow, read(folder / "prompt.toml"), "prompt")[0]
    if len(row.seeds) != 3 or row.seeds[0] != row.seeds[2] or row.seeds[0] == row.seeds[1]:
        raise RecipeError(f"recipe prompt.toml: [[prompt]] {row.id}: its seeds are not A, B, A")
    return row
