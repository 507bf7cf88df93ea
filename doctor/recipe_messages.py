"""Known messages, symptoms and tensor widths, as rows of ``recipes/messages_*.toml`` and
``recipes/widths.toml``: what ``triage`` recognises."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from klein_doctor.rows import RECIPES, RecipeError, read, rows

GRADES = ("error", "warning", "hint")
CERTAINTIES = ("high", "medium", "low")


class MessageRow(NamedTuple):
    """A known message.

    any: lower-case words, one of which the text holds. pattern: what the line looks like, "" where
    the words are enough. checks: the likeliest first. grade: how much the line says of why a run
    failed: ``error``, ``warning`` or ``hint``. reader: the function that looks further, or "".
    example: a line the row explains.
    """

    id: str
    any: tuple[str, ...]
    checks: tuple[str, ...]
    cause: str
    do: str
    example: str
    source: str
    as_of: str
    pattern: str = ""
    reader: str = ""
    grade: str = "error"
    certainty: str = "high"


class SymptomRow(NamedTuple):
    """What people say in their own words. pattern: matched against the text in lower case.

    short: of a phrase of a few words, what must be all that is left without the filler.
    """

    id: str
    pattern: str
    checks: tuple[str, ...]
    cause: str
    do: str
    example: str
    source: str
    as_of: str
    short: str = ""


class EncoderWidth(NamedTuple):
    """What a text encoder gives: numbers per token, as the left factor's second number."""

    width: int
    says: str
    source: str
    as_of: str


class TransformerShape(NamedTuple):
    """What a transformer takes, as the two numbers of the right factor. klein: of Klein 4B."""

    takes: int
    gives: int
    says: str
    kind: str
    source: str
    as_of: str


class Known(NamedTuple):
    """All rows. filler: words that say nothing by themselves, in a description of a few words."""

    messages: tuple[MessageRow, ...]
    symptoms: tuple[SymptomRow, ...]
    encoders: dict[int, str]
    transformers: dict[tuple[int, int], TransformerShape]
    filler: str


@lru_cache(maxsize=1)
def load_known(folder: Path = RECIPES) -> Known:
    """The rows of all files.

    Raises:
        RecipeError: naming the row that is not what it should be.
    """
    messages: list[MessageRow] = []
    for path in sorted(folder.glob("messages_*.toml")):
        data = read(path)
        for row in rows(MessageRow, data, "message"):
            _checked(row, path.name, data)
            messages.append(row)
    names = [row.id for row in messages]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RecipeError(f"recipe messages: {twice} stands twice")
    spoken = read(folder / "symptoms.toml")
    widths = read(folder / "widths.toml")
    return Known(
        messages=tuple(messages),
        symptoms=rows(SymptomRow, spoken, "symptom"),
        encoders={row.width: row.says for row in rows(EncoderWidth, widths, "encoder")},
        transformers={
            (row.takes, row.gives): row for row in rows(TransformerShape, widths, "transformer")
        },
        filler=str(spoken["filler"]),
    )


def _checked(row: MessageRow, name: str, data: dict[str, object]) -> None:
    """A row whose words are not lower case, or whose pattern is none, would never be found."""
    sources = data.get("sources")
    fault = ""
    if not row.any or any(word != word.lower() or len(word) < 3 for word in row.any):
        fault = "any needs words in lower case"
    elif row.grade not in GRADES or row.certainty not in CERTAINTIES or not row.checks:
        fault = "grade, certainty or checks"
    elif not isinstance(sources, dict) or row.source not in sources:
        fault = f"source {row.source} is not among [sources]"
    else:
        try:
            re.compile(row.pattern)
        except re.error as error:
            fault = f"pattern: {error}"
    if fault:
        raise RecipeError(f"recipe {name}: [[message]] {row.id}: {fault}")
