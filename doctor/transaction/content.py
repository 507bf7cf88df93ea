"""Files as the journal speaks of them: digests, lists of what is there, writing without halves."""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from klein_doctor.state import own_like_parent

_BLOCK = 1 << 20


def digest(what: Path | bytes) -> str:
    """SHA-256 of a file's content or of bytes; "" of a file that is not there."""
    if isinstance(what, bytes):
        return hashlib.sha256(what).hexdigest()
    found = hashlib.sha256()
    try:
        with open(what, "rb") as stream:
            while block := stream.read(_BLOCK):
                found.update(block)
    except FileNotFoundError:
        return ""
    return found.hexdigest()


def listing(folders: Iterable[Path], *, empty: bool = False) -> list[str]:
    """Every file and link below these folders, as absolute paths, in order; links not followed.

    A folder may be a file, and is then listed itself. empty: empty folders, too, with a slash.
    """
    found: set[str] = set()
    for folder in folders:
        if not folder.is_dir() and os.path.lexists(folder):
            found.add(str(folder))
        for top, names, files in os.walk(folder):
            links = [name for name in names if os.path.islink(os.path.join(top, name))]
            found.update(os.path.join(top, name) for name in (*files, *links))
            if empty and not names and not files:
                found.add(os.path.join(top, ""))
    return sorted(found)


def write_list(path: Path, paths: Iterable[str]) -> None:
    """Write paths into a file that is not there yet, one a line."""
    write_new(path, "\n".join(paths).encode("utf-8", "surrogateescape"), 0o600)
    own_like_parent(path)


def read_list(path: Path) -> frozenset[str]:
    """The paths that ``write_list`` wrote."""
    return frozenset(path.read_bytes().decode("utf-8", "surrogateescape").split("\n"))


def unused(path: Path, *, at_end: bool = False) -> Path:
    """This path, or one like it that is not taken: a number before its extension, or at its end."""
    stem, tail = (path.name, "") if at_end else (path.stem, path.suffix)
    names = (f"{stem}-{number}{tail}" for number in itertools.count(2))
    paths = itertools.chain([path], map(path.with_name, names))
    return next(each for each in paths if not os.path.lexists(each))


def temporary(path: Path) -> Path:
    """A hidden name beside a file, to write its successor under."""
    return path.with_name(f".{path.name[:60]}.klein-doctor-{secrets.token_hex(4)}")


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that is not there yet and wait until the disk has it.

    Raises:
        OSError: it is there, or it cannot be written; then nothing stays.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    try:
        with open(handle, "wb") as stream:
            if hasattr(os, "fchmod"):
                os.fchmod(stream.fileno(), mode)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
