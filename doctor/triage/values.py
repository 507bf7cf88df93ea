"""What triage passes around: a line that was recognised, what is said of it, the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from klein_doctor.recipe_messages import MessageRow
from klein_doctor.values import Private

if TYPE_CHECKING:
    from klein_doctor.triage.text import Excerpt


class Seen(NamedTuple):
    """A row's message at a place of the text.

    line: without quote marks and time. number: of the line, from 0. groups: what the pattern named.
    """

    row: MessageRow
    line: str
    number: int
    groups: dict[str, str]
    text: Excerpt


class Say(NamedTuple):
    """What a reader concludes. checks: the likeliest first; "" for cause, do, certainty and grade
    means: as the row has it."""

    checks: tuple[str, ...]
    cause: str = ""
    do: str = ""
    certainty: str = ""
    grade: str = ""


class Guess(NamedTuple):
    """One check that a line speaks for. place: where in the text, 0 to 1. row: what recognised it.

    certainty: ``high``, ``medium`` or ``low``. rank: as Match.rank.
    """

    check: str
    line: str
    cause: str
    do: str
    certainty: str
    rank: float
    place: float
    row: str


class Match(NamedTuple):
    """A check and why. rank: the higher the better, of no meaning outside one answer.

    here: what the doctor finds on this machine, "" where it did not look.
    """

    check: str
    line: Private
    cause: str
    do: str
    certainty: str
    rank: float
    here: str = ""
