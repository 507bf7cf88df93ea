"""Known messages in a text: by their words first, by their pattern only where a word was found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from klein_doctor.recipe_messages import MessageRow
from klein_doctor.triage.text import Excerpt, bare, wrapped
from klein_doctor.triage.values import Seen

_FIRST, _LAST = 12, 12  # places of one word that are looked at, from the front and from the end
_WINDOW = 1200  # of a longer line, so much on each side of the word


def seen(text: Excerpt, rows: tuple[MessageRow, ...]) -> list[Seen]:
    """The rows' messages in the text, in its order; each row at its first and last places."""
    found = [item for row in rows for item in _of_row(text, row)]
    for joined in wrapped(text):
        known = {item.row.id for item in found}
        for row in rows:
            if row.id not in known:
                # A window as wide as three lines must not be taken for one of their number.
                found += [item._replace(text=text) for item in _of_row(joined, row)][:2]
    return sorted(found, key=lambda item: item.number)


def _of_row(text: Excerpt, row: MessageRow) -> Iterator[Seen]:
    for number, column in sorted(_places(text, row).items()):
        line = _window(text.lines[number], column)
        groups = _groups(row, line)
        if groups is None and (shorter := bare(line)) != line:
            groups = _groups(row, shorter)
        if groups is not None:
            yield Seen(row, bare(line), number, groups, text)


def _places(text: Excerpt, row: MessageRow) -> dict[int, int]:
    """The lines that hold one of the row's words: number, and where in it."""
    found: dict[int, int] = {}
    for word in row.any:
        needle = word.encode()
        at, count = text.low.find(needle), 0
        while at >= 0 and count < _FIRST:
            at = _note(text, at, found)
            at = text.low.find(needle, at)
            count += 1
        if at < 0:
            continue
        end, count = len(text.low), 0
        while count < _LAST:
            last = text.low.rfind(needle, at, end)
            if last < 0:
                break
            _note(text, last, found)
            end = text.span(text.line_at(last))[0]
            count += 1
    return found


def _note(text: Excerpt, at: int, found: dict[int, int]) -> int:
    """Take down the line at a place; returns where the next one begins."""
    number = text.line_at(at)
    start, end = text.span(number)
    found.setdefault(number, at - start)
    return end + 1


def _window(line: str, column: int) -> str:
    """A line, or of a long one what stands around the word (column in bytes: near enough)."""
    if len(line) <= 2 * _WINDOW:
        return line
    column = min(column, len(line))
    return line[max(0, column - _WINDOW) : column + _WINDOW]


def _groups(row: MessageRow, line: str) -> dict[str, str] | None:
    if not row.pattern:
        return {}
    found = compiled(row.pattern).search(line)
    if found is None:
        return None
    return {name: value for name, value in found.groupdict().items() if value}


@lru_cache(maxsize=512)
def compiled(pattern: str) -> re.Pattern[str]:
    """A row's pattern, made only when it is needed: there are many."""
    return re.compile(pattern, re.IGNORECASE)
