"""What a file is that is plainly no model header: told from its first bytes."""

from __future__ import annotations

import re

from klein_doctor.identity.tensors import Damage

SNIFFED = 4096

_MAGIC = (
    (b"PK\x03\x04", "pickle", "a zip archive, most likely a PyTorch checkpoint (a Python pickle)"),
    (b"PK\x05\x06", "archive", "an empty zip archive"),
    (b"\x80\x02", "pickle", "a Python pickle, the old PyTorch checkpoint format"),
    (b"\x80\x03", "pickle", "a Python pickle"),
    (b"\x80\x04", "pickle", "a Python pickle"),
    (b"\x80\x05", "pickle", "a Python pickle"),
    (b"7z\xbc\xaf\x27\x1c", "archive", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "archive", "a RAR archive"),
    (b"\x1f\x8b", "archive", "a gzip archive"),
    (b"\x89PNG", "other", "a PNG picture"),
    (b"\xff\xd8\xff", "other", "a JPEG picture"),
    (b"\x7fELF", "other", "a Linux program or library"),
    (b"MZ", "other", "a Windows program or library"),
    (b"\x89HDF", "other", "an HDF5 file"),
)
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"<!--")


def sniff(start: bytes, size: int) -> Damage | None:
    """What a file of size bytes is by its first bytes; None where it may be a safetensors file."""
    if not start:
        return Damage("empty", "an empty file")
    # The header of safetensors opens with its length, so that byte 8 is the brace of its JSON.
    if size >= 8 and start[8:9] == b"{" and start[6:8] == b"\0\0":
        return None
    if not start.strip(b"\0"):
        return Damage("zeros", "zeros from its first byte on: space set aside, nothing written")
    for magic, kind, says in _MAGIC:
        if start.startswith(magic):
            return Damage(kind, says)
    return _text(start) or _short(start, size)


def _text(start: bytes) -> Damage | None:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Damage("text", "a text in UTF-16")
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"version https://git-lfs.github.com/"):
        return Damage(
            "lfs-pointer", f"a Git LFS pointer{_promised(text)}, not the file it stands for"
        )
    if text[:200].lower().startswith(_PAGES):
        return Damage("html", "a web page saved in the file's place")
    if not _printable(start):
        return None
    if text[:1] in (b"{", b"["):
        return Damage("json", "a JSON text, such as a server's error message")
    return Damage("text", "a plain text")


def _promised(text: bytes) -> str:
    found = re.search(rb"^size (\d{1,15})\s*$", text, re.MULTILINE)
    return f" to a file of {int(found.group(1)):,} bytes" if found else ""


def _short(start: bytes, size: int) -> Damage | None:
    if size <= 8:
        return Damage("truncated", f"only {size} bytes long")
    return None


def _printable(start: bytes) -> bool:
    """Whether these are words: no control characters but those of lines and tabs."""
    head = start[:1024]
    return not re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", head)
