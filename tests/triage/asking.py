"""Ask triage in this process: a text in, guesses out."""

from __future__ import annotations

from klein_doctor.recipe_messages import load_known
from klein_doctor.triage.rank import guesses
from klein_doctor.triage.text import excerpt_of
from klein_doctor.triage.values import Guess


def asked(text: str | bytes) -> list[Guess]:
    """The guesses for a text, the best first."""
    data = text if isinstance(text, bytes) else text.encode("utf-8")
    return guesses(excerpt_of([data]), load_known())


def checks(text: str | bytes) -> list[str]:
    """The names of the checks, the best first."""
    return [guess.check for guess in asked(text)]


def first(text: str | bytes) -> str:
    """The likeliest check, "" where nothing is known."""
    return next(iter(checks(text)), "")
