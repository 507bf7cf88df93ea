"""Lines made to be slow for a pattern: its own pieces repeated, so that it nearly matches often."""

from __future__ import annotations

import re
from collections.abc import Iterator

_RUNS = (" ", "1", "a", "'", ".", "x ", "\\", "1x1 ", "['a', ")
_LITERAL = re.compile(r"[A-Za-z_][\w :'-]{2,60}")
_MOST_PIECES, _MIXED = 40, 10  # each is repeated; the first are mixed with runs too


def pieces(pattern: str) -> list[str]:
    """The words a pattern is made of, as plain text."""
    text = re.sub(r"\(\?P?<?\w*[>:]?", "(", pattern)
    text = re.sub(r"\\[bBwWdDsSAZ]", "|", text).replace("\\", "")
    found = [piece.strip() or piece for piece in _LITERAL.findall(text)]
    return list(dict.fromkeys(found))[:_MOST_PIECES]


def lines(pattern: str, words: tuple[str, ...], length: int) -> Iterator[str]:
    """Adversarial lines of a length for a pattern that is tried where one of the words stands."""
    parts = list(dict.fromkeys((*pieces(pattern), *words[:_MOST_PIECES])))
    yield from (_filled(run, length) for run in _RUNS)
    yield _filled("".join(parts), length)
    yield _filled(" ".join(reversed(parts)), length)
    for number, part in enumerate(parts):
        yield _filled(part, length)
        yield _filled(part + " ", length)
        for run in _RUNS if number < _MIXED else ():
            yield part + _filled(run, length - len(part))
            yield _filled(run, length - len(part)) + part
            yield _filled(part + run * 20, length)


def _filled(piece: str, length: int) -> str:
    return (piece * (length // len(piece) + 1))[:length]
