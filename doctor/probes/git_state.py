"""The state of a git checkout, from its files: no git is run.

Formats: git's gitrepository-layout(5) and gitformat-index(5).
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from klein_doctor.installation import Checkout
from klein_doctor.model import Fact, Known, Unknown
from klein_doctor.probes.outside import Outside, is_dir, is_file, names, read_text

_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REFERENCE = re.compile(r"refs/[^\0-\x20\x7f\\:?*\[~^]{1,300}")
_TAG = re.compile(r"refs/tags/v\d[\w.-]{0,40}", re.ASCII)
_LONGEST_LIST = 8 << 20
_MOST_TAGS = 2000
_OWN_BRANCHES = ("master", "main")
_MOST_ENTRIES = 200_000
_LARGEST_INDEX = 64 << 20
_LONGEST_NAME = 4096
_MOST_HASHED = 500
_LARGEST_HASHED = 1 << 20
_LINK, _SUBMODULE, _FOLDER = 0o120000, 0o160000, 0o040000


class _Entry(NamedTuple):
    """A tracked file as the index remembers it; mtime and size cut to 32 bits as git does."""

    name: bytes
    mtime: int
    size: int
    mode: int
    blob: bytes
    skipped: bool
    unmerged: bool


class _Odd(Exception):
    """The index is of a kind that is not read; the argument says which."""


def read_checkout(outside: Outside, root: Path) -> Fact[Checkout | None]:
    """Commit, branch and whether tracked files differ; Known(None) for no checkout."""
    try:
        folder = _git_folder(root)
        if folder is None:
            return Known(None)
        commit, named = _head(folder)
        if not commit:
            return Unknown("its git folder does not tell its commit")
        branch = named.removeprefix("refs/heads/")
        if branch not in _OWN_BRANCHES:  # people name branches after themselves
            branch = outside.redactor.text(branch).public[:100]
        common = _common(folder)
        dirty = _dirty(root, folder, len(commit) // 2)
        shallow = is_file(common / "shallow")
        return Known(Checkout(commit, branch, dirty, shallow, _release(common, commit)))
    except (OSError, ValueError) as error:
        return Unknown(f"its git folder cannot be read ({type(error).__name__})")


def read_commit(root: Path) -> str:
    """The commit alone, without a look at the tracked files; "" where nothing tells it."""
    try:
        folder = _git_folder(root)
        return _head(folder)[0] if folder is not None else ""
    except (OSError, ValueError):
        return ""


def _head(folder: Path) -> tuple[str, str]:
    """The commit and the reference that names it, each "" where there is none."""
    head = read_text(folder / "HEAD", 4096).strip()
    named = head.removeprefix("ref: ").strip() if head.startswith("ref: ") else ""
    commit = _commit(folder, _common(folder), named) if named else head
    return (commit if _HASH.fullmatch(commit) else ""), named


def _git_folder(root: Path) -> Path | None:
    git = root / ".git"
    if is_dir(git):
        return git
    text = read_text(git, 4096).strip() if is_file(git) else ""
    if not text.startswith("gitdir:"):
        return None
    return root / text.removeprefix("gitdir:").strip()


def _common(folder: Path) -> Path:
    """Where branches lie: a worktree shares those of its repository."""
    text = read_text(folder / "commondir", 4096).strip()
    return folder / text if text else folder


def _commit(folder: Path, common: Path, reference: str) -> str:
    if not _REFERENCE.fullmatch(reference) or ".." in reference:
        return ""
    for place in (folder, common):
        text = read_text(place / reference, 4096).strip()
        if text:
            return text
    for line in read_text(common / "packed-refs", _LONGEST_LIST).splitlines():
        commit, _, name = line.partition(" ")
        if name.strip() == reference:
            return commit
    return ""


def _release(common: Path, commit: str) -> str:
    """The version tag of a commit; of a tag with a message the packed references tell."""
    tag = ""
    for line in read_text(common / "packed-refs", _LONGEST_LIST).splitlines():
        named, _, name = line.partition(" ")
        if _TAG.fullmatch(name):
            tag = name
        if tag and named.removeprefix("^") == commit and name in ("", tag):
            return tag.rpartition("/")[2]
    for name in names(common / "refs" / "tags")[:_MOST_TAGS]:
        if _TAG.fullmatch(f"refs/tags/{name}"):
            if read_text(common / "refs" / "tags" / name, 4096).strip() == commit:
                return name
    return ""


# --- what was changed ------------------------------------------------------------------------


def _dirty(root: Path, folder: Path, digest: int) -> Fact[bool]:
    path = folder / "index"
    try:
        if not is_file(path):
            return Unknown("it has no git index")
        if path.stat().st_size > _LARGEST_INDEX:
            return Unknown("its git index is larger than any ComfyUI's")
        with path.open("rb") as stream:
            data = stream.read(_LARGEST_INDEX)
        return _differs(root, list(_entries(data, digest)))
    except _Odd as error:
        return Unknown(f"its git index {error}")
    except (OSError, struct.error, ValueError, IndexError):
        return Unknown("its git index cannot be read")


def _differs(root: Path, entries: list[_Entry]) -> Fact[bool]:
    """Whether a tracked file is gone, of another size, or touched and of another content."""
    touched = []
    for entry in entries:
        if entry.skipped or stat.S_IFMT(entry.mode) == _SUBMODULE:
            continue
        path = root / os.fsdecode(entry.name)
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return Known(True)
        same_size = status.st_size & 0xFFFFFFFF == entry.size
        # git writes size 0 for what changed while it wrote the index: only the content tells.
        if entry.unmerged or not _same_kind(status.st_mode, entry) or not (
            same_size or entry.size == 0
        ):  # fmt: skip
            return Known(True)
        if not same_size or (status.st_mtime_ns // 10**9) & 0xFFFFFFFF != entry.mtime:
            touched.append((path, status, entry))
    for path, status, entry in touched[:_MOST_HASHED]:
        if status.st_size <= _LARGEST_HASHED and not _same_content(path, status.st_mode, entry):
            return Known(True)
    if len(touched) > _MOST_HASHED or any(s.st_size > _LARGEST_HASHED for _, s, _ in touched):
        return Unknown("more of its files have new dates than are compared")
    return Known(False)


def _same_kind(mode: int, entry: _Entry) -> bool:
    """A file for a file, a link for a link; Windows may hold a link as a file with its target."""
    if stat.S_ISLNK(mode):
        return stat.S_IFMT(entry.mode) == _LINK
    return stat.S_ISREG(mode)


def _same_content(path: Path, mode: int, entry: _Entry) -> bool:
    data = os.fsencode(os.readlink(path)) if stat.S_ISLNK(mode) else path.read_bytes()
    # A checkout on Windows may hold CRLF where the repository holds LF.
    forms = (data, data.replace(b"\r\n", b"\n"))
    return entry.blob in [_blob(form, len(entry.blob)) for form in forms]


def _blob(data: bytes, length: int) -> bytes:
    kind = hashlib.sha1 if length == 20 else hashlib.sha256
    return kind(b"blob %d\0" % len(data) + data).digest()


# --- the index -------------------------------------------------------------------------------


def _entries(data: bytes, digest: int = 20) -> Iterator[_Entry]:
    """The tracked files of an index; digest is the length of the repository's hashes in bytes."""
    signature, version, count = struct.unpack_from(">4sII", data)
    if signature != b"DIRC" or version not in (2, 3, 4):
        raise _Odd("is of a version that is not read")
    if count > _MOST_ENTRIES:
        raise _Odd("counts more files than any ComfyUI has")
    place, name = 12, b""
    for _ in range(count):
        start = place
        mtime, mode, size = struct.unpack_from(">8xI12xI8xI", data, place)[:3]
        place += 40 + digest
        blob = data[place - digest : place]
        (bits,) = struct.unpack_from(">H", data, place)
        place += 2
        skipped = bool(bits & 0x8000)  # assume-unchanged
        if bits & 0x4000:
            (more,) = struct.unpack_from(">H", data, place)
            skipped, place = skipped or bool(more & 0x4000), place + 2  # skip-worktree
        name, place = _name(data, start, place, name if version == 4 else None)
        if stat.S_IFMT(mode) == _FOLDER:
            raise _Odd("is sparse, which is not read")
        if name.startswith(b"/") or b".." in name.split(b"/"):
            raise _Odd("names files outside of it")
        yield _Entry(name, mtime, size, mode, blob, skipped, bool(bits & 0x3000))
    while place + 8 <= len(data) - digest:  # extensions
        if data[place : place + 4] == b"link":
            raise _Odd("is split, which is not read")
        place += 8 + int(struct.unpack_from(">I", data, place + 4)[0])


def _name(data: bytes, start: int, place: int, before: bytes | None) -> tuple[bytes, int]:
    """A file's name and where the next entry begins; before is given where names share it."""
    kept = b""
    if before is not None:
        strip, place = _varint(data, place)
        if strip > len(before):
            raise ValueError("a name cut by more than it has")
        kept = before[: len(before) - strip]
    end = data.index(b"\0", place, place + _LONGEST_NAME)
    name = kept + data[place:end]
    if len(name) > _LONGEST_NAME:
        raise ValueError("a name longer than any")
    return name, end + 1 if before is not None else start + ((end - start) // 8 + 1) * 8


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """An offset-encoded number, as in pack files."""
    value = data[place] & 0x7F
    while data[place] & 0x80:
        place += 1
        value = ((value + 1) << 7) | (data[place] & 0x7F)
        if value > 1 << 20:
            raise ValueError("a name longer than any")
    return value, place + 1
