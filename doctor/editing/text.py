"""A file's bytes as text and back, whatever its encoding, without a byte lost."""

from __future__ import annotations

import codecs
from typing import NamedTuple

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Text(NamedTuple):
    """text without its byte order mark; encoding: what turns it back into the same bytes."""

    text: str
    encoding: str
    mark: bytes

    def bytes(self, text: str) -> bytes:
        """Another text as the file would hold it.

        Raises:
            ValueError: the file's encoding has no such sign.
        """
        return self.mark + text.encode(self.encoding)


def decoded(data: bytes) -> Text:
    """The text of a file; where nothing tells the encoding, one in which every byte is a sign."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return Text(data[len(mark) :].decode(encoding), encoding, mark)
            except UnicodeDecodeError:
                break
    try:
        return Text(data.decode("utf-8"), "utf-8", b"")
    except UnicodeDecodeError:
        return Text(data.decode("latin-1"), "latin-1", b"")


def lines(text: str) -> list[str]:
    """Lines with their ends, split at line feeds alone, as editors and shells count them."""
    parts = text.split("\n")
    return [f"{part}\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
