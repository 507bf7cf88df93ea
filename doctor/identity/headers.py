"""Read what a model file says of itself: the header of a safetensors or GGUF file, nothing more.

Cost and memory depend on the header, never on the file's size. Nothing of the file is run, and a
Python pickle is recognised without being loaded. Format: huggingface/safetensors README, "Format".
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any, BinaryIO, cast

from klein_doctor.identity import gguf
from klein_doctor.identity.sniff import SNIFFED, sniff
from klein_doctor.identity.tensors import Damage, Header, HeaderError, Reading

# The format's own bound, and the doctor's: the largest headers of real models are below 2 MB.
FORMAT_BOUND = 100_000_000
LONGEST_HEADER = 4 << 20
# What so long a text may hold at most, so that its values stay within tens of megabytes.
_MOST_OBJECTS, _MOST_ITEMS = 60_000, 400_000
_LONGEST_NAME, _LONGEST_TYPE = 1024, 24
_MOST_DIMENSIONS = 16
_FARTHEST = 1 << 63
# Bits of an element (huggingface/safetensors, safetensors/src/tensor.rs).
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E5M2FNUZ": 8,
    "F8_E4M3FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16,
    "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
# Python 3.10.7 and later refuse to turn endless digits into a number.
_BOUNDED_INTEGERS = hasattr(sys, "set_int_max_str_digits")
_NO_TENSOR = "a file whose header holds an entry that is no tensor"


def read_header(path: Path) -> tuple[Reading, os.stat_result]:
    """The header of a regular file, or what the file is instead; and its status before reading.

    Raises:
        OSError: it cannot be opened or read, is no regular file (a pipe, a device), or was
            changed meanwhile.
    """
    with open_regular(path) as raw:
        before = os.fstat(raw.fileno())
        reading = parse(raw, before.st_size)
        after = os.fstat(raw.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise OSError(errno.EBUSY, "it changed while it was read; a download may be under way")
    return reading, before


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, unbuffered.

    Raises:
        OSError: it cannot be opened, or is a pipe, a device or a folder.
    """
    # Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return cast(BinaryIO, open(handle, "rb", buffering=0))


def read_small(path: Path, longest: int) -> bytes:
    """The beginning of a small regular file beside a model: as many bytes as longest.

    Raises:
        OSError: as open_regular.
    """
    with open_regular(path) as raw:
        return raw.read(longest)


def parse(stream: BinaryIO, size: int) -> Reading:
    """As read_header, of an open file of size bytes at its start."""
    try:
        start = stream.read(SNIFFED)
        if start.startswith(b"GGUF"):
            return gguf.parse(stream, size)
        found = sniff(start, size)
        if found is not None:
            return Reading(None, found)
        return _safetensors(stream, start, size)
    except HeaderError as error:
        return Reading(None, error.damage)


def _safetensors(stream: BinaryIO, start: bytes, size: int) -> Reading:
    length = int.from_bytes(start[:8], "little")
    if start[8:9] != b"{" or not 2 <= length <= FORMAT_BOUND:
        raise HeaderError("other", "neither safetensors nor another format the doctor knows")
    if length > size - 8:
        raise HeaderError("truncated", f"cut off within its header, after {size:,} bytes")
    if length > LONGEST_HEADER:
        raise HeaderError(
            "too-long", f"a file whose header of {length:,} bytes is beyond any known"
        )
    raw = start[8 : 8 + length]
    if len(raw) < length:
        stream.seek(8 + len(raw))
        raw += _read(stream, length - len(raw))
    data = _json(raw)
    metadata = _texts(data.pop("__metadata__", None))
    wanted = 8 + length + _check(data)
    return Reading(Header("safetensors", data, metadata, wanted), _sized(wanted, size))


