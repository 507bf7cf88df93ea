"""Verified generations that the state folder remembers, and what of them still holds."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from klein_doctor.codec import DecodeError, decode, encode
from klein_doctor.generation import Proven
from klein_doctor.identity.headers import read_small
from klein_doctor.model import Facts, Unknown
from klein_doctor.probes.outside import Outside
from klein_doctor.proven import Entry, File, Setup, difference, setup_of
from klein_doctor.state import replace_file

if TYPE_CHECKING:
    from klein_doctor.identity.digest import DigestStore

STORE = "proven.json"
SCHEMA = "klein-doctor/proven/1"
MOST = 20
_LONGEST = 1 << 20
_WHEN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def read_entries(state: Path | None) -> tuple[Entry, ...]:
    """What is on record, the newest first; none where it is damaged or of another kind."""
    if state is None:
        return ()
    try:
        raw = read_small(state / STORE, _LONGEST + 1)
        data = json.loads(raw.decode("utf-8")) if len(raw) <= _LONGEST else None
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            return ()
        found: tuple[Entry, ...] = decode(tuple[Entry, ...], data.get("entries"))
        return tuple(entry for entry in found[:MOST] if _WHEN.fullmatch(entry.when))
    except (OSError, ValueError, RecursionError, DecodeError):
        return ()


def remember(state: Path, entry: Entry) -> None:
    """Put an entry in front; one of the same target goes.

    Raises:
        OSError: the folder cannot be written.
    """
    rest = [old for old in read_entries(state) if _target(old.setup) != _target(entry.setup)]
    kept: list[Any] = [encode(each, "real") for each in (entry, *rest[: MOST - 1])]
    replace_file(state / STORE, json.dumps({"schema": SCHEMA, "entries": kept}))


def _target(setup: Setup) -> tuple[str, str, str]:
    return setup.route, setup.python, setup.comfyui


def read_files(paths: tuple[str, ...], store: DigestStore | None) -> tuple[File, ...]:
    """The files as they are; those that cannot be looked at are left out."""
    found = []
    for path in paths:
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            continue
        digest = store.get(status) if store is not None else ""
        found.append(File(path, status.st_size, status.st_mtime_ns, digest))
    return tuple(found)


def files_now(then: Setup, state: Path | None) -> tuple[File, ...]:
    """The files of a setup as they are now; digests are looked up only where one changed."""
    old = then.files or ()
    paths = tuple(file.path for file in old)
    found = read_files(paths, None)
    known = {(file.path, file.size, file.changed_ns) for file in old}
    if all((file.path, file.size, file.changed_ns) in known for file in found):
        return found
    from klein_doctor.identity.digest import DigestStore

    return read_files(paths, DigestStore(state))


def read_proven(outside: Outside, facts: Facts, route: str, state: Path | None) -> Proven | None:
    """What is on record of the target that the facts describe; None for nothing."""
    entries = read_entries(state)
    if not entries:
        return None
    now = setup_of(facts, route, None)
    if isinstance(now, Unknown):
        return None
    entry = next((each for each in entries if _target(each.setup) == _target(now)), None)
    if entry is None:
        return None
    differs = difference(entry.setup, now._replace(files=files_now(entry.setup, state)))
    return Proven(entry.when, route, outside.redactor.text(differs).public)
