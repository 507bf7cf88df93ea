"""Which GPUs a compiled library holds code for, read from the library without loading it.

nvcc puts GPU code into a section of its own, as regions; a region holds one entry for each
architecture: machine code (SASS), or PTX, which the driver translates for newer cards. The headers
are plain even where the code is compressed. NVIDIA describes the sections in fatbinary_section.h of
the CUDA toolkit, but not the headers: their layout was read off libraries built by CUDA 11.8 to
13.2, and what is read agrees with NVIDIA's cuobjdump (which leaves __nv_relfatbin out).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from klein_doctor.probes.binary import BinaryError, Section
from klein_doctor.probes.mapped import Mapped

# Code that was linked once more on the way (-rdc) is kept before and after; the driver may
# translate the PTX of the former. A PE section has room for eight characters of its name.
_SECTIONS = frozenset({".nv_fatbin", "__nv_relfatbin", ".nv_fatb", "__nv_rel"})
_MAGIC = b"\x50\xed\x55\xba"
_VERSION = 1
_REGION = struct.Struct("<4sHHQ")  # magic, version, bytes of this header, bytes of all entries
_ENTRY = struct.Struct("<HHIQ12xI8xQ")  # kind, version, size of header, of code; number, flags
_KINDS = {1: "compute", 2: "sm"}
# Read off what nvcc 13.0 makes for sm_90 and sm_90a, sm_100, sm_100a and sm_100f, and so on, each
# compressed and not; "a" is what cuobjdump prints of older libraries too (it leaves out the "f" of
# machine code).
_SUFFIXES = ((1 << 20, "a"), (1 << 21, "f"))

# torch 2.15 has 476 regions and 3,000 entries; regions follow each other within 8 bytes.
_MOST_SECTIONS = 16
_MOST_REGIONS = 1 << 14
_MOST_ENTRIES = 1 << 16
_MOST_PADDING = 1 << 20
_NUMBERS = range(10, 1000)

Item = TypeVar("Item")


class GpuCode(NamedTuple):
    """The code of a library: ``sm_120`` runs as it is, ``compute_90`` is translated first.

    ``sm_90a`` is for cards of exactly that number, ``sm_120f`` for those of its family.
    """

    sass: tuple[str, ...]
    ptx: tuple[str, ...]


def read_code(path: Path) -> GpuCode:
    """The architectures a library holds code for, by number; none in one without GPU code.

    Raises:
        BinaryError: neither ELF nor PE, cut short, or unlike what nvcc writes.
        OSError: unreadable.
    """
    with Mapped(path) as library:
        parts = [section for section in library.sections if section.name in _SECTIONS]
        regions = (
            region
            for section in _at_most(_MOST_SECTIONS, parts)
            for region in _regions(library, section)
        )
        entries = (
            entry
            for start, end in _at_most(_MOST_REGIONS, regions)
            for entry in _entries(library, start, end)
        )
        found = sorted(set(_at_most(_MOST_ENTRIES, entries)))
    sass, ptx = (
        tuple(f"{name}_{number}{suffix}" for number, suffix, kind in found if kind == name)
        for name in ("sm", "compute")
    )
    return GpuCode(sass, ptx)


def _regions(library: Mapped, section: Section) -> Iterator[tuple[int, int]]:
    """Where the entries of each region begin and end in the file."""
    library.inside(section.offset, section.size)
    place, end = section.offset, section.offset + section.size
    padding, found = _MOST_PADDING, False
    while place < end:
        start = library.data.find(_MAGIC, place, min(end, place + padding + len(_MAGIC)))
        if start < 0 and found and end - place <= padding:
            return
        if start < 0:
            raise BinaryError("its GPU code is not laid out as CUDA does it")
        if start + _REGION.size > end:
            raise BinaryError("its GPU code is cut short")
        padding, found = padding - (start - place), True
        _, version, header, size = _REGION.unpack_from(library.data, start)
        if version != _VERSION:
            raise BinaryError(f"its GPU code has layout {version}, which this reader does not know")
        if header < _REGION.size:
            raise BinaryError("a header of its GPU code is too small")
        place = start + header + size
        if place > end:
            raise BinaryError("its GPU code is cut short")
        yield start + header, place


def _entries(library: Mapped, place: int, end: int) -> Iterator[tuple[int, str, str]]:
    """Number, suffix and kind of each entry of a region: (120, "f", "sm"); other kinds are ""."""
    data, size = library.data, _ENTRY.size
    while place < end:
        if place + size > end:
            raise BinaryError("its GPU code is cut short")
        what, _, header, code, number, flags = _ENTRY.unpack_from(data, place)
        if header < size:
            raise BinaryError("a header of its GPU code is too small")
        place += header + code
        if place > end:
            raise BinaryError("its GPU code is cut short")
        kind = _KINDS.get(what, "")
        if kind and number not in _NUMBERS:
            raise BinaryError(f"its GPU code is for {number}, a number no architecture has")
        yield number, next((letter for bit, letter in _SUFFIXES if flags & bit), ""), kind


def _at_most(most: int, items: Iterator[Item] | list[Item]) -> Iterator[Item]:
    left = iter(items)
    yield from islice(left, most)
    if next(left, None) is not None:
        raise BinaryError("its GPU code is in more pieces than any library has")
