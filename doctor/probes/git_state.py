"""The state of a git checkout, from its files: no git is run.

Formats: git's gitrepository-layout(5) and gitformat-index(5).
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from klein_doctor.installation import Checkout
from klein_doctor.model import Fact, Known, Unknown
from klein_doctor.probes.outside import is_dir, is_file, read_text

_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MOST_ENTRIES = 200_000
_LARGEST_INDEX = 64 << 20
_MOST_HASHED = 500
_LARGEST_HASHED = 1 << 20
_LINK, _SUBMODULE = 0o120000, 0o160000


class _Entry(NamedTuple):
    """A tracked file as the index remembers it."""

    name: bytes
    mtime: int
    size: int
    mode: int
    blob: bytes
    skipped: bool


class _Odd(Exception):
    """The index is of a kind that is not read; the argument says which."""


def read_checkout(root: Path) -> Fact[Checkout | None]:
    """Commit, branch and whether tracked files differ; Known(None) for no checkout."""
    try:
        folder = _git_folder(root)
        if folder is None:
            return Known(None)
        common = _common(folder)
        head = read_text(folder / "HEAD", 4096).strip()
        branch = head.removeprefix("ref: ").strip() if head.startswith("ref: ") else ""
        commit = _commit(folder, common, branch) if branch else head
        if not _HASH.fullmatch(commit):
            return Unknown("its git folder does not tell its commit")
        return Known(Checkout(commit, branch.removeprefix("refs/heads/"), _dirty(root, folder)))
    except (OSError, ValueError) as error:
        return Unknown(f"its git folder cannot be read ({type(error).__name__})")


def _git_folder(root: Path) -> Path | None:
    git = root / ".git"
    if is_dir(git):
        return git
    if is_file(git):
        text = read_text(git, 4096).strip()
        if text.startswith("gitdir:"):
            return root / text.removeprefix("gitdir:").strip()
    return None


def _common(folder: Path) -> Path:
    text = read_text(folder / "commondir", 4096).strip()
    return folder / text if text else folder


def _commit(folder: Path, common: Path, reference: str) -> str:
    if not re.fullmatch(r"refs/[\w./+@#=,{}-]{1,300}", reference) or ".." in reference:
        return ""
    for place in (folder, common):
        text = read_text(place / reference, 4096).strip()
        if text:
            return text
    for line in read_text(common / "packed-refs", 8 << 20).splitlines():
        commit, _, name = line.partition(" ")
        if name.strip() == reference:
            return commit
    return ""


def _dirty(root: Path, folder: Path) -> Fact[bool]:
    path = folder / "index"
    try:
        if path.stat().st_size > _LARGEST_INDEX:
            return Unknown("its git index is larger than any ComfyUI's")
        data = path.read_bytes()
        return _differs(root, list(_entries(data)))
    except _Odd as error:
        return Unknown(f"its git index {error}")
    except (OSError, struct.error, ValueError, IndexError):
        return Unknown("its git index cannot be read")


def _differs(root: Path, entries: list[_Entry]) -> Fact[bool]:
    hashed = 0
    for entry in entries:
        if entry.skipped or entry.mode & 0o170000 == _SUBMODULE:
            continue
        path = root / os.fsdecode(entry.name)
        try:
            status = path.lstat()
        except FileNotFoundError:
            return Known(True)
        link = entry.mode & 0o170000 == _LINK
        same_size = status.st_size & 0xFFFFFFFF == entry.size
        if same_size and int(status.st_mtime) & 0xFFFFFFFF == entry.mtime:
            continue
        if status.st_size > _LARGEST_HASHED or hashed >= _MOST_HASHED:
            return Known(True) if not same_size else Unknown("too many files were touched")
        hashed += 1
        data = os.fsencode(os.readlink(path)) if link else path.read_bytes()
        # A checkout on Windows may hold CRLF where the repository holds LF.
        forms = (data, data.replace(b"\r\n", b"\n"))
        if entry.blob not in [_blob(form, len(entry.blob)) for form in forms]:
            return Known(True)
    return Known(False)


def _blob(data: bytes, length: int) -> bytes:
    kind = hashlib.sha1 if length == 20 else hashlib.sha256
    return kind(b"blob %d\0" % len(data) + data).digest()


def _entries(data: bytes) -> Iterator[_Entry]:
    signature, version, count = struct.unpack_from(">4sII", data)
    if signature != b"DIRC" or version not in (2, 3, 4):
        raise _Odd("is of a version that is not read")
    if count > _MOST_ENTRIES:
        raise _Odd("counts more files than any ComfyUI has")
    if b"link" in data[-4096:] and _has_extension(data, b"link"):
        raise _Odd("is split, which is not read")
    place, before = 12, b""
    for _ in range(count):
        start = place
        mtime, mode, size = struct.unpack_from(">8xI12xI8xI", data, place)[:3]
        blob = data[place + 40 : place + 60]
        (bits,) = struct.unpack_from(">H", data, place + 60)
        place += 62
        skipped = bool(bits & 0x8000)
        if bits & 0x4000:
            (more,) = struct.unpack_from(">H", data, place)
            skipped, place = skipped or bool(more & 0x4000), place + 2
        if version == 4:
            strip, place = _varint(data, place)
            end = data.index(b"\0", place)
            before = before[: len(before) - strip] + data[place:end]
            place = end + 1
        else:
            end = data.index(b"\0", place)
            before = data[place:end]
            place = start + ((end - start) // 8 + 1) * 8
        if mode & 0o170000 == 0o040000:
            raise _Odd("is sparse, which is not read")
        yield _Entry(before, mtime, size, mode, blob, skipped)


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """An offset-encoded number, as in pack files."""
    value = data[place] & 0x7F
    while data[place] & 0x80:
        place += 1
        value = ((value + 1) << 7) | (data[place] & 0x7F)
        if value > 1 << 20:
            raise ValueError("a name longer than any")
    return value, place + 1


def _has_extension(data: bytes, name: bytes) -> bool:
    place = data.rfind(name)
    if place < 0 or place + 8 > len(data):
        return False
    (size,) = struct.unpack_from(">I", data, place + 4)
    return bool(place + 8 + size <= len(data) - 20)
