"""Where the pictures of a run go, and what of it is remembered in the state folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from klein_doctor.exits import UsageError
from klein_doctor.identity.digest import DigestStore
from klein_doctor.model import Report, Unknown
from klein_doctor.probes.proven import read_files, remember
from klein_doctor.proven import Entry, setup_of
from klein_doctor.state import make_folder, replace_file, state_folder
from klein_doctor.verdict_images import VERIFIED

PICTURES, RECORDS = "pictures", "records"
_MOST_RUNS, _MOST_RECORDS = 10, 50
_LONGEST_RECORD = 256 << 10


class Place(NamedTuple):
    """A folder of the doctor's own that is there. scratch: it is no lasting one."""

    path: Path
    scratch: bool


def folder(named: str, state_dir: str, env: Mapping[str, str]) -> Place:
    """A new folder for a run's pictures: in the named one, else in the state folder.

    Raises:
        UsageError: it cannot be made.
    """
    state = state_folder(state_dir, env)
    parent = Path(os.path.abspath(named)) if named else None
    if parent is None:
        parent = state / PICTURES if state is not None else None
    try:
        if parent is None:
            return Place(Path(tempfile.mkdtemp(prefix="klein-doctor-")), True)
        if not named:
            _drop_oldest(parent, _MOST_RUNS - 1)
        return Place(_new(parent), False)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--pictures {named or parent}: {reason}") from error


def _new(parent: Path) -> Path:
    make_folder(parent)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    for number in range(1, 1000):
        place = parent / (stamp if number == 1 else f"{stamp}-{number}")
        if not place.exists():
            make_folder(place)
            return place
    raise FileExistsError(17, "too many runs in one second", str(parent))


def _drop_oldest(parent: Path, keep: int) -> None:
    with contextlib.suppress(OSError):
        runs = sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
        for path in runs[: max(0, len(runs) - keep)]:
            shutil.rmtree(path, ignore_errors=True)


def keep(
    report: Report, route: str, files: tuple[str, ...], state_dir: str, env: Mapping[str, str]
) -> str:
    """Store the record, and what a verified generation was made with; why not, "" where done."""
    state = state_folder(state_dir, env)
    if state is None or report.record is None:
        return ""
    try:
        _store(state / RECORDS, report)
        if report.record["verdict"] == VERIFIED:
            setup = setup_of(report.facts, route, read_files(files, DigestStore(state)))
            if not isinstance(setup, Unknown):
                remember(state, Entry(report.created, setup))
    except OSError as error:
        return f"{error.filename or state}: {error.strerror or error}"
    return ""


def _store(place: Path, report: Report) -> None:
    text = json.dumps(report.record, indent=1) + "\n"
    if len(text) > _LONGEST_RECORD:
        return
    name = report.created.replace("-", "").replace(":", "")
    replace_file(place / f"{name}.json", text)
    old = sorted(path for path in place.glob("*.json") if path.is_file())
    for path in old[: max(0, len(old) - _MOST_RECORDS)]:
        path.unlink(missing_ok=True)
