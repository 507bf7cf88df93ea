"""Compiled libraries read without loading them: good ones, cut ones, hostile ones."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from libraries import elf, pe
from standin import compiler

from klein_doctor.probes import binary
from klein_doctor.probes.binary import BinaryError, Section

PIECE = 1 << 20
needs_elf = pytest.mark.skipif(
    not compiler() or sys.platform != "linux", reason="no C compiler (cc, gcc or clang) for ELF"
)


def dynamic(entries: list[tuple[int, int]], strings: bytes) -> bytes:
    table = b"".join(struct.pack("<qQ", *entry) for entry in entries)
    return elf([(".dynamic", table), (".dynstr", strings)])


def content(raw: bytes, name: str) -> bytes:
    stream = io.BytesIO(raw)
    section = next(s for s in binary.sections(stream) if s.name == name)
    return b"".join(binary.pieces(stream, section, 0))


def test_sections_are_found_by_name() -> None:
    assert content(elf([(".text", b"abc"), (".rodata", b"\0sm_90\0")]), ".rodata") == b"\0sm_90\0"
    assert content(pe([(b".text", b"abc"), (b".rdata", b"\0sm_90\0")]), ".rdata") == b"\0sm_90\0"
    assert [s.name for s in binary.sections(io.BytesIO(pe([(b"12345678", b"x")])))] == ["12345678"]


def test_sections_know_where_the_loader_puts_them() -> None:
    raw = pe([(b".text", b"abc"), (b".rdata", b"x")])
    assert [s.address for s in binary.sections(io.BytesIO(raw))] == [0x1000, 0x2000]
    raw = elf([(".text", b"abc"), (".rodata", b"x")])
    found = {s.name: (s.offset, s.address) for s in binary.sections(io.BytesIO(raw))}
    assert found[".text"] == (64, 0x400040) and found[".rodata"] == (67, 0x400043)


@needs_elf
def test_a_real_library_reads_as_it_was_linked(tmp_path: Path) -> None:
    def build(name: str, *options: str) -> Path:
        path = tmp_path / name
        command = [compiler(), "-shared", "-fPIC", "-x", "c", "-", "-x", "none", "-o", str(path)]
        subprocess.run([*command, *options], input=b"int x;", check=True)
        return path

    needed = build("libcudart.so.13", "-Wl,-soname,libcudart.so.13")
    rpath = "-Wl,-rpath,$ORIGIN/../../nvidia/cu13/lib:/opt/a b"
    for tags in ("-Wl,--enable-new-dtags", "-Wl,--disable-new-dtags"):
        library = build("libc10_cuda.so", "-Wl,--no-as-needed", str(needed), rpath, tags)
        found = binary.needs(library)
        assert "libcudart.so.13" in found.libraries
        assert found.folders == ("$ORIGIN/../../nvidia/cu13/lib", "/opt/a b")
    with library.open("rb") as stream:
        assert {".dynamic", ".dynstr", ".text"} <= {s.name for s in binary.sections(stream)}


def test_entries_behind_the_end_mark_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "x.so"
    strings = b"\0liba.so\0libb.so\0/x::/y\0"
    path.write_bytes(dynamic([(1, 1), (29, 17), (0, 0), (1, 9)], strings))
    assert binary.needs(path) == binary.Needs(("liba.so",), ("/x", "/y"))
    path.write_bytes(dynamic([(1, 2**64 - 1), (15, 10**9)], strings))
    assert binary.needs(path) == binary.Needs(("",), ())
    path.write_bytes(elf([(".text", b"x")]))
    with pytest.raises(BinaryError, match="no dynamic section"):
        binary.needs(path)
    path.write_bytes(pe([(b".text", b"x")]))
    with pytest.raises(BinaryError):
        binary.needs(path)
    with pytest.raises(OSError):
        binary.needs(tmp_path / "absent.so")
    with pytest.raises(OSError):
        binary.needs(tmp_path)


GOOD_ELF = elf([(".rodata", b"\0sm_90\0")])
BROKEN = {
    "nothing": b"",
    "four bytes": b"\x7fELF",
    "32 bit": b"\x7fELF\1" + GOOD_ELF[5:],
    "big endian": b"\x7fELF\2\2" + GOOD_ELF[6:],
    "no sections": GOOD_ELF[:0x3C] + b"\0\0" + GOOD_ELF[0x3E:],
    "too many sections": GOOD_ELF[:0x3C] + b"\xff\xff" + GOOD_ELF[0x3E:],
    "wide rows": GOOD_ELF[:0x3A] + b"\xff\xff" + GOOD_ELF[0x3C:],
    "table far away": GOOD_ELF[:0x28] + b"\xff" * 8 + GOOD_ELF[0x30:],
    "table behind the end": GOOD_ELF[:0x28] + struct.pack("<Q", 10**6) + GOOD_ELF[0x30:],
    "names nowhere": elf([(".rodata", b"x")], names_at=9),
    "table cut": GOOD_ELF[:-10],
    "MZ alone": b"MZ",
    "MZ without PE": b"MZ" + bytes(200),
    "PE far away": b"MZ".ljust(0x3C, b"\0") + b"\xff" * 4,
    "PE table cut": pe([(b".rdata", b"")])[:-20],
    "PE of 65535 sections": b"MZ".ljust(0x3C, b"\0") + struct.pack("<I4sHH", 64, b"PE", 0, 65535)
    + bytes(40),
    "Mach-O": b"\xcf\xfa\xed\xfe" + bytes(100),
    "script": b"#!/bin/sh\n" * 20,
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_refused(kind: str) -> None:
    with pytest.raises(BinaryError):
        binary.sections(io.BytesIO(BROKEN[kind]))


@pytest.mark.parametrize("offset", [2**64 - 1, 2**63, 2**62, 1 << 41])
def test_a_section_that_claims_to_begin_beyond_any_file_is_refused(offset: int) -> None:
    raw = bytearray(GOOD_ELF)
    row = len(raw) - 2 * 64 + 0x18
    raw[row : row + 8] = struct.pack("<Q", offset)
    stream = io.BytesIO(bytes(raw))
    section = binary.sections(stream)[0]
    assert (section.name, section.offset) == (".rodata", offset)
    with pytest.raises(BinaryError):
        list(binary.pieces(stream, section, 10))


def test_a_size_larger_than_the_file_ends_with_the_file() -> None:
    section = Section(".rodata", 4, 2**64 - 1)
    assert list(binary.pieces(io.BytesIO(b"0123456789"), section, 3)) == [b"456789"]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 3 * PIECE), st.integers(1, 600), st.integers(0, 50))
@example(PIECE, 600, 0)
def test_nothing_short_falls_between_two_pieces(place: int, length: int, start: int) -> None:
    needle = b"n" * length
    raw = bytes(start + place) + needle + bytes(100)
    section = Section("x", start, len(raw) - start)
    found = list(binary.pieces(io.BytesIO(raw), section, 600))
    assert any(needle in piece for piece in found)
    assert max(map(len, found)) <= PIECE + 600


def read_all(raw: bytes, path: Path) -> None:
    """Everything the doctor would read; only the two announced errors may come out."""
    path.write_bytes(raw)
    try:
        with path.open("rb") as stream:
            for section in binary.sections(stream):
                try:
                    read = sum(len(piece) for piece in binary.pieces(stream, section, 0))
                    assert read <= len(raw)
                except (BinaryError, OSError):
                    pass
    except (BinaryError, OSError):
        pass
    try:
        binary.needs(path)
    except (BinaryError, OSError):
        pass


SEEDS = [
    GOOD_ELF,
    dynamic([(1, 1), (29, 9), (0, 0)], b"\0liba.so\0$ORIGIN/x\0"),
    pe([(b".rdata", b"\0sm_90\0"), (b".text", b"x")]),
]


@settings(max_examples=70, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 700), st.sampled_from([0, 1, 0x40, 0x7F, 0x80, 0xFF])),
             max_size=12),
    st.integers(0, 900),
)  # fmt: skip
def test_changed_and_cut_files_raise_only_what_is_announced(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    changed = bytearray(raw)
    for place, value in changes:
        changed[place % len(raw)] = value
    read_all(bytes(changed[: cut or None]), tmp_path_factory.getbasetemp() / "changed.so")


@settings(max_examples=70, deadline=None)
@given(st.binary(max_size=600), st.sampled_from([b"", b"\x7fELF\2\1\1", b"MZ"]))
def test_random_files_raise_only_what_is_announced(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, start: bytes
) -> None:
    read_all(start + raw, tmp_path_factory.getbasetemp() / "random.so")
