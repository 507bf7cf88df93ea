"""The DLLs a Windows library asks for, read from the library without loading it.

Format: Microsoft PE/COFF specification, "The .idata Section" and "Delay-Load Import Tables".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from klein_doctor.probes.binary import BinaryError
from klein_doctor.probes.mapped import Mapped

_OFFSET_OF_HEADER = struct.Struct("<I")
_KIND = struct.Struct("<H")
_DIRECTORY = struct.Struct("<II")  # address and size
_IMPORT = struct.Struct("<IIIII")  # lookup table, time, forwarder, name, addresses
_DELAYED = struct.Struct("<IIIIIIII")  # attributes, name, module, ...
# Of a 64-bit and a 32-bit library: where the count of directories stands in the optional header.
_COUNT_AT = {0x20B: 108, 0x10B: 92}
_IMPORTS, _DELAYED_IMPORTS = 1, 13
_NAME_IS_AN_OFFSET = 1
_MOST_DLLS = 1 << 10
_LONGEST_NAME = 260


def imported_dlls(path: Path) -> list[str]:
    """The names of the DLLs a PE library imports, then of those it loads at first use.

    Raises:
        BinaryError: not PE, cut short, or damaged. OSError: unreadable.
    """
    with Mapped(path) as library:
        if library.data[:2] != b"MZ":
            raise BinaryError("not a PE library")
        names = [*_names(library, _IMPORTS), *_names(library, _DELAYED_IMPORTS)]
    return list(dict.fromkeys(names))


def _names(library: Mapped, directory: int) -> Iterator[str]:
    place = _directory(library, directory)
    if not place:
        return
    for _ in range(_MOST_DLLS):
        if directory == _IMPORTS:
            row = library.unpack(_IMPORT, place)
            name, place = row[3], place + _IMPORT.size
        else:
            row = library.unpack(_DELAYED, place)
            name, place = row[1], place + _DELAYED.size
        if not any(row):
            return
        if directory == _DELAYED_IMPORTS and not row[0] & _NAME_IS_AN_OFFSET:
            raise BinaryError("its delayed imports are of a kind from before 64-bit Windows")
        start = _offset(library, name)
        text = library.text(start, start + _LONGEST_NAME)
        yield text.decode("ascii", "backslashreplace")
    raise BinaryError("imports from more libraries than any library does")


def _directory(library: Mapped, number: int) -> int:
    """Where a directory begins in the file, 0 when the library has none of that number."""
    (header,) = library.unpack(_OFFSET_OF_HEADER, 0x3C)
    optional = header + 24
    (kind,) = library.unpack(_KIND, optional)
    if kind not in _COUNT_AT:
        raise BinaryError("not a PE library")
    count_at = optional + _COUNT_AT[kind]
    (count,) = library.unpack(_OFFSET_OF_HEADER, count_at)
    if number >= count:
        return 0
    address, _ = library.unpack(_DIRECTORY, count_at + 4 + number * _DIRECTORY.size)
    return _offset(library, address) if address else 0


def _offset(library: Mapped, address: int) -> int:
    """Where in the file the byte stands that the loader puts at this address."""
    for section in library.sections:
        if section.address <= address < section.address + section.size:
            return section.offset + address - section.address
    raise BinaryError("points outside its sections")
