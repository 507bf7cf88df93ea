"""Arguments that do harm are taken out of the files and settings that start ComfyUI."""

from __future__ import annotations

from klein_doctor.editing.launch import without
from klein_doctor.fixes.shared_launch import edited, launchers, per_file, still
from klein_doctor.fixing import Fix
from klein_doctor.installation import Launcher
from klein_doctor.model import Facts
from klein_doctor.recipe_flags import load_flags
from klein_doctor.steps import Case, Step, by_hand
from klein_doctor.transaction.transaction import Transaction

ID = "release-flags"


def plan(case: Case) -> list[Step]:
    """One step per file and argument."""
    steps: list[Step] = []
    for finding, repair in case.asked:
        flag = finding.evidence.get("flag") or finding.evidence.get("asks")
        if not isinstance(flag, str) or not flag.startswith("--"):
            steps.append(by_hand(ID, "config", repair.summary, (finding.id,)))
            continue
        at = [each for each in launchers(case.facts) if _has(each, flag)]
        steps += per_file(case, ID, at, finding, f"take {flag} out", flag)
    return steps


def _has(launcher: Launcher, flag: str) -> bool:
    return flag in (item.name for item in launcher.flags)


def act(step: Step, transaction: Transaction) -> str:
    """Take the argument and its values out of the file."""
    told = step.arguments
    row = load_flags().get(told["flag"])
    values = row.values if row is not None else "none"
    return edited(
        step,
        transaction,
        lambda data: without(data, told["kind"], told["flag"], values, told["root"]),
    )


def proof(step: Step, facts: Facts) -> str:
    """Whether the file holds it still."""
    return still(step, facts, lambda each: _has(each, step.arguments["flag"]))


FIXES = (
    Fix(ID, "Take arguments that do harm out of what starts ComfyUI", plan, act, proof=proof),
)  # fmt: skip
