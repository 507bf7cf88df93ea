"""Whether a compiled extension finds in torch's libraries the functions it was built against.

An extension built for another torch asks for names that this torch does not have; loading it then
ends in "undefined symbol". Here the same question is asked of the files: which names does the
extension leave open, and does a library define them. Formats: System V gABI, chapter 5, and for
.gnu.hash the GNU linker (elflink.c) and glibc (dl-lookup.c); Microsoft PE/COFF specification.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType

from klein_doctor.probes.binary import BinaryError
from klein_doctor.probes.imports import imported_dlls as imported_dlls
from klein_doctor.probes.mapped import Mapped

_PARTS_OF_NAMES = ("", "TI", "TS", "TT", "TV", "GV", "TH", "TW")  # typeinfo, vtable, guard, ...
_OWNERS = ("3c10", "2at", "5torch", "6caffe2")
# The C++ names of torch as compilers write them (Itanium C++ ABI, 5.1): _ZNK2at10TensorBase...,
# with K for const and R or O for & and && members; torch's converters for pybind11; then its plain
# C names, of the stable ABI and of its Python objects.
TORCH = (
    *(f"_Z{part}N{owner}".encode() for part in _PARTS_OF_NAMES for owner in _OWNERS),
    *(f"_ZN{mark}{owner}".encode() for mark in ("K", "R", "O", "KR", "KO") for owner in _OWNERS),
    *(f"_ZN8pybind116detail11type_casterIN{owner}".encode() for owner in _OWNERS),
    b"aoti_torch_",
    b"torch_",
    b"THP",
)
# Those of TORCH that a later torch keeps: what was built against them alone goes on loading
# (docs.pytorch.org, "LibTorch Stable ABI").
STABLE = ("aoti_torch_", "torch_")
_FIRST = 20

_SYMBOL = struct.Struct("<IBBHQQ")  # name, binding and type, visibility, section, value, size
_GLOBAL, _WEAK, _UNIQUE = 1, 2, 10
_WORD = struct.Struct("<I")
_BLOOM = struct.Struct("<Q")
_GNU = struct.Struct("<IIII")  # buckets, first symbol, bloom words, bloom shift
_CLASSIC = struct.Struct("<II")  # buckets, symbols

# libtorch_cpu 2.15 has 76,000 symbols with names of 5 MB in all, its longest chain has 12.
_MOST_SYMBOLS = 1 << 20
_MOST_WANTED = 1 << 16
_MOST_TEXT = 16 << 20
_LONGEST_NAME = 1 << 16
_LONGEST_CHAIN = 1 << 10


def undefined(path: Path, prefixes: tuple[bytes, ...]) -> list[str]:
    """The names an ELF library leaves to others to define, of those that begin like this.

    Names it can do without (weak ones) are left out. The order is that of the library.

    Raises:
        BinaryError: not ELF, no table of symbols, damaged. OSError: unreadable.
    """
    with Mapped(path) as library:
        return [_readable(name) for name in _wanted(_Symbols(library), prefixes)]


def unresolved(path: Path, libraries: Sequence[Path]) -> list[str]:
    """The first 20 names of torch that a compiled extension needs and no library given defines.

    Args:
        path: the extension, an ELF library.
        libraries: all of torch's: libc10, libtorch_cpu, libtorch_python and, where there are
            such, libc10_cuda, libtorch_cuda; and what else the extension brings along.

    Raises:
        BinaryError: one of the files is not ELF, or damaged. OSError: one is unreadable.
    """
    with Mapped(path) as extension, Exports(libraries) as exports:
        missing = (name for name in _wanted(_Symbols(extension), TORCH) if not exports.has(name))
        return [_readable(name) for name in islice(missing, _FIRST)]


class Exports:
    """What some ELF libraries define: each question reads a few bytes of their hash tables.

    Raises:
        BinaryError: one is not ELF, is damaged, or has no hash table, so that nobody could tell
            what it defines. OSError: one is unreadable.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        with ExitStack() as stack:
            self._tables = [_table(stack.enter_context(Mapped(path))) for path in paths]
            self._opened = stack.pop_all()

    def __enter__(self) -> Exports:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    def defines(self, name: str) -> bool:
        """Whether one of the libraries defines the name, as the dynamic linker would find it.

        Raises:
            BinaryError: the part of a library that would tell is damaged.
        """
        return self.has(name.encode("utf-8", "surrogatepass"))

    def has(self, name: bytes) -> bool:
        """As ``defines``, of a name as it stands in a file."""
        return any(table.defines(name) for table in self._tables)


