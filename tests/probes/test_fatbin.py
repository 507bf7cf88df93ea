"""GPU code read from libraries: real layouts, true sizes, hostile bytes."""

from __future__ import annotations

import os
import struct
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libraries import PTX, SASS, elf, entry, pe, region

from klein_doctor.probes.binary import BinaryError
from klein_doctor.probes.fatbin import GpuCode, read_code

NONE = GpuCode((), ())
TORCH = (75, 80, 86, 90, 100, 120)


def code_of(raw: bytes, tmp_path: Path) -> GpuCode:
    path = tmp_path / "library"
    path.write_bytes(raw)
    return read_code(path)


def in_elf(*regions: bytes) -> bytes:
    return elf([(".text", b"x" * 8), (".nv_fatbin", b"".join(regions)), (".data", b"y")])


def test_every_architecture_is_named_once_and_by_number(tmp_path: Path) -> None:
    first = region(entry(SASS, 120), entry(SASS, 90), entry(PTX, 100))
    second = region(entry(SASS, 90), entry(PTX, 80, b"translated" * 99, header=112))
    expected = GpuCode(("sm_90", "sm_120"), ("compute_80", "compute_100"))
    assert code_of(in_elf(first, second), tmp_path) == expected
    assert code_of(pe([(b".text", b"x"), (b".nv_fatb", first + second)]), tmp_path) == expected


def test_code_from_before_a_second_linking_counts(tmp_path: Path) -> None:
    before, after = region(entry(PTX, 90)), region(entry(SASS, 80))
    expected = GpuCode(("sm_80",), ("compute_90",))
    raw = elf([("__nv_relfatbin", before), (".nv_fatbin", after)])
    assert code_of(raw, tmp_path) == expected
    raw = pe([(b"__nv_rel", before), (b".nv_fatb", after), (b".nvFatBi", b"pointers")])
    assert code_of(raw, tmp_path) == expected


def test_code_for_one_card_or_one_family_says_so(tmp_path: Path) -> None:
    """The flags are those that nvcc 13.0 writes; 0x2000 and 0x8000 stand for compression."""
    raw = region(
        entry(SASS, 90, flags=0x102011),
        entry(SASS, 90, flags=0x2011),
        entry(SASS, 100, flags=0x1100011, header=112),
        entry(SASS, 120, flags=0x1200011, header=112),
        entry(PTX, 120, flags=0x208011, header=80),
        entry(PTX, 100, flags=0x8011, header=80),
        entry(PTX, 90, flags=0x100041, header=80),
    )
    assert code_of(in_elf(raw), tmp_path) == GpuCode(
        ("sm_90", "sm_90a", "sm_100a", "sm_120f"), ("compute_90a", "compute_100", "compute_120f")
    )


def test_a_library_without_gpu_code_has_none(tmp_path: Path) -> None:
    assert code_of(elf([(".text", b"x")]), tmp_path) == NONE
    assert code_of(pe([(b".hip_fat", b"for other cards")]), tmp_path) == NONE
    assert code_of(elf([(".nv_fatbin", b""), (".nvFatBinSegment", b"x")]), tmp_path) == NONE
    assert code_of(in_elf(region()), tmp_path) == NONE


@pytest.mark.parametrize("gap", [1, 8, 496, 4096, 65536])
def test_regions_may_stand_apart(tmp_path: Path, gap: int) -> None:
    parts = region(entry(SASS, 90)), bytes(gap), region(entry(SASS, 120)), bytes(gap)
    assert code_of(in_elf(*parts), tmp_path).sass == ("sm_90", "sm_120")


def test_entries_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    parts = region(entry(8, 0, b"for the linker"), entry(SASS, 90), entry(0x10, 2**32 - 1))
    assert code_of(in_elf(parts), tmp_path) == GpuCode(("sm_90",), ())


GOOD = in_elf(region(entry(SASS, 90), entry(PTX, 90)), bytes(8), region(entry(SASS, 120)))
BAD_CODE = {
    "layout of tomorrow": region(entry(SASS, 90), version=2),
    "region header of zero": struct.pack("<IHHQ", 0xBA55ED50, 1, 0, 0),
    "region beyond the end": struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 1000),
    "region of 16 exabytes": struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 2**64 - 1),
    "region header cut": b"\x50\xed\x55\xba\1",
    "entry header of zero": region(bytes(64)),
    "entry header cut": region(entry(SASS, 90)[:20]),
    "entry beyond its region": region(entry(SASS, 90)[:-1]),
    "entry of 16 exabytes": region(struct.pack("<HHIQQIIQQ", 2, 1, 64, 2**64 - 1, 0, 0, 90, 0, 0)),
    "architecture 0": region(entry(SASS, 0)),
    "architecture 4 billion": region(entry(SASS, 2**32 - 1)),
    "only zeros": bytes(512),
    "only zeros, for long": region(entry(SASS, 90)) + bytes(3 << 20),
    "something else": b"\x11" * 600,
    "regions without end": region() * 20_000,
    "entries without end": region(entry(SASS, 90, b"", header=48) * 70_000),
}


