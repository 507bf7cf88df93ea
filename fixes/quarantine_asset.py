"""A damaged model file is moved out of sight, beside where it was."""

from __future__ import annotations

from pathlib import Path

from klein_doctor.fixes.shared_assets import OLD_NAME, named, need
from klein_doctor.fixing import Fix
from klein_doctor.steps import Case, Step
from klein_doctor.transaction.content import unused
from klein_doctor.transaction.transaction import Transaction

ID = "quarantine-asset"
# Not a name ComfyUI lists: it goes by the extension.
_ASIDE = ".damaged"


def plan(case: Case) -> list[Step]:
    """One step per damaged file."""
    return [
        Step(
            ID, f"move {file.path.local} aside, as {file.name.local}{_ASIDE}", "move",
            "ask", {"path": file.path.real}, paths=(file.path,), undo=OLD_NAME, clears=ids,
        )
        for file, ids in named(case)
    ]  # fmt: skip


def act(step: Step, transaction: Transaction) -> str:
    """Rename it to what nothing loads, beside where it was."""
    path = Path(step.arguments["path"])
    need(path)
    target = unused(path.with_name(path.name + _ASIDE), at_end=True)
    transaction.move(path, target)
    return f"{path} is {target.name} now, which nothing loads"


FIXES = (Fix(ID, "Move a damaged file aside", plan, act),)
