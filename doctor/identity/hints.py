"""What the Hub's client wrote beside a file it fetched: the digest the file should have.

A hint, never a proof: it says what was asked for, not what lies there. Formats: huggingface_hub
1.x, file_download.py (cache of blobs) and _local_folder.py (records of ``--local-dir``).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from klein_doctor.identity.headers import read_small

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LEVELS = 5
_LONGEST = 1024


def promised_digest(path: Path, status: os.stat_result) -> str:
    """The SHA-256 the Hub gave for this file, "" where nothing tells."""
    return _of_blob(path) or _of_record(path, status)


def _of_blob(path: Path) -> str:
    """In the Hub's cache a large file's name is its digest; snapshots link to it."""
    try:
        real = Path(os.path.realpath(path)) if path.is_symlink() else path
    except OSError:
        return ""
    return real.name if real.parent.name == "blobs" and _SHA256.fullmatch(real.name) else ""


def _of_record(path: Path, status: os.stat_result) -> str:
    for folder in list(path.parents)[:_LEVELS]:
        record = folder / ".cache" / "huggingface" / "download" / path.relative_to(folder)
        try:
            text = read_small(Path(f"{record}.metadata"), _LONGEST).decode("utf-8", "replace")
        except (OSError, ValueError):
            continue
        lines = text.split("\n")
        # A file changed after it was recorded is no longer the one the record speaks of.
        if len(lines) >= 3 and _seconds(lines[2]) + 1 >= status.st_mtime:
            etag = lines[1].strip().strip('"')
            return etag if _SHA256.fullmatch(etag) else ""
    return ""


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
