"""Running a step of a fix as the doctor does, and taking it back."""

from __future__ import annotations

import os
from pathlib import Path

from klein_doctor.fixing import Fix
from klein_doctor.steps import Step
from klein_doctor.transaction.child import Child
from klein_doctor.transaction.inverse import take_back
from klein_doctor.transaction.journal import Journal
from klein_doctor.transaction.transaction import Transaction


def begun(step: Step, folder: Path, env: dict[str, str] | None = None) -> Transaction:
    """A transaction for a step, its journal and scratch below a folder of the test's."""
    journal = Journal(folder / "state" / "runs" / "run-1")
    number = len(journal.steps())
    journal.add("begin", step=number, fix=step.fix, title=step.title)
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    child = Child(journal.folder / "log.txt", dict(os.environ) if env is None else env)
    return Transaction(journal, number, scratch, child)


def acted(
    fix: Fix, step: Step, folder: Path, env: dict[str, str] | None = None, *, sealed: bool = True
) -> tuple[str, Journal]:
    """Do a step; answers with what the fix said, and the journal."""
    transaction = begun(step, folder, env)
    said = fix.act(step, transaction)
    if sealed:
        transaction.journal.add("seal", step=transaction.number)
    return said, transaction.journal


def undone(journal: Journal) -> list[str]:
    """Take back every step, the last one first; answers with what could not be taken back."""
    # Read anew, as another process would.
    again = Journal(journal.folder)
    return [
        said
        for step in reversed(again.steps())
        if step.state != "undone"
        for said in take_back(again, step)
    ]


def tree(folder: Path) -> dict[str, bytes | str]:
    """Every file below a folder with its content, every link with its target."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[name] = path.read_bytes()
    return found
