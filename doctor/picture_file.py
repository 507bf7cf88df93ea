"""Picture files, opened without trusting them.

A file may be anything: it is never read beyond a size, decoded beyond a number of pixels, or able
to do more than be called no picture.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from klein_doctor.values import printable

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = ("PNG", "JPEG", "WEBP")
_LARGEST_FILE = 128 << 20
_MOST_PIXELS = 8192 * 8192


class NoPicture(ValueError):
    """The file is no picture that can be read; says why in a few words."""


def opened(source: Path | bytes) -> Picture:
    """The picture in a file, or in its bytes, as RGB.

    Raises:
        NoPicture: it is none, is cut short, or is larger than any picture that is made here.
    """
    from PIL import Image

    with _faults_told(), _without_warnings(), Image.open(_bounded(source), formats=FORMATS) as file:
        width, height = file.size
        if width * height > _MOST_PIXELS:
            raise NoPicture(f"it says that it has {width}x{height} pixels, and is not opened")
        picture: Picture = file.convert("RGB")
    return picture


def _bounded(source: Path | bytes) -> io.BytesIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    with source.open("rb") as stream:
        data = stream.read(_LARGEST_FILE + 1)
    if len(data) > _LARGEST_FILE:
        raise NoPicture(f"it is larger than {_LARGEST_FILE >> 20} MiB")
    return io.BytesIO(data)


@contextlib.contextmanager
def _faults_told() -> Iterator[None]:
    """What opening and decoding raise, in words."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except NoPicture:
        raise
    except Image.DecompressionBombError as error:
        raise NoPicture("it says that it has far too many pixels, and is not opened") from error
    except UnidentifiedImageError as error:
        raise NoPicture("it is no PNG, JPEG or WebP file") from error
    except OSError as error:
        if error.errno is not None:
            raise NoPicture(error.strerror or "it cannot be read") from error
        raise NoPicture(f"it is cut short or damaged ({_said(error)})") from error
    except MemoryError as error:
        raise NoPicture("there is not enough memory to open it") from error
    except Exception as error:  # decoders raise anything at bytes nobody foresaw
        raise NoPicture(f"it is damaged ({_said(error)})") from error


def _said(error: Exception) -> str:
    return printable(str(error), 60) or type(error).__name__


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """What a decoder remarks of odd files is nothing for the user's terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
