"""The runs that are on record, and taking back what a killed one left open."""

from __future__ import annotations

import contextlib
import datetime
import shutil
from collections.abc import Iterable
from pathlib import Path

from klein_doctor.transaction.in_use import in_use
from klein_doctor.transaction.inverse import take_back
from klein_doctor.transaction.journal import NAME, Journal, StepRecord
from klein_doctor.transaction.lock import Busy, held

_FOLDER = "runs"
SCRATCH = "scratch"  # what a run needs for itself alone, in its folder


def new_run(state: Path) -> Journal:
    """A journal for a run that begins now; nothing is written yet."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d-%H%M%S")
    number = 1
    while (state / _FOLDER / f"{now}-{number}").exists():
        number += 1
    return Journal(state / _FOLDER / f"{now}-{number}")


def runs(state: Path) -> list[Journal]:
    """Every run on record, the newest first."""
    try:
        folders = [path for path in (state / _FOLDER).iterdir() if (path / NAME).is_file()]
    except FileNotFoundError:
        return []
    return [Journal(path) for path in sorted(folders, key=_age, reverse=True)]


def _age(path: Path) -> tuple[str, int]:
    stamp, _, number = path.name.rpartition("-")
    return stamp, int(number) if number.isdigit() else 0


def recover(state: Path) -> tuple[list[str], list[str]]:
    """Take back the steps that were begun and not sealed by runs that are alive no more.

    Answers with what was done and what could not be, in lines.

    Raises:
        Busy: a program uses what would be moved, such as a pip that the killed run had started.
    """
    done: list[str] = []
    problems: list[str] = []
    for journal in runs(state):
        lock = lock_in(journal)
        if journal.state() != "open" or not lock:
            continue
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(held(Path(lock)))
            except Busy:
                continue  # it is at work
            _back(Journal(journal.folder), done, problems)
    return done, problems


def _back(journal: Journal, done: list[str], problems: list[str]) -> None:
    used = in_the_way(filter(journal.unfinished, journal.steps()))
    if used:
        raise Busy(f"run {journal.run} was broken off and must be taken back first, but {used}")
    shutil.rmtree(journal.folder / SCRATCH, ignore_errors=True)
    for step, failed in undo_steps(journal, filter(journal.unfinished, reversed(journal.steps()))):
        problems += failed
        if not failed:
            done.append(f"taken back, as run {journal.run} was broken off: {step.title}")


def in_the_way(steps: Iterable[StepRecord]) -> str:
    """Who uses what would be moved if these steps were taken back, in one line; "" for nobody."""
    records = [record for step in steps for record in step.records]
    places = [r["root"] for r in records if r["do"] == "take-out"]
    places += [folder for r in records if r["do"] == "additions" for folder in r["folders"]]
    places += [r["path"] for r in records if r["do"] == "tree"]
    return in_use(places)


def undo_steps(journal: Journal, steps: Iterable[StepRecord]) -> list[tuple[StepRecord, list[str]]]:
    """Take back steps, the last one first; answers with each and what of it could not be.

    The journal tells when it begins and ends: one that is killed between is ended by the next run,
    and what could not be taken back is not tried again by itself.
    """
    steps = list(steps)
    journal.add("undo-begins", steps=[step.number for step in steps])
    done = [(step, take_back(journal, step)) for step in steps]
    journal.add("undo-ends")
    return done


def lock_in(journal: Journal) -> str:
    """The lock of the target that a run worked on."""
    begun = next((r for r in journal.records if r["do"] == "run"), {})
    return str(begun.get("lock", ""))


def backup_bytes(journal: Journal) -> int:
    """What a run's backups take, in bytes."""
    return sum(
        path.lstat().st_size
        for place in backups(journal)
        for path in place.rglob("*")
        if not path.is_dir()
    )


def backups(journal: Journal) -> list[Path]:
    """The folders in which a run keeps originals."""
    beside = [Path(r["path"]) for r in journal.records if r["do"] == "backups"]
    return [place for place in (journal.folder / "files", *beside) if place.is_dir()]


def drop_backups(journal: Journal) -> None:
    """Remove a run's backups; what happened stays on record, undo is no longer possible."""
    journal.add("forgotten")
    for place in backups(journal):
        shutil.rmtree(place)
        if place != journal.folder / "files":
            try:
                place.parent.rmdir()
            except OSError:
                continue
    for path in journal.folder.iterdir():
        if path.name.startswith(("before-", "tree-")):
            path.unlink()
