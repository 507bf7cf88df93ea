"""PyTorch kept as it is: pip is given a constraint, ComfyUI-Manager a name it never installs."""

from __future__ import annotations

import re
from pathlib import Path

from klein_doctor.environment import isolated, kept, shared, tool
from klein_doctor.fixing import Fix
from klein_doctor.guard import (
    BLACKLIST,
    CONSTRAINTS,
    conf_name,
    list_for_manager,
    named,
    pin,
    recorded,
)
from klein_doctor.model import Facts, Private, known
from klein_doctor.outcomes import from_conda
from klein_doctor.steps import Case, Step, StepFailed, by_hand
from klein_doctor.transaction.transaction import Transaction

ID = "guard-torch"
_MANAGER = "comfyui-manager"
_UNDO = "takes the constraint and the names out again"


def plan(case: Case) -> list[Step]:
    """One step; by hand where no file of the environment would be obeyed or is ours to write."""
    facts, clears = case.facts, case.ids
    python, pins = known(facts.interpreter), kept(facts)
    # Asked for by nobody's finding, it may follow a step that installs what it keeps.
    if python is None or (case.asked and not pins):
        return []
    pins = pins or ("torch",)
    reason = shared(facts)
    if from_conda(known(facts.torch)):
        reason = "conda installed it: pin it there, in conda-meta/pinned"
    elif tool(python) == "uv":
        reason = f"uv reads no file of the environment: set UV_CONSTRAINT to one with {pins[0]}"
    if reason:
        title = f"keep {' and '.join(pins)}; {reason}"
        return [by_hand(ID, "config", title, clears)]
    conf, folders = conf_name(facts), _manager_folders(facts)
    paths = [python.prefix.below(CONSTRAINTS), python.prefix.below(conf)]
    names = ", ".join(each.partition("==")[0] for each in pins)
    title = f"keep {names} in {python.prefix.local} as they are: pip obeys it silently"
    if folders:
        title += ", and so does ComfyUI-Manager"
        paths += [folder.below(BLACKLIST) for folder in folders]
    arguments = {
        "python": python.path.real, "isolated": isolated(python), "prefix": python.prefix.real,
        "conf": conf, "site_packages": [each.real for each in python.site_packages],
        "manager": [folder.real for folder in folders],
    }  # fmt: skip
    step = Step(ID, title, "config", "ask", arguments, tuple(paths), undo=_UNDO, clears=clears)
    return [step]


def _manager_folders(facts: Facts) -> tuple[Private, ...]:
    """Where ComfyUI-Manager keeps its list, the newest place first; () where it is not there.

    Newer ones use ``user/__manager``, those before ``user/default/ComfyUI-Manager``, the oldest
    their own folder.
    """
    comfyui = known(facts.comfyui)
    nodes = known(comfyui.custom_nodes) if comfyui is not None else None
    if comfyui is None or nodes is None:
        return ()
    own = [name for name in nodes.names if name.real.lower() == _MANAGER]
    if not own:
        return ()
    user = comfyui.base.below("user")
    return (
        user.below("__manager"),
        user.below("default").below("ComfyUI-Manager"),
        comfyui.base.below("custom_nodes").below(own[0].real),
    )


def act(step: Step, transaction: Transaction) -> str:
    """Pin what is installed now, as pip records it."""
    told = step.arguments
    prefix, conf = Path(told["prefix"]), told["conf"]
    pins = recorded(told["site_packages"])
    if not any(each.startswith("torch==") for each in pins):
        raise StepFailed(f"torch is not installed in {prefix}; run this again when it is")
    _refuse_another(step, transaction)
    changed = pin(prefix, pins, conf, transaction)
    folders = [Path(each) for each in told["manager"]]
    folder = next((each for each in folders if each.is_dir()), None)
    if folder is not None:
        changed = list_for_manager(folder, transaction) or changed
    if not changed:
        return f"{', '.join(pins)}: kept in {prefix} already"
    return f"pip keeps {', '.join(pins)} in {prefix} from now on"


def _refuse_another(step: Step, transaction: Transaction) -> None:
    """A constraint from the user's own configuration would be silenced by one of this place."""
    told = step.arguments
    argv = [told["python"], *(["-s"] if told["isolated"] else []), "-m", "pip", "config", "list"]
    said = transaction.run([*argv, "--disable-pip-version-check"], limit_s=120)
    values = re.findall(r"(?m)^(?:install|global)\.constraint=(.*)$", said)
    conf, prefix = Path(told["prefix"]) / told["conf"], Path(told["prefix"])
    if not values or any(named(prefix / CONSTRAINTS) in value for value in values):
        return
    here = conf.is_file() and b"constraint" in conf.read_bytes().lower()
    if not here:
        raise StepFailed(
            f"pip is told of constraints elsewhere ({values[0]}), which a file in {prefix} "
            "would put out of force; add the versions there"
        )


FIXES = (
    Fix(
        ID, "Keep PyTorch from being replaced", plan, act,
        after=(
            "install-torch", "install-requirements", "install-diffusers-stack",
            "resolve-packages", "update-hub-client", "remove-pynvml", "remove-extension",
        ),
        alone=True,
    ),
)  # fmt: skip
