"""What the pixels of a picture speak for, whoever drew it, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from klein_doctor.generate.pixels import texture
from klein_doctor.picture_file import NoPicture, opened
from klein_doctor.recipe_images import Bound, load_images
from klein_doctor.recipe_messages import SymptomRow, load_known
from klein_doctor.triage.values import Match
from klein_doctor.values import Private
from klein_doctor.verdict_images import broken

if TYPE_CHECKING:
    from collections.abc import Sequence

_SMALLEST = 256  # of a side in pixels: what is enlarged to be measured looks blurred
_RANK = 300.0  # below a workflow that is wrong: that would be why
_NEXT = 10.0
_GRADES = ("high", "medium", "low")
_FINE = (
    "neither blank nor noise, with contrast and edges. Wrong "
    "colours, a slight loss of contrast and whether it shows what was asked for cannot be told "
    "from a picture alone"
)


class Seen(NamedTuple):
    """Matches, the likeliest first; and what there is to say where there are none."""

    matches: list[Match]
    note: str


def judge_pixels(data: bytes) -> Seen:
    """Judge the bytes of a picture file by its pixels alone."""
    try:
        picture = opened(data)
    except NoPicture as error:
        return Seen([], f"this picture cannot be looked at: {error}")
    size = f"{picture.width}x{picture.height}"
    if min(picture.size) < _SMALLEST:
        return Seen([], f"this picture is too small to be judged by its pixels ({size})")
    missed = broken(texture(picture), load_images(), "any")
    if not missed:
        return Seen([], f"this picture of {size} looks fine: {_FINE}")
    return Seen(_matches(missed, size), "")


def _matches(missed: Sequence[Bound], size: str) -> list[Match]:
    surest = min(missed, key=lambda bound: _GRADES.index(bound.certainty))
    check = f"image-{surest.fault}"
    says = "; ".join(bound.says for bound in missed if bound.certainty == surest.certainty)
    line = Private.plain(f"a picture of {size} pixels; {says}")
    row = _symptom(check)
    cause, do = row.cause, row.do
    if surest.certainty != "high":
        cause = f"Seen from its pixels alone, which may be as they should. If not: {cause}"
    found = [Match(check, line, cause, do, surest.certainty, _RANK)]
    for number, other in enumerate(row.checks[1:], 1):
        found.append(Match(other, line, cause, do, "low", _RANK - number * _NEXT))
    return found


def _symptom(check: str) -> SymptomRow:
    """What people say who see such a picture: its causes are the same."""
    return next(row for row in load_known().symptoms if row.checks[0] == check)
