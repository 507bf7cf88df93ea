"""``undo``, ``forget`` and ``uninstall``: the ways back."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from klein_doctor.exits import Exit, UsageError
from klein_doctor.outcomes import gb
from klein_doctor.output import Output
from klein_doctor.report.paths import shown
from klein_doctor.state import need_state_folder
from klein_doctor.transaction.journal import Journal, StepRecord
from klein_doctor.transaction.lock import NAME, Busy, held
from klein_doctor.transaction.runs import (
    backup_bytes,
    drop_backups,
    in_the_way,
    lock_in,
    runs,
    undo_steps,
)
from klein_doctor.values import printable

_GUARD = "guard-torch"
# Of what lies in the state folder, what the doctor made.
_OWN = (
    "runs", "history", "pictures", "records", "digests.json", "hub.json", "proven.json", NAME,
    f"{NAME}.pid",
)  # fmt: skip
Said = dict[str, Any]


def undo(options: argparse.Namespace, output: Output, note: Callable[[str], None]) -> Exit:
    """Take back a run, its last step first, and say of each what became of it.

    Raises:
        UsageError: there is no such run, or nothing of it can be taken back any more.
    """
    journal = _run(options.run, need_state_folder(options.state_dir, os.environ))
    steps = [step for step in reversed(journal.steps()) if step.state != "undone"]
    if not steps:
        raise UsageError(f"run {journal.run} is taken back already")
    return _ended(options, output, journal, *_taken_back(journal, steps, note))


def _taken_back(
    journal: Journal, steps: Sequence[StepRecord], note: Callable[[str], None]
) -> tuple[list[Said], Exit]:
    lock = lock_in(journal)
    busy = in_the_way(steps)
    if busy:
        note(busy)
        return [], Exit.TRY_AGAIN
    said: list[Said] = []
    try:
        with held(Path(lock)):
            for step, problems in undo_steps(journal, steps):
                state = "left" if problems else "taken back"
                said.append({"fix": step.fix, "title": step.title, "state": state,
                             "says": "; ".join(problems)})  # fmt: skip
    except Busy as error:
        note(str(error))
        return said, Exit.TRY_AGAIN
    except OSError as error:
        raise UsageError(f"{error.filename or lock}: {error.strerror or error}") from error
    failed = any(item["state"] == "left" for item in said)
    return said, Exit.ROLLBACK_FAILED if failed else Exit.OK


def forget(options: argparse.Namespace, output: Output, note: Callable[[str], None]) -> Exit:
    """Drop the originals that runs keep; what they changed stays as it is.

    Raises:
        UsageError: no such run, or one that was broken off.
    """
    state = need_state_folder(options.state_dir, os.environ)
    chosen = [_run(options.run, state)] if options.run else runs(state)
    said: list[Said] = []
    for journal in chosen:
        _not_broken_off(journal)
        if journal.state() == "forgotten":
            continue
        size = backup_bytes(journal)
        drop_backups(journal)
        said.append({"run": journal.run, "state": "forgotten", "bytes": size,
                     "says": f"{gb(size)} are free again"})  # fmt: skip
    if not said:
        note("there is nothing to forget")
    _write(output, options, {"schema": "klein-doctor/forget/1", "runs": said, "exit_code": 0}, said)
    return Exit.OK


def _at_work(journal: Journal) -> str:
    """Who works on this run at this moment, "" for nobody."""
    lock = lock_in(journal)
    if journal.state() == "open" and lock and Path(lock).exists():
        try:
            with held(Path(lock)):
                pass
        except Busy as error:
            return str(error)
    return ""


def _not_broken_off(journal: Journal) -> None:
    if journal.state() == "open":
        raise UsageError(
            f"run {journal.run} was broken off; 'klein-doctor undo {journal.run}' or --fix ends "
            "it first"
        )


def uninstall(options: argparse.Namespace, output: Output, note: Callable[[str], None]) -> Exit:
    """Take the guard out, drop originals, remove what is remembered; downloads stay.

    With it goes the way back from what fixes changed: that is said first, and asked on a terminal.

    Raises:
        UsageError: a run was broken off, and only the journal knows the way back.
    """
    state = need_state_folder(options.state_dir, os.environ)
    for journal in runs(state):
        busy = _at_work(journal)
        if busy:
            note(busy)
            return Exit.TRY_AGAIN
        _not_broken_off(journal)
    lost = [journal.run for journal in runs(state) if _changed_more_than_the_guard(journal)]
    if lost and not _agreed(_lost_in_words(lost), options, note):
        note("nothing was removed")
        return Exit.INTERRUPTED
    said: list[Said] = []
    code = Exit.OK
    for journal in runs(state):
        guards = [s for s in journal.steps() if s.fix == _GUARD and s.state == "sealed"]
        if guards:
            done, ended = _taken_back(journal, guards, note)
            said += done
            code = code if ended is Exit.OK else ended
    kept = [str(path) for journal in runs(state) for path in _fetched(journal)]
    parts = list(dict.fromkeys(str(path) for each in runs(state) for path in _unfinished(each)))
    if code is Exit.OK:
        removed = _removed(state)
        if removed:
            says = _lost_in_words(lost) if lost else ""
            said.append({"state": "removed", "title": shown(state), "says": says})
        elif not said:
            note(f"there is nothing of the doctor's in {shown(state)}")
    for path in kept:
        said.append({"state": "stays", "title": shown(Path(path)), "says": "was downloaded"})
    for path in parts:
        says = "what came so far of a download: delete it, or download again to go on from it"
        said.append({"state": "stays", "title": shown(Path(path)), "says": says})
    gone = lost if code is Exit.OK else []
    body = {"schema": "klein-doctor/uninstall/1", "steps": said, "downloaded": kept,
            "unfinished": parts, "not_undoable": gone}  # fmt: skip
    _write(output, options, {**body, "exit_code": int(code)}, said)
    return code


def _changed_more_than_the_guard(journal: Journal) -> bool:
    """Whether undo could take something back that uninstall itself does not."""
    steps = [s for s in journal.steps() if s.state == "sealed" and s.records and s.fix != _GUARD]
    return bool(steps) and journal.state() == "done"


def _lost_in_words(names: Sequence[str]) -> str:
    what = "1 run of fixes" if len(names) == 1 else f"{len(names)} runs of fixes"
    return f"{what} cannot be undone any more ({', '.join(names)})"


def _agreed(lost: str, options: argparse.Namespace, note: Callable[[str], None]) -> bool:
    """Say what is lost; on a terminal, ask. Who runs it unattended has asked for it."""
    note(f"with what is remembered goes the way back: afterwards {lost}; what they changed stays")
    from klein_doctor.wizard.ask import Left, asker, terminal
    from klein_doctor.wizard.questions import Choice, Question

    if options.format != "text" or not terminal():
        return True
    choices = (Choice("no", "no; klein-doctor undo takes them back first"), Choice("yes", "yes"))
    try:
        return asker(options.color).one(Question("", "Remove it all the same?", choices, "no")) == (
            "yes"
        )
    except (Left, KeyboardInterrupt):
        return False


def _removed(state: Path) -> bool:
    """Remove what the doctor made there, and the folder once it is empty; whether it was there."""
    for journal in runs(state):
        drop_backups(journal)
    there = [path for name in _OWN if os.path.lexists(path := state / name)]
    for path in there:
        _remove(path)
    try:
        state.rmdir()
    except OSError:  # it is not there, or something else is in it
        return bool(there)
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _fetched(journal: Journal) -> list[Path]:
    sealed = [step for step in journal.steps() if step.state == "sealed"]
    return [path for path in _announced(sealed) if os.path.lexists(path)]


def _unfinished(journal: Journal) -> list[Path]:
    """What came so far of files that a run was to fetch, with the note beside each."""
    from klein_doctor.download.part import note_of, part_of

    paths = [of(path) for path in _announced(journal.steps()) for of in (part_of, note_of)]
    return [path for path in paths if os.path.lexists(path)]


def _announced(steps: Sequence[StepRecord]) -> list[Path]:
    records = [record for step in steps for record in step.records]
    return [Path(record["path"]) for record in records if record["do"] == "fetched"]


def _run(name: str, state: Path) -> Journal:
    """The run of that id, or the last one that can be taken back.

    Raises:
        UsageError: there is none.
    """
    found = runs(state)
    if name:
        chosen = next((journal for journal in found if journal.run == name), None)
        if chosen is None:
            there = ", ".join(journal.run for journal in found[:5]) or "none"
            raise UsageError(f"there is no run {printable(name, 60)}; on record: {there}")
    else:
        chosen = next((j for j in found if j.state() in ("done", "open")), None)
        if chosen is None:
            raise UsageError(f"no run of fixes is left to take back in {shown(state)}")
    if chosen.state() == "forgotten":
        raise UsageError(f"run {chosen.run} was forgotten: its originals are gone")
    return chosen


def _ended(
    options: argparse.Namespace, output: Output, journal: Journal, said: list[Said], code: Exit
) -> Exit:
    body = {"schema": "klein-doctor/undo/1", "run": journal.run, "steps": said}
    _write(output, options, {**body, "exit_code": int(code)}, said)
    return code


def _write(
    output: Output, options: argparse.Namespace, body: dict[str, Any], said: list[Said]
) -> None:
    def render(stream: TextIO) -> None:
        if options.format == "json":
            stream.write(json.dumps(body, indent=1) + "\n")
            return
        for item in said:
            words = f"{item['state']}: {item.get('title') or item.get('run')}"
            more = f"  {item['says']}" if item["says"] else ""
            stream.write(printable(f"{words}{':' if more else ''}{more}") + "\n")

    output.send(render)