@pytest.mark.parametrize("kind", BAD_CODE)
def test_gpu_code_unlike_any_is_refused(tmp_path: Path, kind: str) -> None:
    for raw in (in_elf(BAD_CODE[kind]), pe([(b".nv_fatb", BAD_CODE[kind])])):
        with pytest.raises(BinaryError, match=r"GPU code|cut short"):
            code_of(raw, tmp_path)


def test_many_sections_of_code_are_refused(tmp_path: Path) -> None:
    part = region(entry(SASS, 90))
    with pytest.raises(BinaryError, match="more pieces"):
        code_of(elf([(".nv_fatbin", part)] * 40), tmp_path)


@pytest.mark.parametrize("raw", [b"", b"x", b"#!/bin/sh\n" * 20, b"\x7fELF", b"MZ", GOOD[:-1]])
def test_what_is_no_library_is_refused(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(BinaryError):
        code_of(raw, tmp_path)


def test_a_pe_file_cut_inside_its_code_is_refused(tmp_path: Path) -> None:
    raw = pe([(b".nv_fatb", region(entry(SASS, 90)) * 3)])
    with pytest.raises(BinaryError, match="cut short"):
        code_of(raw[:-100], tmp_path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        read_code(tmp_path / "absent.so")
    with pytest.raises(BinaryError, match="not a file"):
        read_code(tmp_path)
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe.so")
        with pytest.raises(BinaryError, match="not a file"):
            read_code(tmp_path / "pipe.so")


def test_a_library_as_large_as_torchs_is_walked_in_passing(tmp_path: Path) -> None:
    """476 regions of six architectures in 400 MB, as torch 2.15 has them; the code is a hole."""
    path, code, regions = tmp_path / "libtorch_cuda.so", 140_000, 476
    one = 16 + len(TORCH) * (64 + code)
    raw = bytearray(elf([(".nv_fatbin", b"")]))
    table = struct.unpack_from("<Q", raw, 0x28)[0]
    struct.pack_into("<QQ", raw, table + 24, len(raw), regions * one)
    with path.open("wb") as stream:
        stream.write(raw)
        for _ in range(regions):
            stream.write(struct.pack("<IHHQ", 0xBA55ED50, 1, 16, one - 16))
            for number in TORCH:
                stream.write(entry(SASS, number, bytes(code))[:64])
                place = stream.seek(code, os.SEEK_CUR)
        stream.truncate(place)
    assert path.stat().st_size > 399_000_000
    times = []
    tracemalloc.start()
    try:
        for _ in range(3):
            start = time.perf_counter()
            assert read_code(path).sass == tuple(f"sm_{number}" for number in TORCH)
            times.append(time.perf_counter() - start)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    # Some 10 ms when nothing else runs and nothing is traced; the bound is for busy machines.
    assert min(times) < 1


def read_safely(raw: bytes, path: Path) -> None:
    path.write_bytes(raw)
    try:
        found = read_code(path)
    except (BinaryError, OSError):
        return
    assert all(name.startswith("sm_") for name in found.sass)
    assert all(name.startswith("compute_") for name in found.ptx)


SEEDS = [GOOD, pe([(b".nv_fatb", region(entry(SASS, 90), entry(PTX, 80)) + bytes(8))])]
BYTES = st.sampled_from([0, 1, 2, 0x10, 0x40, 0x7F, 0x80, 0xFF])


@settings(max_examples=100, deadline=5000)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 1200), BYTES), max_size=10),
    st.integers(0, 1200),
)
def test_changed_and_cut_files_raise_only_what_is_announced(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    changed = bytearray(raw)
    for place, value in changes:
        changed[place % len(raw)] = value
    read_safely(bytes(changed[: cut or None]), tmp_path_factory.getbasetemp() / "changed.so")


@settings(max_examples=100, deadline=5000)
@given(st.binary(max_size=400), st.sampled_from([b"", b"\x50\xed\x55\xba\1\0\x10\0"]))
def test_any_bytes_as_gpu_code_raise_only_what_is_announced(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, start: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.so"
    read_safely(start + raw, path)
    read_safely(in_elf(start + raw), path)
    read_safely(pe([(b".nv_fatb", start + raw)]), path)


@settings(max_examples=70, deadline=5000)
@given(
    st.lists(
        st.tuples(
            st.lists(
                st.tuples(
                    st.sampled_from([PTX, SASS]),
                    st.integers(50, 200),
                    st.binary(max_size=40),
                    st.sampled_from([64, 72, 80, 112]),
                ),
                max_size=5,
            ),
            st.integers(0, 40),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_was_put_in_is_found(
    tmp_path_factory: pytest.TempPathFactory,
    regions: list[tuple[list[tuple[int, int, bytes, int]], int]],
) -> None:
    content = b"".join(
        region(*(entry(kind, number, code, header=size) for kind, number, code, size in entries))
        + bytes(gap)
        for entries, gap in regions
    )
    numbers = {kind: set[int]() for kind in (PTX, SASS)}
    for entries, _ in regions:
        for kind, number, _, _ in entries:
            numbers[kind].add(number)
    path = tmp_path_factory.getbasetemp() / "good.so"
    path.write_bytes(in_elf(content))
    assert read_code(path) == GpuCode(
        tuple(f"sm_{number}" for number in sorted(numbers[SASS])),
        tuple(f"compute_{number}" for number in sorted(numbers[PTX])),
    )
