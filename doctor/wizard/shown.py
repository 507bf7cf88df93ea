"""The plan as a table of plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from klein_doctor.chosen import Row
from klein_doctor.model import Private
from klein_doctor.report.repairs import size
from klein_doctor.values import printable

_MARKS = {True: "[x]", False: "[ ]", None: " - "}
_COLUMNS = 60
_GRADES = {"manual": "by hand"}


def plan_lines(rows: Sequence[Row], width: int) -> Iterator[str]:
    """The table in lines of at most width characters, 20 or more; ASCII but for the titles.

    Where columns have no room, kind, size and grade stand below each title.
    """
    sizes = [_size(row) for row in rows]
    narrow = width < _COLUMNS
    wide = max([len("size"), *map(len, sizes)])
    room = max(20, width - (9 + 1 + 9 + 1 + wide + 2 + len("by hand")))
    if narrow:
        room = max(10, width - 9)
    else:
        yield f"         {'what':<{room}} {'kind':<9} {'size':>{wide}}  grade"
    for number, (row, told) in enumerate(zip(rows, sizes, strict=True), 1):
        step = row.step
        title = f"{step.title} (a warning)" if row.warning else step.title
        first, *more = textwrap.wrap(printable(title, 400), room) or [""]
        grade = _GRADES.get(step.grade, step.grade)
        line = f" {_MARKS[row.tick]} {number:>2}. "
        if narrow:
            yield f"{line}{first}"
            yield from _more(" ".join((*more, f"({step.kind}, {told}, {grade})")), width)
        else:
            yield f"{line}{first:<{room}} {step.kind:<9} {told:>{wide}}  {grade}"
            yield from (f"         {line}" for line in more)
        if step.touches:
            yield from _more(f"touches {', '.join(step.touches)}", width)
        if step.grade == "manual":
            for command in step.commands:
                yield from _more(_argv(command), width)


def _more(text: str, width: int) -> Iterator[str]:
    yield from textwrap.wrap(
        printable(text, 600), width, initial_indent=" " * 9, subsequent_indent=" " * 11
    )


def _size(row: Row) -> str:
    if row.step.bytes is None:
        return "later"
    return size(row.step) or "-"


def _argv(command: Sequence[str | Private]) -> str:
    words = (word.local if isinstance(word, Private) else word for word in command)
    return " ".join(f'"{word}"' if " " in word else word for word in words)
