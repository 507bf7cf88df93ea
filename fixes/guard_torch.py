"""PyTorch kept as it is: pip is given a constraint, ComfyUI-Manager a name it never installs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from klein_doctor.environment import guard_commands, isolated, kept, not_to_guard
from klein_doctor.fixing import Fix
from klein_doctor.guard import conf_name, list_for_manager, pin, recorded
from klein_doctor.installation import BLACKLIST, CONSTRAINTS
from klein_doctor.model import known
from klein_doctor.pip_conf import in_force, named
from klein_doctor.steps import Case, Step, StepFailed, by_hand
from klein_doctor.transaction.transaction import Transaction

ID = "guard-torch"
_UNDO = "takes the constraint and the names out again"


def plan(case: Case) -> list[Step]:
    """One step; by hand where no file of the environment would be obeyed or is ours to write."""
    facts, clears = case.facts, case.ids
    python, pins, guard = known(facts.interpreter), kept(facts), known(facts.guard)
    # Asked for by nobody's finding, it may follow a step that installs what it keeps.
    if python is None or (case.asked and not pins):
        return []
    pins = pins or ("torch",)
    reason = not_to_guard(facts)
    if reason:
        title = f"keep {' and '.join(pins)}; {reason}"
        return [by_hand(ID, "config", title, clears, guard_commands(facts))]
    conf = conf_name(facts)
    folder = guard.manager if guard is not None else None
    paths = [python.prefix.below(CONSTRAINTS), python.prefix.below(conf)]
    names = ", ".join(each.partition("==")[0] for each in pins)
    so = "they are" if pins[1:] else "it is"
    title = f"keep {names} in {python.prefix.local} as {so}: pip obeys it silently"
    if folder is not None:
        title += ", and so does ComfyUI-Manager"
        paths.append(folder.below(BLACKLIST))
    arguments = {
        "python": python.path.real, "isolated": isolated(python), "prefix": python.prefix.real,
        "conf": conf, "site_packages": [each.real for each in python.site_packages],
        "manager": folder.real if folder is not None else "",
    }  # fmt: skip
    step = Step(ID, title, "config", "ask", arguments, tuple(paths), undo=_UNDO, clears=clears)
    return [step]


def act(step: Step, transaction: Transaction) -> str:
    """Pin what is installed now, as pip records it."""
    told = step.arguments
    prefix, conf = Path(told["prefix"]), told["conf"]
    pins = recorded(told["site_packages"])
    if not any(each.startswith("torch==") for each in pins):
        raise StepFailed(f"torch is not installed in {prefix}; run this again when it is")
    ours = named(prefix / CONSTRAINTS)
    # A file of the environment puts what is told elsewhere out of force: it is named there, too.
    others = [each for each in _told(step, transaction) if each != ours]
    changed = pin(prefix, pins, conf, transaction, others)
    if ours not in _told(step, transaction):
        raise StepFailed(
            f"pip takes its constraints from elsewhere than {prefix / conf}, from PIP_CONSTRAINT "
            f"or PIP_CONFIG_FILE, and does not read it: add {ours} there"
        )
    folder = told["manager"]
    if folder and Path(folder).is_dir():
        changed = list_for_manager(Path(folder), transaction) or changed
    if not changed:
        return f"{', '.join(pins)}: kept in {prefix} already"
    return f"pip keeps {', '.join(pins)} in {prefix} from now on"


def _told(step: Step, transaction: Transaction) -> list[str]:
    """The constraints that pip itself says it keeps to."""
    told = step.arguments
    argv = [told["python"], *(["-s"] if told["isolated"] else []), "-m", "pip", "config", "list"]
    said = transaction.run([*argv, "--disable-pip-version-check"], limit_s=120)
    values: dict[str, str] = {}
    for section, text in re.findall(r"(?m)^(install|global|:env:)\.constraint=(.*)$", said):
        try:
            values[section] = str(ast.literal_eval(text))
        except (ValueError, SyntaxError):
            values[section] = text
    if values.get(":env:", "").strip():
        return values[":env:"].split()
    return in_force(values)


FIXES = (
    Fix(
        ID, "Keep PyTorch from being replaced", plan, act,
        after=(
            "install-torch", "install-requirements", "install-diffusers-stack",
            "resolve-packages", "update-hub-client", "remove-pynvml", "remove-extension",
        ),
        alone=True,
        unless=(
            "torch-broken", "torch-cpu-only", "torch-lacks-arch", "torch-too-old",
            "torch-trio-mismatch", "torch-replaced", "kernels-fail",
        ),
    ),
)  # fmt: skip
