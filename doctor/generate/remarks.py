"""Which lines of a run's log are worth a remark: by the rows of images.toml and of triage."""

from __future__ import annotations

from functools import lru_cache

from klein_doctor.recipe_images import RemarkRow, load_images
from klein_doctor.recipe_messages import MessageRow, load_known
from klein_doctor.triage.search import compiled

_LONGEST = 4096


def remark_kind(line: str) -> str:
    """The kind of remark that a line is, "" for none."""
    line = line[:_LONGEST]
    low = line.lower()
    for row, message in _rows():
        words = message.any if message is not None else row.words
        if not any(word in low for word in words):
            continue
        if message is None or not message.pattern or compiled(message.pattern).search(line):
            return row.kind
    return ""


@lru_cache(maxsize=1)
def _rows() -> tuple[tuple[RemarkRow, MessageRow | None], ...]:
    """The rows, each with the message of triage that it goes by."""
    messages = {row.id: row for row in load_known().messages}
    return tuple((row, messages[row.message] if row.message else None)
                 for row in load_images().remarks)  # fmt: skip
