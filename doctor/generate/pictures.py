"""The pictures a run left: read, measured, compared."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from klein_doctor.generate.job import Made
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
    good = {n: each.path for n, each in enumerate(made) if not pictures[n].fault}
    return Looked(
        pictures,
        _difference(good[0], good[2]) if {0, 2} <= good.keys() else None,
        _difference(good[0], good[1]) if {0, 1} <= good.keys() else None,
    )


def _picture(made: Made, redactor: Redactor) -> Picture:
    image = _opened(made.path)
    fault = image if isinstance(image, str) else ""
    width, height = (0, 0) if isinstance(image, str) else image.size
    digest = "" if isinstance(image, str) else hashlib.sha256(image.tobytes()).hexdigest()
    return Picture(
        seed=made.seed,
        path=redactor.path(str(made.path)),
        width=width,
        height=height,
        pixels=digest,
        seconds=made.seconds,
        cached=made.cached,
        not_finite=made.not_finite,
        texture=None,
        fault=fault,
    )


def _difference(one: Path, other: Path) -> float | None:
    first, second = _opened(one), _opened(other)
    if isinstance(first, str) or isinstance(second, str) or first.size != second.size:
        return None
    from PIL import ImageChops, ImageStat

    means = ImageStat.Stat(ImageChops.difference(first, second)).mean
    return round(sum(means) / len(means), 4)


def _opened(path: Path) -> Any:
    """The picture in RGB, or in words why it is none."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"it cannot be read ({type(error).__name__})"
