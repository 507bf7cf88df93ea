"""Do the saved workflows load what is here, and sample it as it is meant to be?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from klein_doctor.assets import ROLES, right
from klein_doctor.checks.comfyui import here
from klein_doctor.model import Evidence, Facts, Harm, Known, Outcome, Repair, Unknown, Verdict
from klein_doctor.modelfiles import Workflow, WorkflowFile
from klein_doctor.outcomes import unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check
from klein_doctor.routes import route_of

if TYPE_CHECKING:
    from klein_doctor.recipe_workflow import SettingsRow

_SHOWN = 4  # of a list, in a sentence
_TRANSFORMERS = ("diffusion_models", "checkpoints")
_PARTS = {role.category: role.says for role in ROLES}
_PLACE = Repair(
    "place-workflow",
    "config",
    "ask",
    "write a distilled text-to-image workflow with the files found here",
)
Usable = dict[str, str]  # category: the name of a file here that Klein can use
Trouble = tuple[str, str]  # a title, and where and why


@check(
    "workflow-mismatch",
    family="workflow",
    title="Saved workflows fit the files and their settings",
    harm=Harm.WRONG_IMAGE,
    reads="The workflows saved below ComfyUI's user folder: the files their loaders name, the type "
    "of Load CLIP, steps and cfg, and what is muted or bypassed, subgraphs included.",
    why="A workflow that names another file does not start; distilled weights with the settings of "
    "the base, or the reverse, draw bad pictures without any error.",
    by_hand="Choose the named file in the loader, set type flux2 in Load CLIP, and use 4 steps "
    "with cfg 1 for distilled weights, 20 or more with cfg 5 for base weights.",
)
def workflow_mismatch(facts: Facts, recipe: Recipe) -> list[Outcome] | Outcome | tuple[()]:
    if route_of(facts, recipe) != "comfyui":
        return ()
    title = "Whether saved workflows fit the files is not known"
    if isinstance(facts.comfyui, Unknown):
        return unknown(title, facts.comfyui)
    if here(facts, recipe) is None:
        return ()
    if isinstance(facts.workflows, Unknown):
        return unknown(title, facts.workflows)
    usable = _usable(facts)
    return [judge_workflow(item, usable) for item in facts.workflows.value if uses_klein(item)]


def _usable(facts: Facts) -> Usable:
    if not isinstance(facts.models, Known):
        return {}
    found = {role.category: right(facts.models.value, role.id) for role in ROLES}
    return {category: files[0].name.public for category, files in found.items() if files}


def uses_klein(workflow: Workflow) -> bool:
    """Whether its active part loads Klein: FLUX.2 [dev] has other files and other settings."""
    return any(_is_klein(file) for file in workflow.files if file.active)


def judge_workflow(workflow: Workflow, usable: Usable) -> Outcome:
    """What one workflow would run into; all of its troubles, the first as the headline."""
    ways: tuple[Callable[[Workflow, Usable], Trouble | None], ...] = (
        _encoder_type, _bypassed, _missing, _settings,
    )  # fmt: skip
    troubles = [found for found in (way(workflow, usable) for way in ways) if found is not None]
    absent = [file for file in workflow.files if file.active and not file.found]
    evidence: dict[str, Evidence] = {
        "form": workflow.form,
        "variants": tuple(sorted(_variants(workflow, active=True))),
        "missing": tuple(file.name for file in absent[:10]),
        "encoder_types": workflow.encoder_types,
        "steps": workflow.steps,
        "cfg_tenths": workflow.cfg_tenths,
    }
    return Outcome(
        Verdict.WARN if troubles else Verdict.PASS,
        troubles[0][0] if troubles else "A saved workflow fits the files found and their settings",
        " ".join(text for _, text in troubles),
        subject=workflow.path,
        evidence={key: value for key, value in evidence.items() if value},
        fixes=(_PLACE,) if troubles else (),
    )


# --- what it loads ---------------------------------------------------------------------------


def _encoder_type(workflow: Workflow, usable: Usable) -> Trouble | None:
    wrong = [kind for kind in workflow.encoder_types if kind != "flux2"]
    if not wrong:
        return None
    return (
        f"A saved workflow loads the text encoder as {wrong[0]} instead of flux2",
        f"Load CLIP has type {wrong[0]}. The encoder then gives text 2560 wide where Klein 4B "
        "takes 7680, and the run ends at the sampler with 'mat1 and mat2 shapes cannot be "
        "multiplied (512x2560 and 7680x3072)'. Set type to flux2 in that node.",
    )


def _missing(workflow: Workflow, usable: Usable) -> Trouble | None:
    absent = [file for file in workflow.files if file.active and not file.found]
    if not absent:
        return None
    told = "; ".join(_absent(file, usable) for file in absent[:_SHOWN])
    more = f"; and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
    what = "a file that is" if len(absent) == 1 else f"{len(absent)} files that are"
    return (
        f"A saved workflow asks for {what} not here",
        f"Not found under these names: {told}{more}. ComfyUI refuses to start it with 'Value not "
        f"in list' until another file is chosen in that node.{_go_with(absent, usable)}",
    )


def _go_with(absent: list[WorkflowFile], usable: Usable) -> str:
    """What else to change where the transformer here is distilled and the one named is not."""
    name = usable.get("diffusion_models", "")
    if not name or "base" in name.lower():
        return ""
    if not any(_is_klein(file) and _variant(file) == "base" for file in absent):
        return ""
    row = _rows()["distilled"]
    return f" With distilled weights set {row.steps} steps and cfg {_tenths(row.cfg_tenths)}, too."


def _absent(file: WorkflowFile, usable: Usable) -> str:
    text = f"{file.name.public} in {file.node}"
    mine = usable.get(file.category)
    return f"{text} (here as {_PARTS[file.category]}: {mine})" if mine else text


def _is_klein(file: WorkflowFile) -> bool:
    """By what the file is where that is known, else by the name it has."""
    if file.category not in _TRANSFORMERS:
        return False
    return file.family.startswith("flux2-klein") or (not file.family and _named_klein(file))


def _named_klein(file: WorkflowFile) -> bool:
    name = file.name.real.lower()
    return "klein" in name and "flux3" not in name and "flux-3" not in name


def _variants(workflow: Workflow, *, active: bool) -> set[str]:
    """Of its Klein transformers; "" where neither content nor name tells."""
    return {_variant(f) for f in workflow.files if f.active is active and _is_klein(f)}


def _variant(file: WorkflowFile) -> str:
    if file.variant in ("base", "distilled"):
        return file.variant
    if not _named_klein(file):
        return ""
    return "base" if "base" in file.name.real.lower() else "distilled"


# --- how it samples --------------------------------------------------------------------------


def _bypassed(workflow: Workflow, usable: Usable) -> Trouble | None:
    if _variants(workflow, active=True) != {"base"}:
        return None
    if "distilled" not in _variants(workflow, active=False):
        return None
    rows = _rows()
    return (
        "A saved workflow would run the base model; its distilled part is bypassed",
        f"The official text-to-image template comes like this: the base part{_steps(workflow)} is "
        f"active, the distilled part ({rows['distilled'].steps} steps) is muted or bypassed. To "
        "change that, select the distilled subgraph's node and press Ctrl+B, and do the same with "
        "the base one; likewise with the nodes that save their pictures.",
    )


def _rows() -> dict[str, SettingsRow]:
    from klein_doctor.recipe_workflow import load_workflow

    return load_workflow()


def _steps(workflow: Workflow) -> str:
    return f" ({max(workflow.steps)} steps)" if workflow.steps else ""


def _settings(workflow: Workflow, usable: Usable) -> Trouble | None:
    variants = _variants(workflow, active=True)
    rows = _rows()
    row = rows.get(next(iter(variants))) if len(variants) == 1 else None
    if row is None:
        return None  # which settings go with which weights is not told
    other = "base" if row.variant == "distilled" else "distilled"
    off = rows[other]
    steps = [n for n in workflow.steps if abs(n - off.steps) < abs(n - row.steps)]
    cfgs = [n for n in workflow.cfg_tenths if abs(n - off.cfg_tenths) < abs(n - row.cfg_tenths)]
    if not steps and not cfgs:
        return None
    is_set = " and ".join(
        [*(f"{n} steps" for n in steps[:1]), *(f"cfg {_tenths(n)}" for n in cfgs[:1])]
    )
    return (
        f"A saved workflow runs {row.variant} weights with the settings of the {other} ones",
        f"It has {is_set}; {_harm(row, bool(cfgs))} ComfyUI says nothing of it. "
        f"Set {row.steps} steps and cfg {_tenths(row.cfg_tenths)}, or load the {other} weights.",
    )


def _harm(row: SettingsRow, by_cfg: bool) -> str:
    if row.variant == "base":
        return "base weights then draw blurred, washed-out pictures."
    if by_cfg:
        return "distilled weights then draw burnt, oversharp pictures, and take twice the time."
    return "distilled weights gain nothing by it and take that much longer."


def _tenths(value: int) -> str:
    return f"{value / 10:g}"
