"""The pictures of a run, small enough to stand in a page."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path

_SIDE = 640  # pixels
_QUALITY = 82
_LARGEST_FILE = 64 << 20


def embedded(path: Path) -> str:
    """A data URI of the picture in a file, made smaller where it is large; "" for what is none."""
    from PIL import Image

    try:
        if path.stat().st_size > _LARGEST_FILE:
            return ""
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a picture made to fill memory warns first
            with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as image:
                image.draft("RGB", (_SIDE, _SIDE))
                image.thumbnail((_SIDE, _SIDE))
                out = io.BytesIO()
                image.convert("RGB").save(out, "JPEG", quality=_QUALITY, optimize=True)
    except (OSError, ValueError, SyntaxError, MemoryError, Warning, Image.DecompressionBombError):
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