def _read(stream: BinaryIO, length: int) -> bytes:
    """Exactly so many bytes; a raw file may give less at a time."""
    pieces = []
    while length:
        piece = stream.read(length)
        if not piece:
            raise HeaderError("truncated", "cut off within its header while it was read")
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _json(raw: bytes) -> dict[str, Any]:
    if raw.count(b"{") > _MOST_OBJECTS or raw.count(b",") > _MOST_ITEMS:
        raise HeaderError("too-long", "a file whose header holds more than any known model's")
    # Python-level hooks cost more than the parsing; only a header that looks odd needs them.
    try:
        data = _load(raw, careful=not _BOUNDED_INTEGERS)
        if not _plain(data, raw):
            data = _load(raw, careful=True)
    except (ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, HeaderError):
            raise
        # Zeros in a header are what an interrupted download with set-aside space leaves.
        if b"\0\0\0\0\0\0\0\0" in raw:
            raise HeaderError("zeros", "a header that breaks off into zeros") from error
        raise HeaderError("header", "a file whose header is not valid JSON") from error
    if not isinstance(data, dict):
        raise HeaderError("header", "a file whose header is not a JSON object")
    return data


def _load(raw: bytes, *, careful: bool) -> Any:
    text = raw.decode("utf-8")
    if careful:
        return json.loads(text, object_pairs_hook=_once, parse_int=_integer, parse_constant=_refuse)
    return json.loads(text, parse_constant=_refuse)


def _plain(data: Any, raw: bytes) -> bool:
    """Whether nothing was named twice: as many names were written as were kept."""
    if not isinstance(data, dict):
        return True
    # With these about, a quote and a colon may be more or less than the end of a name. Single
    # characters are looked for first: that is faster, and most headers have none of them.
    blanks = [blank for blank in (b" ", b"\t", b"\n", b"\r") if blank in raw.rstrip(b" ")]
    if any(b'"' + blank in raw for blank in blanks) or (b"\\" in raw and b'\\\\"' in raw):
        return False
    kept = len(data) + sum(len(entry) for entry in data.values() if isinstance(entry, dict))
    return raw.count(b'":') - raw.count(b'\\":') == kept


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise HeaderError("header", "a file whose header names something twice")
    return found


def _integer(text: str) -> int:
    if len(text) > 20:
        raise HeaderError("header", "a file whose header holds a number beyond any size")
    return int(text)


def _refuse(text: str) -> Any:
    raise HeaderError("header", f"a file whose header holds {text}, which is not JSON")


def _check(data: dict[str, Any]) -> int:
    """The length of the tensors' data, which must lie without gaps or overlaps, as promised."""
    places = []
    for name, entry in data.items():
        try:
            shape, (begin, end) = entry["shape"], entry["data_offsets"]
            bits = _BITS.get(entry["dtype"])
            if type(shape) is not list or len(shape) > _MOST_DIMENSIONS:
                raise HeaderError("header", _NO_TENSOR)
            count = 1
            for side in shape:
                if type(side) is not int or side < 0:
                    raise HeaderError("header", _NO_TENSOR)
                count *= side
        except (TypeError, KeyError, ValueError) as error:
            if isinstance(error, HeaderError):
                raise
            raise HeaderError("header", _NO_TENSOR) from error
        if len(name) > _LONGEST_NAME or not _is_type(entry["dtype"]):
            raise HeaderError("header", _NO_TENSOR)
        if type(begin) is not int or type(end) is not int or not 0 <= begin <= end < _FARTHEST:
            raise HeaderError("tensors", "a file with a tensor outside of any possible place")
        if bits is not None and count * bits != (end - begin) * 8:
            raise HeaderError("tensors", "a file with a tensor whose size does not fit its shape")
        places.append((begin, end))
    places.sort()
    here = 0
    for begin, end in places:
        if begin != here:
            what = "overlap" if begin < here else "leave gaps"
            raise HeaderError("tensors", f"a file whose tensors {what}")
        here = end
    return here


def _is_type(dtype: Any) -> bool:
    """Whether this may be the name of a type, if one newer than the table: it is shown."""
    known = type(dtype) is str and dtype.isascii() and dtype.isidentifier()
    return known and len(dtype) <= _LONGEST_TYPE


def _sized(wanted: int, size: int) -> Damage | None:
    if size < wanted:
        share = f"{100 * size // wanted} %"
        return Damage("truncated", f"cut off after {size:,} of {wanted:,} bytes ({share})")
    if size > wanted:
        return Damage("trailing", f"followed by {size - wanted:,} bytes after its last tensor")
    return None


def _texts(metadata: Any) -> dict[str, str]:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise HeaderError("header", "a file whose header has metadata that is not text")
    return metadata