class _Symbols:
    """The table of dynamic symbols of an ELF library, and their names."""

    def __init__(self, library: Mapped) -> None:
        table, names = library.section(".dynsym"), library.section(".dynstr")
        if table is None or names is None:
            raise BinaryError("no table of symbols")
        self.library = library
        self.count = table.size // _SYMBOL.size
        if self.count > _MOST_SYMBOLS:
            raise BinaryError("more symbols than any library has")
        self._offset = table.offset
        self._names, self._end = names.offset, names.offset + names.size

    def row(self, number: int) -> tuple[int, int, bool]:
        """Where its name begins in the file, its binding, and whether it is defined here."""
        place = self._offset + number * _SYMBOL.size
        name, info, _, section, _, _ = _SYMBOL.unpack_from(self.library.data, place)
        return self._names + name, info >> 4, section != 0

    def name(self, place: int) -> bytes:
        return self.library.text(place, min(self._end, place + _LONGEST_NAME))

    def begins(self, place: int, prefixes: tuple[bytes, ...], longest: int) -> bool:
        return self.library.data[place : min(place + longest, self._end)].startswith(prefixes)

    def is_definition(self, number: int, name: bytes) -> bool:
        """Whether the symbol of that number defines this name for others."""
        if number >= self.count:
            raise BinaryError("its hash table names a symbol that is not there")
        place, binding, defined = self.row(number)
        if not defined or binding not in (_GLOBAL, _WEAK, _UNIQUE):
            return False
        return self.library.data[place : min(place + len(name) + 1, self._end)] == name + b"\0"


def _wanted(symbols: _Symbols, prefixes: tuple[bytes, ...]) -> Iterator[bytes]:
    longest = max(map(len, prefixes), default=0)
    seen, text = set(), 0
    for number in range(symbols.count):
        place, binding, defined = symbols.row(number)
        if defined or binding != _GLOBAL or not symbols.begins(place, prefixes, longest):
            continue
        if place not in seen:
            name = symbols.name(place)
            seen.add(place)
            text += len(name)
            if len(seen) > _MOST_WANTED or text > _MOST_TEXT:
                raise BinaryError("more open names than any library has")
            yield name


class _GnuTable:
    """A .gnu.hash section: a bloom filter that answers most questions with no, then chains."""

    def __init__(self, library: Mapped, offset: int, size: int) -> None:
        self._symbols = _Symbols(library)
        self._data = library.data
        self._buckets, self._first, self._words, self._shift = library.unpack(_GNU, offset)
        self._bloom_at = offset + _GNU.size
        self._buckets_at = self._bloom_at + self._words * _BLOOM.size
        self._chains_at = self._buckets_at + self._buckets * _WORD.size
        self._end = offset + size
        if not self._buckets or not self._words or self._chains_at > self._end:
            raise BinaryError("its hash table is damaged")

    def defines(self, name: bytes) -> bool:
        key = _gnu_hash(name)
        place = self._bloom_at + key // 64 % self._words * _BLOOM.size
        (word,) = _BLOOM.unpack_from(self._data, place)
        if not word >> key % 64 & word >> (key >> self._shift) % 64 & 1:
            return False
        place = self._buckets_at + key % self._buckets * _WORD.size
        (number,) = _WORD.unpack_from(self._data, place)
        if number < self._first:
            return False  # an empty bucket
        place = self._chains_at + (number - self._first) * _WORD.size
        for _ in range(_LONGEST_CHAIN):
            if place + _WORD.size > self._end:
                break
            (value,) = _WORD.unpack_from(self._data, place)
            if value | 1 == key | 1 and self._symbols.is_definition(number, name):
                return True
            if value & 1:
                return False
            number, place = number + 1, place + _WORD.size
        raise BinaryError("its hash table is damaged")


class _ClassicTable:
    """A .hash section, as the System V gABI has it."""

    def __init__(self, library: Mapped, offset: int, size: int) -> None:
        self._symbols = _Symbols(library)
        self._data = library.data
        self._buckets, self._count = library.unpack(_CLASSIC, offset)
        self._buckets_at = offset + _CLASSIC.size
        self._chains_at = self._buckets_at + self._buckets * _WORD.size
        if not self._buckets or self._chains_at + self._count * _WORD.size > offset + size:
            raise BinaryError("its hash table is damaged")

    def defines(self, name: bytes) -> bool:
        place = self._buckets_at + _classic_hash(name) % self._buckets * _WORD.size
        for _ in range(_LONGEST_CHAIN):
            (number,) = _WORD.unpack_from(self._data, place)
            if number == 0:
                return False
            if number >= self._count:
                break
            if self._symbols.is_definition(number, name):
                return True
            place = self._chains_at + number * _WORD.size
        raise BinaryError("its hash table is damaged")


def _table(library: Mapped) -> _GnuTable | _ClassicTable:
    found = library.section(".gnu.hash")
    if found is not None:
        return _GnuTable(library, found.offset, found.size)
    found = library.section(".hash")
    if found is not None:
        return _ClassicTable(library, found.offset, found.size)
    raise BinaryError("no hash table of what it defines")


def _gnu_hash(name: bytes) -> int:
    key = 5381
    for byte in name:
        key = key * 33 + byte & 0xFFFFFFFF
    return key


def _classic_hash(name: bytes) -> int:
    key = 0
    for byte in name:
        key = (key << 4) + byte
        high = key & 0xF0000000
        key = (key ^ high >> 24) & 0x0FFFFFFF
    return key


def _readable(name: bytes) -> str:
    return name.decode("ascii", "backslashreplace")
