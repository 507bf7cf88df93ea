"""Read what a compiled library carries, without loading it: ELF (Linux) and PE (Windows).

Only headers and the sections asked for are read, in pieces, so that memory use stays small
however large the library is. Formats: System V gABI chapter 4; Microsoft PE/COFF specification.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_PIECE = 1 << 20
_MAX_SECTIONS = 4096
_MAX_DYNAMIC = 1 << 16
_MAX_STRINGS = 16 << 20
_FARTHEST = 1 << 40
_DT_NULL, _DT_NEEDED, _DT_RPATH, _DT_RUNPATH = 0, 1, 15, 29
_ROW = 64  # bytes of a row of the ELF64 section table, the one size there is


class BinaryError(ValueError):
    """The file is not a library this reader understands, or it is cut short."""


class Section(NamedTuple):
    """A named part of a library: where it begins in the file and how long it is, in bytes.

    ``address`` is where the loader puts it; in a PE file, counted from where the library begins.
    """

    name: str
    offset: int
    size: int
    link: int = 0
    address: int = 0


class Needs(NamedTuple):
    """The libraries a library asks for, and the folders it wants searched ($ORIGIN kept)."""

    libraries: tuple[str, ...]
    folders: tuple[str, ...]


def sections(stream: BinaryIO) -> list[Section]:
    """The section table of an ELF64 or PE file.

    Raises:
        BinaryError: neither format, cut short, or an implausible table.
    """
    start = _at(stream, 0, 64)
    try:
        if start[:4] == b"\x7fELF":
            return _elf_sections(stream, start)
        if start[:2] == b"MZ":
            return _pe_sections(stream, start)
    except struct.error as error:
        raise BinaryError("cut short") from error
    raise BinaryError("neither ELF nor PE")


def pieces(stream: BinaryIO, section: Section, overlap: int) -> Iterator[bytes]:
    """The bytes of a section in pieces that overlap, so that no short match is cut in two.

    Raises:
        BinaryError: the section begins outside any plausible file.
    """
    _seek(stream, section.offset)
    left, tail = section.size, b""
    while left > 0:
        block = stream.read(min(_PIECE, left))
        if not block:
            return
        left -= len(block)
        yield tail + block
        tail = block[-overlap:]


def needs(path: Path) -> Needs:
    """What an ELF library asks the loader for.

    Raises:
        BinaryError: not ELF, or its dynamic section is damaged. OSError: unreadable.
    """
    with path.open("rb") as stream:
        found = {section.name: section for section in sections(stream)}
        dynamic, strings = found.get(".dynamic"), found.get(".dynstr")
        if dynamic is None or strings is None:
            raise BinaryError("no dynamic section")
        table = _at(stream, dynamic.offset, min(dynamic.size, _MAX_DYNAMIC))
        text = _at(stream, strings.offset, min(strings.size, _MAX_STRINGS))
    libraries, folders = [], []
    for place in range(0, len(table) - 15, 16):
        tag, value = struct.unpack_from("<qQ", table, place)
        if tag == _DT_NULL:
            break
        if tag == _DT_NEEDED:
            libraries.append(_string(text, value))
        elif tag in (_DT_RPATH, _DT_RUNPATH):
            folders += [folder for folder in _string(text, value).split(":") if folder]
    return Needs(tuple(libraries), tuple(folders))


def _elf_sections(stream: BinaryIO, start: bytes) -> list[Section]:
    if len(start) < 64 or start[4] != 2 or start[5] != 1:
        raise BinaryError("not a 64-bit little-endian library")
    (offset,) = struct.unpack_from("<Q", start, 0x28)
    size, count, names_at = struct.unpack_from("<HHH", start, 0x3A)
    if not 0 < count <= _MAX_SECTIONS or size != _ROW:
        raise BinaryError("no section table")
    table = _at(stream, offset, size * count)
    if len(table) < size * count:
        raise BinaryError("cut short")
    raw = []
    for number in range(count):
        row = struct.unpack_from("<IIQQQQI", table, number * size)
        name, _, _, address, at, length, link = row
        raw.append((name, at, length, link, address))
    if names_at >= len(raw):
        raise BinaryError("no section names")
    text = _at(stream, raw[names_at][1], min(raw[names_at][2], 1 << 20))
    return [Section(_string(text, name), *rest) for name, *rest in raw]


def _pe_sections(stream: BinaryIO, start: bytes) -> list[Section]:
    (offset,) = struct.unpack_from("<I", start, 0x3C)
    header = _at(stream, offset, 24)
    if header[:4] != b"PE\0\0":
        raise BinaryError("not a PE library")
    count, optional = struct.unpack_from("<H12xH", header, 6)
    if count > _MAX_SECTIONS:
        raise BinaryError("implausible section table")
    table = _at(stream, offset + 24 + optional, 40 * count)
    found = []
    for number in range(count):
        raw, _, address, size, at = struct.unpack_from("<8sIIII", table, number * 40)
        name = raw.rstrip(b"\0").decode("ascii", "replace")
        found.append(Section(name, at, size, address=address))
    return found


def _at(stream: BinaryIO, offset: int, size: int) -> bytes:
    _seek(stream, offset)
    data = stream.read(size)
    if not data:
        raise BinaryError("cut short")
    return data


def _seek(stream: BinaryIO, offset: int) -> None:
    if offset > _FARTHEST:
        raise BinaryError("points outside the file")
    stream.seek(offset)


def _string(text: bytes, offset: int) -> str:
    end = text.find(b"\0", offset)
    return text[offset : end if end >= 0 else None][:4096].decode("utf-8", "replace")
