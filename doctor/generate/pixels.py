"""What a picture holds: its size, its pixels, what they measure, how two of them differ."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from klein_doctor.generation import Texture
from klein_doctor.picture_file import NoPicture, opened

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 400  # pixels, of the luminance that is measured; the calibration rests on it
_CELLS = 16  # on a side
_QUALITY = 85
_EVEN = 1  # the most a cell may vary and still be of one colour
_LAPLACE = (0, 1, 0, 1, -4, 1, 0, 1, 0)
_LAPLACE_SCALE = 2  # so that it fits a byte


class Look(NamedTuple):
    """A picture file; texture None and fault a text where it is no picture.

    width, height: pixels, 0 where not known. pixels: SHA-256 of the RGB bytes.
    """

    width: int
    height: int
    pixels: str
    texture: Texture | None
    fault: str = ""


def look(path: Path) -> Look:
    """Read a PNG, JPEG or WebP file; what is wrong with it becomes its fault."""
    try:
        return looked(opened(path))
    except NoPicture as error:
        return Look(0, 0, "", None, str(error))


def looked(picture: Image) -> Look:
    """What a picture in RGB measures."""
    digest = hashlib.sha256(picture.tobytes()).hexdigest()
    return Look(picture.width, picture.height, digest, texture(picture))


def difference(one: Path, other: Path) -> float | None:
    """Mean absolute difference of two pictures on 0 to 255, None where they cannot be compared."""
    try:
        first, second = opened(one), opened(other)
    except NoPicture:
        return None
    if first.size != second.size:
        return None
    from PIL import ImageChops, ImageStat

    means = ImageStat.Stat(ImageChops.difference(first, second)).mean
    return round(sum(means) / len(means), 4)


# --- measuring -------------------------------------------------------------------------------


def texture(picture: Image) -> Texture:
    """What an RGB picture measures; see generation.Texture."""
    from PIL import Image, ImageStat

    small = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    light = small.convert("L")
    told = ImageStat.Stat(light)
    std = told.stddev[0]
    cells = light.resize((_CELLS, _CELLS), Image.Resampling.BOX)
    return Texture(
        mean=round(told.mean[0], 2),
        std=round(std, 2),
        span=float(_span(light.histogram())),
        lag1=round(_lag1(light), 4),
        edges=round(_edges(light), 2),
        bits=round(_bits(light), 3),
        colour=round(_colour(small), 2),
        coarse=round(ImageStat.Stat(cells).stddev[0] / std, 4) if std else 1.0,
        flat=round(_flat(light), 4),
    )


def _span(histogram: Sequence[int]) -> int:
    """From the 1st to the 99th percentile of the values."""
    total, passed, low = sum(histogram), 0, -1
    for value, count in enumerate(histogram):
        passed += count
        if low < 0 and passed >= total * 0.01:
            low = value
        if passed >= total * 0.99:
            return value - low
    return 0


def _lag1(light: Image) -> float:
    """Correlation with the right neighbour: 1 less half of what they differ by, over the variance.

    1 where all is of one value.
    """
    from PIL import ImageChops, ImageStat

    left = light.crop((0, 0, light.width - 1, light.height))
    right = light.crop((1, 0, light.width, light.height))
    spread = (ImageStat.Stat(left).var[0] + ImageStat.Stat(right).var[0]) / 2
    if not spread:
        return 1.0
    squared = ImageStat.Stat(ImageChops.difference(left, right)).rms[0] ** 2
    return 1.0 - squared / (2 * spread)


def _edges(light: Image) -> float:
    from PIL import ImageFilter, ImageStat

    kernel = ImageFilter.Kernel((3, 3), _LAPLACE, scale=_LAPLACE_SCALE, offset=128)
    # The filter leaves the border as it was.
    inner = light.filter(kernel).crop((1, 1, light.width - 1, light.height - 1))
    return ImageStat.Stat(inner).stddev[0] * _LAPLACE_SCALE


def _bits(light: Image) -> float:
    out = io.BytesIO()
    light.save(out, "JPEG", quality=_QUALITY)
    return out.tell() * 8 / (light.width * light.height)


def _colour(small: Image) -> float:
    from PIL import Image

    few = small.resize((SIDE // 4, SIDE // 4), Image.Resampling.BOX).convert("YCbCr")
    _, blue, red = few.split()
    pairs = zip(blue.tobytes(), red.tobytes(), strict=True)
    away = [math.hypot(b - 128, r - 128) for b, r in pairs]
    return sum(away) / len(away)


def _range(light: Image) -> tuple[int, int]:
    """The darkest and the lightest value there is."""
    values = light.tobytes()
    return min(values), max(values)


def _flat(light: Image) -> float:
    """The share of the cells that are of one value."""
    side = light.width // _CELLS
    even = 0
    for number in range(_CELLS * _CELLS):
        x, y = number % _CELLS * side, number // _CELLS * side
        low, high = _range(light.crop((x, y, x + side, y + side)))
        even += high - low <= _EVEN
    return even / (_CELLS * _CELLS)
