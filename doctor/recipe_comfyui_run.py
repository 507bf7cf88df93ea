"""How long a run of ComfyUI's waits, and its errors' names: ``recipes/comfyui_run.toml``."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from klein_doctor.rows import RECIPES, RecipeError, read, rows


class LimitRow(NamedTuple):
    """So many seconds are waited for something."""

    id: str
    seconds: int
    source: str
    as_of: str


class FaultRow(NamedTuple):
    """The short name of errors whose type or message holds one of the words, in lower case."""

    kind: str
    words: tuple[str, ...]
    source: str
    as_of: str


class Limits(NamedTuple):
    """Seconds, by what is waited for; the file says what each is."""

    start: float
    quiet: float
    queue: float
    silent: float


class RunRules(NamedTuple):
    """The tables of ``comfyui_run.toml``."""

    limits: Limits
    faults: tuple[FaultRow, ...]


@lru_cache(maxsize=1)
def load_comfyui_run(folder: Path = RECIPES) -> RunRules:
    """Read the tables.

    Raises:
        RecipeError: naming the row that is not what it should be.
    """
    data = read(folder / "comfyui_run.toml")
    found = {row.id: float(row.seconds) for row in rows(LimitRow, data, "limit")}
    if sorted(found) != sorted(Limits._fields):
        wanted = ", ".join(Limits._fields)
        raise RecipeError(f"recipe comfyui_run.toml: [[limit]] needs {wanted}, once each")
    return RunRules(Limits(**found), rows(FaultRow, data, "fault"))
