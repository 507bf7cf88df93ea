"""No line, however it is made, holds a pattern up."""

from __future__ import annotations

import heapq
import time

import pytest
from asking import asked
from hostile import lines

from klein_doctor.privacy import Redactor
from klein_doctor.recipe_messages import MessageRow, SymptomRow, load_known
from klein_doctor.triage.search import compiled
from klein_doctor.triage.shown import shown
from klein_doctor.triage.text import excerpt_of, wrapped

LINE = 4000  # signs; longer lines are cut before they are searched
# Wide of the slowest honest pattern by an order of magnitude on a slow machine.
LONGEST_S = 0.5
TIMES, GROWTH = 4, 40
NOISE_S = 0.02
WHOLE_LOG_S = 60.0
# What the cleaning of a line and its redaction look for.
RUNS = ("\x1b[", "&#", "&amp", ">", "| ", "* ", "[2026-", "12:", "``` ", "\\n", "://a", "a@a.",
        "/home/", "C:\\Users\\", "token=", "--a-", "sk-", 'File "', "eyJ")  # fmt: skip
_KNOWN = load_known()
_ROWS = [row for row in (*_KNOWN.messages, *_KNOWN.symptoms) if row.pattern]


def took(pattern: str, line: str) -> float:
    """Seconds of one search."""
    start = time.perf_counter()
    compiled(pattern).search(line)
    return time.perf_counter() - start


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row.id)
def test_a_line_made_of_a_patterns_own_pieces(row: MessageRow | SymptomRow) -> None:
    words = row.any if isinstance(row, MessageRow) else ()
    # The slowest of the whole length is among the slowest of a part of it.
    both = zip(*(lines(row.pattern, words, size) for size in (LINE // TIMES, LINE)), strict=True)
    slow = heapq.nlargest(20, both, key=lambda sizes: took(row.pattern, sizes[0]))
    slowest = max((line for _, line in slow), key=lambda line: took(row.pattern, line))
    long = min(took(row.pattern, slowest) for _ in range(3))
    assert long < LONGEST_S, slowest[:80]
    short = min(took(row.pattern, slowest[: LINE // TIMES]) for _ in range(3))
    assert long < NOISE_S or long < GROWTH * short, slowest[:80]


def test_a_log_of_nothing_but_such_lines() -> None:
    made = [
        line
        for row in _KNOWN.messages
        for line in list(lines(row.pattern, row.any, LINE))[:: max(1, LINE // 100)]
    ]
    text = "\n".join(made)
    assert len(text) > 1 << 20
    start = time.perf_counter()
    asked(text)
    assert time.perf_counter() - start < WHOLE_LOG_S


@pytest.mark.parametrize("run", RUNS)
def test_cleaning_and_redaction_take_any_run(run: str) -> None:
    line = (run * LINE)[:LINE]
    redactor = Redactor(("ada",), ("/home/ada",), ("tower",))
    start = time.perf_counter()
    excerpt = excerpt_of([(line + "\n").encode() * 20])
    wrapped(excerpt)
    shown(redactor, line)
    assert time.perf_counter() - start < TIMES * LONGEST_S
