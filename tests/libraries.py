"""Small ELF and PE files, made as compilers, CUDA and linkers make them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from klein_doctor.rehearse.wheels import ELF_BASE as ELF_BASE
from klein_doctor.rehearse.wheels import elf as elf

PTX, SASS = 1, 2


def pe(
    rows: Sequence[tuple[bytes, bytes]],
    directories: dict[int, int] | None = None,
    wide: bool = True,
) -> bytes:
    """A PE file with an optional header (of a 64-bit one if wide) and the given sections.

    Sections begin at the addresses 0x1000, 0x2000, ...; directories maps numbers to addresses.
    """
    optional = bytearray(240)
    count_at = 108 if wide else 92
    struct.pack_into("<H", optional, 0, 0x20B if wide else 0x10B)
    struct.pack_into("<I", optional, count_at, 16)
    for number, address in (directories or {}).items():
        struct.pack_into("<II", optional, count_at + 4 + 8 * number, address, 40)
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    head += b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, len(rows), 0, 0, 0, len(optional), 0x2022)
    head += optional
    body, table, first = b"", b"", len(head) + 40 * len(rows)
    for number, (name, content) in enumerate(rows, 1):
        table += struct.pack(
            "<8sIIII", name, len(content), 0x1000 * number, len(content), first + len(body)
        )
        table += bytes(16)
        body += content
    return head + table + body


def entry(
    kind: int, number: int, code: bytes = b"code", flags: int = 0x11, header: int = 64
) -> bytes:
    """One piece of GPU code as nvcc wraps it: a plain header, then the code."""
    start = struct.pack("<HHIQQIIQQ", kind, 0x101, header, len(code), 0, 8 << 16, number, 0, flags)
    return start.ljust(header, b"\0") + code


def region(*entries: bytes, header: int = 16, version: int = 1) -> bytes:
    """A fat binary: what one source file became, once for each architecture."""
    body = b"".join(entries)
    start = struct.pack("<IHHQ", 0xBA55ED50, version, header, len(body))
    return start.ljust(header, b"\0") + body


def gnu_hash(name: bytes) -> int:
    key = 5381
    for byte in name:
        key = (key * 33 + byte) % (1 << 32)
    return key


def classic_hash(name: bytes) -> int:
    """As the System V gABI prints it in C."""
    key = 0
    for byte in name:
        key = ((key << 4) + byte) % (1 << 32)
        high = key & 0xF0000000
        if high:
            key ^= high >> 24
        key &= ~high
    return key


def shared(
    defined: Sequence[str] = (),
    wanted: Sequence[str] = (),
    weak: Sequence[str] = (),
    hashes: Sequence[str] = (".gnu.hash", ".hash"),
    buckets: int = 3,
    needs: Sequence[str] = (),
    gpu: bytes = b"",
) -> bytes:
    """An ELF library with dynamic symbols: what it defines, wants, and would like to have.

    needs: the libraries it asks the loader for. gpu: its fat binary.
    """
    exported = sorted(
        (name.encode() for name in dict.fromkeys(defined)), key=lambda n: gnu_hash(n) % buckets
    )
    strings, rows = b"\0", [bytes(24)]
    for name, info, section in (
        *((name.encode(), 0x12, 0) for name in wanted),
        *((name.encode(), 0x20, 0) for name in weak),
        *((name, 0x12, 7) for name in exported),
    ):
        rows.append(struct.pack("<IBBHQQ", len(strings), info, 0, section, 0, 0))
        strings += name + b"\0"
    dynamic = b""
    for library in needs:
        dynamic += struct.pack("<qQ", 1, len(strings))
        strings += library.encode() + b"\0"
    first = len(rows) - len(exported)
    tables = {
        ".gnu.hash": _gnu_table(exported, first, buckets),
        ".hash": _classic_table(exported, first, buckets),
    }
    return elf(
        [
            *((name, tables[name]) for name in hashes),
            (".dynsym", b"".join(rows)),
            (".dynstr", strings),
            *([(".dynamic", dynamic + bytes(16))] if needs else []),
            *([(".nv_fatbin", gpu)] if gpu else []),
        ]
    )


def _gnu_table(names: list[bytes], first: int, buckets: int) -> bytes:
    bloom, shift, words = [0, 0], 6, 2
    starts, chain = [0] * buckets, []
    for number, name in enumerate(names):
        key = gnu_hash(name)
        bloom[key // 64 % words] |= 1 << key % 64 | 1 << (key >> shift) % 64
        starts[key % buckets] = starts[key % buckets] or first + number
        last = number + 1 == len(names) or gnu_hash(names[number + 1]) % buckets != key % buckets
        chain.append(key & ~1 | last)
    return (
        struct.pack("<IIII", buckets, first, words, shift)
        + struct.pack(f"<{words}Q", *bloom)
        + struct.pack(f"<{buckets}I", *starts)
        + struct.pack(f"<{len(chain)}I", *chain)
    )


def _classic_table(names: list[bytes], first: int, buckets: int) -> bytes:
    starts, chain = [0] * buckets, [0] * (first + len(names))
    for number, name in enumerate(names, first):
        place = classic_hash(name) % buckets
        chain[number], starts[place] = starts[place], number
    return struct.pack(f"<{2 + buckets + len(chain)}I", buckets, len(chain), *starts, *chain)


def importing(dlls: Sequence[str], delayed: Sequence[str] = (), wide: bool = True) -> bytes:
    """A PE library that imports these DLLs, and those only when they are first used."""
    size = 20 * (len(dlls) + 1), 32 * (len(delayed) + 1)
    address, rows, later, names = 0x2000 + sum(size), b"", b"", b""
    for dll in dlls:
        rows += struct.pack("<IIIII", 0x2000, 0, 0, address + len(names), 0x2000)
        names += dll.encode() + b"\0"
    for dll in delayed:
        later += struct.pack("<IIIIIIII", 1, address + len(names), 0, 0, 0, 0, 0, 0)
        names += dll.encode() + b"\0"
    content = rows.ljust(size[0], b"\0") + later.ljust(size[1], b"\0") + names
    directories = {1: 0x2000} if dlls else {}
    if delayed:
        directories[13] = 0x2000 + size[0]
    return pe([(b".text", b"code"), (b".rdata", content)], directories, wide)
