"""The pictures a run left: read, measured, compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from klein_doctor.generate.job import Made
from klein_doctor.generate.pixels import difference, look
from klein_doctor.generation import Picture
from klein_doctor.privacy import Redactor


class Looked(NamedTuple):
    """The pictures, and mean differences on 0 to 255 as generation.Generation has them."""

    pictures: tuple[Picture, ...]
    repeated: float | None
    differed: float | None


def looked_at(made: Sequence[Made], redactor: Redactor) -> Looked:
    """Look at the pictures in the order in which they were made: seeds A, B, A."""
    pictures = tuple(_picture(each, redactor) for each in made)
    paths = [each.path for each in made]
    return Looked(
        pictures,
        difference(paths[0], paths[2]) if len(paths) > 2 else None,
        difference(paths[0], paths[1]) if len(paths) > 1 else None,
    )


def _picture(made: Made, redactor: Redactor) -> Picture:
    seen = look(made.path)
    return Picture(
        seed=made.seed,
        path=redactor.path(str(made.path)),
        width=seen.width,
        height=seen.height,
        pixels=seen.pixels,
        seconds=made.seconds,
        cached=made.cached,
        not_finite=made.not_finite,
        texture=seen.texture,
        fault=seen.fault,
    )
