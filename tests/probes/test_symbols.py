"""Which of torch's functions an extension needs and does not find: compiled, built, hostile."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libraries import ELF_BASE, elf, gnu_hash, importing, pe, shared
from standin import compiler

from klein_doctor.probes.binary import BinaryError
from klein_doctor.probes.symbols import TORCH, Exports, imported_dlls, undefined, unresolved

needs_elf = pytest.mark.skipif(
    not compiler() or sys.platform != "linux", reason="no C compiler (cc, gcc or clang) for ELF"
)
STYLES = ("gnu", "sysv", "both")
# Real names that extensions ask for, of what came and went between torch 2.7 and 2.14.
CHECK = "_ZN3c104cuda29c10_cuda_check_implementationEiPKcS2_ib"
UNPACK = "_ZNK5torch8autograd13SavedVariable6unpackESt10shared_ptrINS0_4NodeEE"
SIZES = "_ZNK2at10TensorBase4sizeEl"
VTABLE = "_ZTVN3c105ErrorE"
LIBRARY = "_ZNR5torch7Library5_implEPKcONS_11CppFunctionENS_17_RegisterOrVerifyE"
STABLE = "aoti_torch_get_current_cuda_stream"
OTHERS = ("_ZNSt7__cxx1112basic_stringIcE", "PyErr_SetString", "_ZN10torchaudio4loadEv", "at_exit")


def write(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


def compiled(path: Path, *options: str, defines: tuple[str, ...] = (), needs: tuple[str, ...] = (),
             likes: tuple[str, ...] = ()) -> Path:  # fmt: skip
    """A library compiled from C whose symbols bear the names that C++ would give them."""
    lines = [f'int d{n}(void) __asm__("{s}"); int d{n}(void) {{ return {n}; }}'
             for n, s in enumerate(defines)]  # fmt: skip
    lines += [f'int n{n}(void) __asm__("{s}");' for n, s in enumerate(needs)]
    lines += [f'int w{n}(void) __asm__("{s}") __attribute__((weak));' for n, s in enumerate(likes)]
    calls = [f"n{n}()" for n in range(len(needs))]
    calls += [f"(w{n} ? w{n}() : 0)" for n in range(len(likes))]
    lines.append(f"int use(void) {{ return {' + '.join(['0', *calls])}; }}")
    command = [compiler(), "-shared", "-fPIC", "-x", "c", "-", "-x", "none", "-o", str(path)]
    subprocess.run([*command, *options], input="\n".join(lines).encode(), check=True)
    return path


def loads(extension: Path, *libraries: Path) -> bool:
    """What the system's own loader says."""
    code = "import ctypes, os, sys\n" + "for p in sys.argv[1:]: ctypes.CDLL(p, os.RTLD_NOW | 0x100)"
    command = [sys.executable, "-c", code, *map(str, libraries), str(extension)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "undefined symbol" in done.stderr, done.stderr
    return done.returncode == 0


@needs_elf
@pytest.mark.parametrize("style", STYLES)
def test_an_extension_built_for_another_torch_is_found_out(tmp_path: Path, style: str) -> None:
    option = f"-Wl,--hash-style={style}"
    names = (SIZES, VTABLE, LIBRARY, STABLE)
    many = tuple(f"_ZN2at4_ops{n}callERKNS_6TensorE" for n in range(500))
    c10 = compiled(tmp_path / "libc10.so", option, defines=(VTABLE, STABLE))
    old = compiled(tmp_path / "old.so", option, defines=(*many, *names[:3], CHECK, UNPACK))
    new = compiled(tmp_path / "new.so", option, defines=(*many, *names[:3]))
    extension = compiled(
        tmp_path / "_C.so", option, needs=(*many[::50], *names, CHECK, UNPACK, "getpid")
    )
    assert unresolved(extension, [c10, old]) == []
    assert loads(extension, c10, old)
    assert sorted(unresolved(extension, [c10, new])) == sorted([CHECK, UNPACK])
    assert not loads(extension, c10, new)
    with Exports([c10, new]) as exports:
        assert all(map(exports.defines, (*many, *names, "use")))
        for name in (CHECK, UNPACK, "getpid", "printf", "", "_ZN2at4_ops500callERKNS_6TensorE"):
            assert not exports.defines(name)


@needs_elf
def test_names_of_others_and_names_it_can_do_without_do_not_count(tmp_path: Path) -> None:
    extension = compiled(
        tmp_path / "_C.so", needs=(SIZES, "getpid"), likes=(CHECK,), defines=(UNPACK,)
    )
    assert undefined(extension, TORCH) == [SIZES]
    assert undefined(extension, (b"getp", b"_ZN3c10")) == ["getpid"]
    assert undefined(extension, ()) == []


def test_torchs_names_are_told_from_others(tmp_path: Path) -> None:
    torch = (SIZES, CHECK, UNPACK, VTABLE, LIBRARY, STABLE, "torch_call_dispatcher")
    path = write(tmp_path / "_C.so", shared(wanted=(*torch, *OTHERS)))
    assert undefined(path, TORCH) == list(torch)
    assert unresolved(path, [write(tmp_path / "a.so", shared(torch[:5]))]) == list(torch[5:])


def test_the_first_20_are_enough(tmp_path: Path) -> None:
    wanted = [f"_ZN2at{n}" for n in range(100)]
    path = write(tmp_path / "_C.so", shared(wanted=wanted))
    assert unresolved(path, [write(tmp_path / "a.so", shared(wanted[:7]))]) == wanted[7:27]
    assert unresolved(path, []) == wanted[:20]


def test_a_name_said_twice_is_asked_once(tmp_path: Path) -> None:
    raw = bytearray(shared(wanted=[SIZES, CHECK]))
    at = raw.index(struct.pack("<IB", 1 + len(SIZES) + 1, 0x12))
    raw[at : at + 4] = struct.pack("<I", 1)
    assert undefined(write(tmp_path / "_C.so", bytes(raw)), TORCH) == [SIZES]


@settings(max_examples=70, deadline=5000)
@given(
    st.sets(st.from_regex(r"_Z[NKa-z0-9]{1,12}", fullmatch=True), max_size=40),
    st.sets(st.from_regex(r"_Z[NKa-z0-9]{1,12}", fullmatch=True), max_size=20),
    st.sampled_from([(".gnu.hash",), (".hash",), (".hash", ".gnu.hash")]),
    st.integers(1, 9),
)
def test_every_name_defined_is_known_and_no_other(
    tmp_path_factory: pytest.TempPathFactory,
    defined: set[str],
    others: set[str],
    hashes: tuple[str, ...],
    buckets: int,
) -> None:
    raw = shared(sorted(defined), sorted(others - defined), hashes=hashes, buckets=buckets)
    path = write(tmp_path_factory.getbasetemp() / "defined.so", raw)
    with Exports([path]) as exports:
        assert all(map(exports.defines, defined))
        assert not any(map(exports.defines, others - defined))
        assert not exports.defines("_ZN\udc80\U0001f600")


def test_libraries_that_cannot_tell_say_so(tmp_path: Path) -> None:
    good = write(tmp_path / "good.so", shared([SIZES]))
    extension = write(tmp_path / "_C.so", shared(wanted=[SIZES]))
    silent = write(tmp_path / "silent.so", shared([SIZES], hashes=()))
    for wrong in (silent, write(tmp_path / "x.dll", importing(["a.dll"])), tmp_path):
        with pytest.raises(BinaryError):
            Exports([good, wrong])
        with pytest.raises(BinaryError):
            unresolved(extension, [good, wrong])
    with pytest.raises(OSError):
        Exports([good, tmp_path / "absent.so"])
    with pytest.raises(BinaryError, match="no table of symbols"):
        undefined(write(tmp_path / "bare.so", elf([(".text", b"x")])), TORCH)
    with Exports([]) as exports:
        assert not exports.defines(SIZES)


def gnu_table(content: bytes) -> bytes:
    rows = bytes(24) + struct.pack("<IBBHQQ", 1, 0x12, 0, 7, 0, 0) * 3000
    return elf([(".gnu.hash", content), (".dynsym", rows), (".dynstr", b"\0other\0")])


def classic_table(buckets: int, count: int, *words: int) -> bytes:
    rows = bytes(24) + struct.pack("<IBBHQQ", 1, 0x12, 0, 7, 0, 0)
    content = struct.pack(f"<{2 + len(words)}I", buckets, count, *words)
    return elf([(".hash", content), (".dynsym", rows), (".dynstr", b"\0other\0")])


EVEN = gnu_hash(SIZES.encode()) & ~1
OPEN = struct.pack("<Q", 2**64 - 1)  # a bloom filter that lets everything pass
DAMAGED = {
    "no room": gnu_table(b"abc"),
    "no buckets": gnu_table(struct.pack("<IIII", 0, 1, 1, 6) + OPEN),
    "no bloom words": gnu_table(struct.pack("<IIII", 1, 1, 0, 6) + OPEN),
    "buckets beyond the end": gnu_table(struct.pack("<IIII", 2**32 - 1, 1, 1, 6) + OPEN),
    "chain beyond the end": gnu_table(struct.pack("<IIII", 1, 1, 1, 6) + OPEN + b"\xff\0\0\0"),
    "chain without end": gnu_table(
        struct.pack("<IIII", 1, 1, 1, 6) + OPEN + struct.pack("<I", 1)
        + struct.pack("<I", EVEN) * 3000
    ),
    "symbol that is not there": gnu_table(
        struct.pack("<IIII", 1, 1, 1, 6) + OPEN + struct.pack("<I", 9000)
        + struct.pack("<I", EVEN) * 9001
    ),
    "classic: no buckets": classic_table(0, 2, 0, 0),
    "classic: cut": classic_table(1, 900, 1, 0),
    "classic: circle": classic_table(1, 2, 1, 0, 1),
    "classic: symbol nowhere": classic_table(1, 2, 7, 0, 0),
    "classic: symbol behind the table": classic_table(1, 9, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_tables_are_refused(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "damaged.so", DAMAGED[kind])
    with pytest.raises(BinaryError), Exports([path]) as exports:
        exports.defines(SIZES)


def test_names_that_would_eat_memory_are_refused(tmp_path: Path) -> None:
    def library(strings: bytes, places: list[int]) -> Path:
        rows = [bytes(24), *(struct.pack("<IBBHQQ", at, 0x12, 0, 0, 0, 0) for at in places)]
        raw = elf([(".dynsym", b"".join(rows)), (".dynstr", strings)])
        return write(tmp_path / "large.so", raw)

    nested = b"\0" + b"_ZN2at" * 10_000 + b"\0"
    with pytest.raises(BinaryError, match="more open names"):
        undefined(library(nested, list(range(1, 60_000, 6))), TORCH)
    with pytest.raises(BinaryError, match="without an end"):
        undefined(library(b"\0" + b"_ZN2at" * 20_000 + b"\0", [1]), TORCH)
    with pytest.raises(BinaryError, match="without an end"):
        undefined(library(b"\0_ZN2at", [1]), TORCH)
    assert undefined(library(b"\0_ZN2at\0", [7, 8, 2**32 - 1]), TORCH) == []
    wide = bytearray(library(b"\0", []).read_bytes())
    at = wide.index(struct.pack("<QQ", ELF_BASE + 64, 64)) + 16
    wide[at : at + 8] = struct.pack("<Q", 2**60)
    with pytest.raises(BinaryError, match="cut short"):
        undefined(write(tmp_path / "wide.so", bytes(wide)), TORCH)


def test_the_dlls_of_a_windows_library_are_named_in_order(tmp_path: Path) -> None:
    path = tmp_path / "_C.pyd"
    for wide in (True, False):
        write(path, importing(["c10.dll", "torch_cpu.dll", "c10.dll"], ["cudart64_12.dll"], wide))
        assert imported_dlls(path) == ["c10.dll", "torch_cpu.dll", "cudart64_12.dll"]
    assert imported_dlls(write(path, importing([], ["x.dll"]))) == ["x.dll"]
    assert imported_dlls(write(path, importing([]))) == []


def _old_delayed() -> bytes:
    raw, name = importing([], ["x.dll"]), 0x2000 + 20 + 64
    assert raw.count(struct.pack("<II", 1, name)) == 1
    return raw.replace(struct.pack("<II", 1, name), struct.pack("<II", 0, name))


PE_DAMAGED = {
    "ELF": shared(),
    "directory nowhere": pe([(b".text", b"x")], {1: 0x9000}),
    "directory without end": pe([(b".rdata", b"")], {1: 0x1000}),
    "cut inside": importing(["c10.dll"])[:-40],
    "imports without end": pe([(b".rdata", b"\x00\x10\0\0" * 10_000)], {1: 0x1000}),
    "name nowhere": pe([(b".rdata", b"\xff" * 20 + bytes(20))], {1: 0x1000}),
    "name without end": pe([(b".rdata", struct.pack("<IIIII", 1, 0, 0, 0x1028, 1) + bytes(20)
                                        + b"a" * 400)], {1: 0x1000}),
    "delayed as of old": _old_delayed(),
    "unknown kind": importing(["c10.dll"]).replace(b"\x0b\x02", b"\x07\x01"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PE_DAMAGED)
def test_damaged_imports_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BinaryError):
        imported_dlls(write(tmp_path / "x.dll", PE_DAMAGED[kind]))


def ask_safely(path: Path, raw: bytes) -> None:
    """Every question there is; only the two announced errors may come out."""
    write(path, raw)
    for question in (
        lambda: undefined(path, (b"", b"_Z")),
        lambda: unresolved(path, [path]),
        lambda: imported_dlls(path),
    ):
        try:
            assert all(isinstance(name, str) and name.isascii() for name in question())
        except (BinaryError, OSError):
            pass
    try:
        with Exports([path, path]) as exports:
            for name in (SIZES, CHECK, "use", ""):
                exports.defines(name)
    except (BinaryError, OSError):
        pass


SEEDS = [
    shared([SIZES, CHECK, "use"], [UNPACK], [VTABLE]),
    shared([SIZES, CHECK, "use"], [UNPACK], hashes=[".hash"]),
    importing(["c10.dll", "torch_cpu.dll"], ["cudart64_12.dll"]),
]
BYTES = st.sampled_from([0, 1, 2, 7, 0x10, 0x40, 0x7F, 0x80, 0xFF])


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
    ask_safely(tmp_path_factory.getbasetemp() / "changed.so", bytes(changed[: cut or None]))


@settings(max_examples=70, deadline=5000)
@given(
    st.binary(max_size=200),
    st.binary(max_size=200),
    st.binary(max_size=100),
    st.sampled_from([".gnu.hash", ".hash"]),
)
def test_any_bytes_as_tables_raise_only_what_is_announced(
    tmp_path_factory: pytest.TempPathFactory, table: bytes, rows: bytes, text: bytes, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.so"
    ask_safely(path, elf([(name, table), (".dynsym", bytes(24) + rows), (".dynstr", text)]))
    ask_safely(path, pe([(b".rdata", table + rows)], {1: 0x1000, 13: 0x1004}))
    ask_safely(path, table + rows + text)
