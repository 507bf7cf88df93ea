"""What ends a route before its pictures are made, and the short names of errors."""

from __future__ import annotations

from collections.abc import Sequence

from klein_doctor.recipe_comfyui_run import FaultRow
from klein_doctor.values import printable

_LONGEST_NAME = 60
_LONGEST_SAID = 300


class Failed(Exception):
    """A run ends here; outcome and kind as in generation.Generation.

    says: one line, not redacted. text: what triage may explain. stage: a phase's name, "" where it
    is the one that had begun.
    """

    def __init__(self, outcome: str, kind: str, says: str, text: str = "", stage: str = "") -> None:
        super().__init__(says)
        self.outcome = outcome
        self.kind = kind
        self.says = printable(says.strip(), _LONGEST_SAID)
        self.text = text or says
        self.stage = stage


def kind_of(exception: str, message: str, faults: Sequence[FaultRow]) -> str:
    """The short name of an error by its type and message: a row's, else the exception's own."""
    said = f"{exception}: {message}".lower()
    for row in faults:
        if any(word in said for word in row.words):
            return row.kind
    return printable(exception.rpartition(".")[2], _LONGEST_NAME) or "error"


def first_line(text: str) -> str:
    """The first line of a text that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
