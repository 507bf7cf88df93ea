"""The recognition rules in the form in which they are looked up: names, shapes, patterns."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from klein_doctor.identity.tensors import Header
from klein_doctor.recipe_assets import AssetRules, Rule


class Mark(NamedTuple):
    """A tensor that must (not) be there. pattern: where the name holds a ``*``, else None."""

    name: str
    pattern: re.Pattern[str] | None
    first: str
    shape: tuple[int, ...] | None  # -1 is any number

    def found(self, header: Header, firsts: frozenset[str]) -> bool:
        """Whether the header has such a tensor; firsts are the first segments of its names."""
        if self.pattern is None:
            shape = header.shape(self.name)
            return shape is not None and self._fits(shape)
        if self.first not in firsts:
            return False
        return any(
            self.pattern.fullmatch(name) and self._fits(tuple(entry["shape"]))
            for name, entry in header.entries.items()
        )

    def _fits(self, shape: tuple[int, ...]) -> bool:
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            wanted in (-1, side) for wanted, side in zip(self.shape, shape, strict=True)
        )


class Marks(NamedTuple):
    """A rule, ready to be looked up."""

    rule: Rule
    has: tuple[Mark, ...]
    lacks: tuple[Mark, ...]

    def hold(self, header: Header, firsts: frozenset[str]) -> bool:
        """Whether the header fits the rule."""
        return all(mark.found(header, firsts) for mark in self.has) and not any(
            mark.found(header, firsts) for mark in self.lacks
        )


def match(header: Header, assets: AssetRules) -> Rule | None:
    """The first rule that fits a header."""
    firsts = frozenset(name.partition(".")[0] for name in header.entries)
    return next((m.rule for m in _marks(assets.rules) if m.hold(header, firsts)), None)


@lru_cache(maxsize=4)
def _marks(rules: tuple[Rule, ...]) -> tuple[Marks, ...]:
    return tuple(
        Marks(rule, tuple(map(_mark, rule.has)), tuple(map(_mark, rule.lacks))) for rule in rules
    )


def _mark(text: str) -> Mark:
    name, _, shape = text.partition(" ")
    sides = tuple(-1 if side == "*" else int(side) for side in shape.split("x")) if shape else None
    pattern = None
    if "*" in name:
        pattern = re.compile(re.escape(name).replace(r"\*", r"[0-9]+"))
    return Mark(name, pattern, name.partition(".")[0], sides)
