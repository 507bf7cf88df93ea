"""A model file under the name of another gets the name of what it is."""

from __future__ import annotations

from pathlib import Path

from klein_doctor.fixes.shared_assets import OLD_NAME, name_for, named, need
from klein_doctor.fixing import Fix
from klein_doctor.steps import Case, Step
from klein_doctor.transaction.content import unused
from klein_doctor.transaction.transaction import Transaction

ID = "rename-asset"


def plan(case: Case) -> list[Step]:
    """One step per file that has the name of another."""
    return [
        Step(
            ID, f"rename {file.path.local} to what it is: {name}", "move", "ask",
            {"path": file.path.real, "name": name}, paths=(file.path,), undo=OLD_NAME, clears=ids,
        )
        for file, ids in named(case)
        for name in [name_for(file, case.recipe)]
    ]  # fmt: skip


def act(step: Step, transaction: Transaction) -> str:
    """Give the file the name of what it is, or the next free one like it."""
    path = Path(step.arguments["path"])
    target = unused(path.with_name(step.arguments["name"]))
    need(path)
    transaction.move(path, target)
    return f"{path.name} is {target.name} now, in {path.parent}"


FIXES = (Fix(ID, "Give a file the name of what it is", plan, act),)
