"""The header of a GGUF file: metadata and tensors (ggml-org/ggml, docs/gguf.md)."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

from klein_doctor.identity.tensors import Damage, Header, HeaderError, Reading

# A tokenizer's word list is part of the header: several megabytes of it are usual.
_LONGEST_HEADER = 64 << 20
_MOST_ENTRIES = 1 << 15
_MOST_ITEMS = 1 << 21
_LONGEST_TEXT = 1 << 12
_MOST_DIMENSIONS = 8
_FARTHEST = 1 << 62
_WINDOW = 1 << 20
# Metadata value types: bytes of those of a fixed size.
_FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_INTEGERS = {4: "<I", 5: "<i", 10: "<Q", 11: "<q"}
_STRING, _ARRAY = 8, 9
# Type number: name, elements per block, bytes per block (ggml.h, ggml-common.h).
_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
    27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip
# general.file_type: the mixture a build is called by (ggml-org/llama.cpp, llama_ftype).
FILE_TYPES = {
    "0": "F32", "1": "F16", "2": "Q4_0", "3": "Q4_1", "7": "Q8_0", "8": "Q5_0", "9": "Q5_1",
    "10": "Q2_K", "11": "Q3_K_S", "12": "Q3_K_M", "13": "Q3_K_L", "14": "Q4_K_S", "15": "Q4_K_M",
    "16": "Q5_K_S", "17": "Q5_K_M", "18": "Q6_K", "32": "BF16",
}  # fmt: skip


def parse(stream: BinaryIO, size: int) -> Reading:
    """The header of a GGUF file of size bytes; stream stands anywhere."""
    try:
        return _Reader(stream, size).reading()
    except HeaderError as error:
        return Reading(None, error.damage)


def _broken(says: str) -> HeaderError:
    return HeaderError("header", f"a GGUF file {says}")


class _Reader:
    """Reads forward through a window, never beyond the file or a limit."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size
        self._window = b""
        self._start = 4  # where the window begins in the file
        self._at = 0  # the place within the window
        stream.seek(4)

    def reading(self) -> Reading:
        version = self._number("<I")
        if version not in (2, 3):
            raise _broken(f"of version {version}, which the doctor does not read")
        tensors, pairs = self._number("<Q"), self._number("<Q")
        if max(tensors, pairs) > _MOST_ENTRIES:
            raise _broken("that counts more entries than any model has")
        metadata = self._metadata(pairs)
        entries, length = self._tensors(tensors)
        align = metadata.get("general.alignment", "32")
        step = int(align) if align.isdecimal() and 0 < int(align) <= 1 << 20 else 32
        begin = -(-(self._start + self._at) // step) * step
        end = begin + length if length is not None else 0
        return Reading(Header("gguf", entries, metadata, end), self._sized(end))

    def _sized(self, end: int) -> Damage | None:
        if self._size >= end:
            return None
        share = f"{100 * self._size // end} %"
        return Damage("truncated", f"cut off after {self._size:,} of {end:,} bytes ({share})")

    def _metadata(self, pairs: int) -> dict[str, str]:
        found: dict[str, str] = {}
        for _ in range(pairs):
            key = self._text()
            kind = self._number("<I")
            if kind == _STRING:
                found[key] = self._text()
            elif kind == _ARRAY:
                self._skip_array()
            elif kind in _INTEGERS:
                found[key] = str(self._number(_INTEGERS[kind]))
            elif kind in _FIXED:
                self._skip(_FIXED[kind])
            else:
                raise _broken(f"with a value of unknown type {kind}")
        return found

    def _skip_array(self) -> None:
        kind, count = self._number("<I"), self._number("<Q")
        if count > _MOST_ITEMS:
            raise _broken("that counts more items than any model has")
        if kind == _STRING:
            for _ in range(count):
                self._skip(self._number("<Q"))
        elif kind in _FIXED:
            self._skip(count * _FIXED[kind])
        else:
            raise _broken("with a list of lists")

    def _tensors(self, count: int) -> tuple[dict[str, dict[str, Any]], int | None]:
        """The tensors, and where their data ends; None where a type is newer than the table."""
        found: dict[str, dict[str, Any]] = {}
        last: int | None = 0
        for _ in range(count):
            name = self._text()
            dimensions = self._number("<I")
            if dimensions > _MOST_DIMENSIONS:
                raise _broken("with a tensor of more dimensions than any model's")
            # GGUF counts the innermost dimension first, everybody else the outermost.
            shape = [self._number("<Q") for _ in range(dimensions)][::-1]
            kind, begin = self._number("<I"), self._number("<Q")
            elements = 1
            for side in shape:
                elements *= side
            if elements > _FARTHEST or begin > _FARTHEST or name in found:
                raise _broken("with a tensor beyond any size, or named twice")
            dtype, per, size = _TYPES.get(kind, (f"type {kind}", 1, 0))
            end = begin + -(-elements // per) * size
            found[name] = {"dtype": dtype, "shape": shape, "data_offsets": (begin, end)}
            last = None if last is None or not size else max(last, end)
        return found, last

    def _text(self) -> str:
        length = self._number("<Q")
        if length > _LONGEST_TEXT:  # a chat template; a name never is so long
            self._skip(length)
            return ""
        return self._take(length).decode("utf-8", "replace")

    def _number(self, form: str) -> int:
        (value,) = struct.unpack(form, self._take(struct.calcsize(form)))
        return int(value)

    def _take(self, length: int) -> bytes:
        if self._at + length > len(self._window):
            self._fill(length)
        begin = self._at
        self._at += length
        return self._window[begin : self._at]

    def _fill(self, length: int) -> None:
        """Move the window to the current place, so that it holds length bytes more."""
        place = self._start + self._at
        self._bounds(place + length)
        self._stream.seek(place)
        window = b""
        while len(window) < length:
            piece = self._stream.read(_WINDOW)
            if not piece:
                raise HeaderError("truncated", "cut off within its header while it was read")
            window += piece
        self._window, self._start, self._at = window, place, 0

    def _skip(self, length: int) -> None:
        if self._at + length <= len(self._window):
            self._at += length
            return
        place = self._start + self._at + length
        self._bounds(place)
        self._window, self._start, self._at = b"", place, 0

    def _bounds(self, place: int) -> None:
        if place > self._size:
            raise HeaderError("truncated", f"cut off within its header, after {self._size:,} bytes")
        if place > _LONGEST_HEADER:
            raise HeaderError("too-long", "a GGUF file whose header is longer than any known")
