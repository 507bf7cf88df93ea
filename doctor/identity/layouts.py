"""Complete tables of tensors, written with ranges: ``blocks.{0-4}.weight BF16 3072x3072``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from klein_doctor.rows import RECIPES

_RANGE = re.compile(r"\{([\d,-]+)\}")


class Expected(NamedTuple):
    """A tensor as a table promises it."""

    dtype: str
    shape: tuple[int, ...]


@lru_cache(maxsize=8)
def layout(name: str) -> dict[str, Expected]:
    """The table of a name below ``recipes/layouts/``."""
    return read_layout(RECIPES / "layouts" / f"{name}.txt")


def read_layout(path: Path) -> dict[str, Expected]:
    """The tensors of one table by name; lines that begin with # are notes."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pattern, dtype, shape = line.split(" ")
            sides = () if shape == "-" else tuple(int(side) for side in shape.split("x"))
            for name in _names(pattern):
                found[name] = Expected(dtype, sides)
    return found


def _names(pattern: str) -> Iterator[str]:
    pieces = _RANGE.split(pattern)
    choices = [_numbers(text) if place % 2 else [text] for place, text in enumerate(pieces)]
    return ("".join(parts) for parts in itertools.product(*choices))


def _numbers(text: str) -> list[str]:
    found: list[str] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.extend(str(number) for number in range(int(first), int(last or first) + 1))
    return found
