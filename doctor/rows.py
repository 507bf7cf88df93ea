"""How recipe files become rows: TOML tables into NamedTuples, with every misfit named."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, TypeVar

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - the other branch is the one covered on newer Pythons
    import tomli as tomllib

Row = TypeVar("Row")

RECIPES = Path(__file__).parent / "recipes"
_FILE = "/file"  # where a table that was read keeps the name of its file
_TYPES = {"str": str, "int": int, "bool": bool, "float": float}


class RecipeError(ValueError):
    """A recipe file does not have the shape its rows promise."""


def pair(text: str) -> tuple[int, int]:
    """``"12.0"`` as ``(12, 0)``."""
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def read(path: Path) -> dict[str, Any]:
    """The tables of one file.

    Raises:
        RecipeError: the file cannot be read or is not TOML.
    """
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return {**data, _FILE: path.name}
    except (OSError, ValueError) as error:
        raise RecipeError(f"recipe {path.name} cannot be read: {error}") from error


def parse(text: str) -> dict[str, Any]:
    """TOML as data.

    Raises:
        ValueError: it is none.
    """
    found: dict[str, Any] = tomllib.loads(text)
    return found


def rows(kind: type[Row], data: dict[str, Any], table: str) -> tuple[Row, ...]:
    """The rows of one table as values of kind, a NamedTuple of plain fields.

    Raises:
        RecipeError: no such table, or a row that does not fit the kind's fields.
    """
    where = f"recipe {data[_FILE]}: [[{table}]]"
    found = data.get(table)
    if not isinstance(found, list) or not found:
        raise RecipeError(f"{where} has no rows")
    made = []
    for number, row in enumerate(found, 1):
        try:
            made.append(kind(**{key: _frozen(value) for key, value in row.items()}))
        except (TypeError, AttributeError) as error:
            raise RecipeError(f"{where} row {number}: {error}") from error
        for key, annotation in kind.__annotations__.items():
            # A type, or its name where the kind's module postpones annotations.
            name = getattr(annotation, "__name__", str(annotation))
            wanted = getattr(annotation, "__forward_arg__", name)
            if type(getattr(made[-1], key)) is not _TYPES.get(wanted, tuple):
                raise RecipeError(f"{where} row {number}: {key} is not {wanted}")
    return tuple(made)


def overlaid(
    current: tuple[Row, ...], data: dict[str, Any], table: str, key: str
) -> tuple[Row, ...]:
    """Rows with what another file's table says of them: each of its rows names one by key.

    Raises:
        RecipeError: a row that names none, or does not fit.
    """
    found = {getattr(row, key): row for row in current}
    for number, more in enumerate(data.get(table, ()), 1):
        where = f"recipe {data[_FILE]}: [[{table}]] row {number}"
        if not isinstance(more, dict) or more.get(key) not in found:
            names = ", ".join(map(str, found))
            raise RecipeError(f"{where}: {key} names no row that there is ({names})")
        row: Any = found[more[key]]
        for name, value in more.items():
            if type(getattr(row, name, None)) is not type(_frozen(value)):
                raise RecipeError(f"{where}: {name} is not what such a row has")
        found[more[key]] = row._replace(**{n: _frozen(v) for n, v in more.items()})
    return tuple(found.values())


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
