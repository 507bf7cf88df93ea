"""What a picture file is, and the workflow that ComfyUI writes into its pictures.

PNG text chunks ``prompt`` and ``workflow``: ComfyUI's SaveImage node; format: W3C PNG, 11.3.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_LONGEST = 4 << 20
_MOST_CHUNKS = 10_000
_WANTED = (b"prompt", b"workflow")


def is_picture(data: bytes) -> bool:
    """Whether these are the first bytes of a PNG, a JPEG or a WebP."""
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return data.startswith((SIGNATURE, _JPEG)) or webp


def workflows_in(data: bytes) -> list[str]:
    """The workflows of a PNG as JSON texts, the one that ran first; none where it holds none."""
    if not data.startswith(SIGNATURE):
        return []
    found = dict(_texts(data))
    return [found[name].decode("utf-8", "replace") for name in _WANTED if name in found]


def _texts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        if place + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, place)
        body = data[place + 8 : place + 8 + min(length, _LONGEST)]
        place += 12 + length
        name, _, rest = body.partition(b"\0")
        if name not in _WANTED:
            continue
        if kind == b"tEXt":
            yield name, rest
        elif kind == b"zTXt":
            yield name, _inflated(rest[1:])
        elif kind == b"iTXt" and len(rest) >= 2:
            text = rest[2:].split(b"\0", 2)[-1]
            yield name, _inflated(text) if rest[0] else text


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, _LONGEST)
    except zlib.error:
        return b""
