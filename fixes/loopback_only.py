"""A ComfyUI that is opened to others is started for this machine alone."""

from __future__ import annotations

from klein_doctor.editing.launch import LOOPBACK, loopback
from klein_doctor.fixes.shared_launch import edited, launchers, per_file, still
from klein_doctor.fixing import Fix
from klein_doctor.installation import Launcher
from klein_doctor.model import Facts
from klein_doctor.steps import Case, Step
from klein_doctor.transaction.transaction import Transaction

ID = "loopback-only"
_WIDE = ("any", "public", "private")


def plan(case: Case) -> list[Step]:
    """One step per file in which ComfyUI is opened to others."""
    steps: list[Step] = []
    for finding, _ in case.asked:
        at = [each for each in launchers(case.facts) if _open(each)]
        steps += per_file(case, ID, at, finding, f"write --listen {LOOPBACK}", "--listen")
    return steps


def _open(launcher: Launcher) -> bool:
    return launcher.listen in _WIDE


def act(step: Step, transaction: Transaction) -> str:
    """Let the server answer this machine alone."""
    told = step.arguments
    return edited(step, transaction, lambda data: loopback(data, told["kind"], told["root"]))


def proof(step: Step, facts: Facts) -> str:
    """Whether the file opens it still."""
    return still(step, facts, _open)


FIXES = (Fix(ID, "Let ComfyUI answer this machine alone", plan, act, proof=proof),)
