"""The pictures of a run, small enough to stand in a page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from klein_doctor.picture_file import NoPicture, opened

_SIDE = 640  # pixels
_QUALITY = 82


def embedded(path: Path) -> str:
    """A data URI of the picture in a file, made smaller where it is large; "" for what is none."""
    try:
        picture = opened(path)
    except NoPicture:
        return ""
    picture.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
