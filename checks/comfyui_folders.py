"""What lies in ComfyUI's folders: custom nodes that pin torch, model paths that lead nowhere."""

from __future__ import annotations

import re

from klein_doctor import markers
from klein_doctor.assets import BY_ID, right, usable
from klein_doctor.checks.comfyui import fits, here
from klein_doctor.installation import ComfyUI, ModelFolder, NodePin, PathsFile
from klein_doctor.model import (
    Facts,
    Harm,
    Outcome,
    Package,
    Private,
    Repair,
    Unknown,
    Verdict,
    known,
)
from klein_doctor.modelfiles import ModelFile, Models
from klein_doctor.outcomes import passed, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check

_SHOWN = 4  # of a list, in a sentence

# --- custom nodes ----------------------------------------------------------------------------


@check(
    "custom-node-pins-torch",
    family="comfyui",
    title="No custom node would replace PyTorch",
    harm=Harm.NOTE,
    requires=("comfyui-missing",),
    reads="requirements.txt and pyproject.toml of every custom node, for lines that name torch, "
    "its partners, xformers or another wheel index.",
    why="Installing such a node replaces a PyTorch that works by one that may lack the card's "
    "code; it is the commonest way a working setup breaks.",
    by_hand="Install the node's other requirements by hand and leave the named line out.",
)
def custom_node_pins_torch(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    comfyui = here(facts, recipe)
    if comfyui is None:
        return ()
    title = "Whether custom nodes would replace PyTorch is not known"
    if isinstance(comfyui.custom_nodes, Unknown):
        return unknown(title, comfyui.custom_nodes)
    pins = comfyui.custom_nodes.value.pins
    if not pins:
        return passed("No custom node would replace PyTorch")
    if isinstance(facts.packages, Unknown):
        return unknown(title, facts.packages)
    for fact in (facts.torch, facts.torchvision, facts.torchaudio):
        if isinstance(fact, Unknown):
            return unknown(title, fact)
        if fact.value.present and isinstance(fact.value.version, Unknown):
            return unknown(title, fact.value.version)
    if not _installed("torch", facts):
        return passed("There is no PyTorch yet that a custom node could replace")
    pins = tuple(pin for pin in pins if _moves(pin, facts))
    if not pins:
        return passed("The custom nodes' demands on PyTorch are met")
    nodes = tuple(dict.fromkeys(pin.node for pin in pins))
    told = "; ".join(f"{pin.node}: {pin.text}" for pin in pins[:_SHOWN])
    more = f"; and {len(pins) - _SHOWN} more lines" if len(pins) > _SHOWN else ""
    return Outcome(
        Verdict.WARN,
        f"{len(nodes)} custom node{'s' if len(nodes) > 1 else ''} would replace PyTorch",
        f"Here is torch {_installed('torch', facts)}. Installing their requirements again may move "
        f"it: {told}{more}.",
        subject=comfyui.base,
        evidence={"nodes": nodes[:40], "lines": tuple(pin.text for pin in pins[:10])},
        fixes=(
            Repair(
                "skip-pin", "config", "manual", "leave these lines out when you install the nodes"
            ),
        ),
    )


def _moves(pin: NodePin, facts: Facts) -> bool:
    """Whether installing this line could change the torch that is installed."""
    text = pin.text.partition(" --")[0]
    mine = _installed("torch", facts)
    if text.startswith("-"):
        named = re.search(r"/whl/(?:nightly/)?(cu\d+|cpu|rocm[\d.]+|xpu)\b", pin.text)
        return named is None or named.group(1) != mine.partition("+")[2]
    wheel = re.search(r"/torch(?:vision|audio)?-(\d[^-/\s]*)-", text)
    if wheel is not None:
        return wheel.group(1).replace("%2B", "+") != mine
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        wanted = Requirement(text)
    except InvalidRequirement:
        return False  # cut short, or no requirement at all
    version = _installed(wanted.name.lower(), facts)
    if not version or markers.holds(wanted.marker, markers.target(facts)) is False:
        return False  # what is not here is not replaced
    return bool(wanted.url) or not fits(str(wanted), version)


def _installed(name: str, facts: Facts) -> str:
    """The version of a package, its local tag included; "" where it is not installed."""
    own = {"torch": facts.torch, "torchvision": facts.torchvision, "torchaudio": facts.torchaudio}
    package: Package | None = known(own.get(name))
    if package is not None:
        return str(known(package.version, "")) if package.present else ""
    return known(facts.packages).version(name) or ""


# --- model folders ---------------------------------------------------------------------------


@check(
    "model-paths-broken",
    family="comfyui",
    title="ComfyUI's model paths lead somewhere",
    harm=Harm.STOPS,
    requires=("comfyui-missing",),
    reads="extra_model_paths.yaml, files given by --extra-model-paths-config, the base directory, "
    "and whether the folders they name exist. One absent folder of several is ordinary.",
    why="An invalid file ends ComfyUI's start; a section that leads nowhere hides every model in "
    "it: 'Value not in list'.",
    by_hand="Open the file named above at the line named; indent with spaces, write Windows paths "
    "without quotes or with single ones, and check that base_path exists.",
)
def model_paths_broken(facts: Facts, recipe: Recipe) -> list[Outcome] | Outcome | tuple[()]:
    comfyui = here(facts, recipe)
    if comfyui is None:
        return ()
    folders: tuple[ModelFolder, ...] | None = known(comfyui.folders)
    outcomes = []
    for file in comfyui.path_files:
        outcome = _broken(file) if file.fault else _leads_nowhere(file, folders)
        if outcome is not None:
            outcomes.append(outcome)
    outcomes += _hidden(known(facts.models))
    if folders is not None and not any(folder.exists for folder in folders):
        outcomes.append(_no_folder(comfyui))
    if not outcomes and isinstance(comfyui.folders, Unknown):
        return unknown("Where ComfyUI looks for models is not known", comfyui.folders)
    return outcomes or passed("ComfyUI's model folders exist")


def _broken(file: PathsFile) -> Outcome:
    where = f" (line {file.line})" if file.line else ""
    return Outcome(
        Verdict.FAIL,
        f"A file of model paths cannot be used{where}",
        f"Of this file it is said: {file.fault}. ComfyUI ends its start over it.",
        subject=file.path,
        evidence={"line": file.line, "fault": file.fault},
        fixes=(_mend(file),),
    )


def _mend(file: PathsFile) -> Repair:
    if file.cure:
        return Repair("repair-model-paths", "config", "ask", f"mend the file: {file.cure}")
    words = "correct the file by hand, or put it aside for now"
    return Repair("repair-model-paths", "config", "manual", words)


def _leads_nowhere(file: PathsFile, folders: tuple[ModelFolder, ...] | None) -> Outcome | None:
    """A warning where of a section's folders for these models not one exists."""
    if folders is None or not file.missing:
        return None
    sections: dict[str, list[Private]] = {}
    for place, path in file.missing:
        sections.setdefault(place.partition("/")[0], []).append(path)
    there = [_parts(folder.path) for folder in folders if folder.exists]
    gone = {
        section: paths
        for section, paths in sections.items()
        if not any(_lies_below(each, _common(paths)) for each in there)
    }
    if not gone:
        return None
    names = ", ".join(sorted(gone)[:_SHOWN])
    absent = [path for paths in gone.values() for path in paths]
    return Outcome(
        Verdict.WARN,
        "Extra model paths lead nowhere",
        f"Of the folders that section {names} names for this model's files none exists: moved or "
        "mistyped, or the disk is not mounted. Models kept there are not seen.",
        subject=file.path,
        evidence={"sections": tuple(sorted(gone)), "missing": tuple(absent[:10])},
        fixes=(
            Repair(
                "repair-model-paths",
                "config",
                "ask",
                "point it to where the folders are now, or comment it out",
            ),
        ),
    )


def _parts(path: Private) -> tuple[str, ...]:
    return tuple(re.split(r"[\\/]+", path.real))


def _lies_below(path: tuple[str, ...], folder: tuple[str, ...]) -> bool:
    return path[: len(folder)] == folder


def _common(paths: list[Private]) -> tuple[str, ...]:
    """The folder that holds all of these, as a section's base_path does."""
    found, *others = [_parts(path)[:-1] for path in paths]
    for other in others:
        while not _lies_below(other, found):
            found = found[:-1]
    return found


def _hidden(models: Models | None) -> list[Outcome]:
    """Right files that ComfyUI never reaches: another file of the same name comes first."""
    if models is None:
        return []
    found = []
    for file in models.files:
        if not file.shadowed or not usable(file) or file.category != BY_ID[file.role].category:
            continue
        winner = next(
            (
                other
                for other in models.files
                if other.category == file.category
                and other.name.real == file.name.real
                and not other.shadowed
            ),
            None,
        )
        if winner is not None and not (usable(winner) and winner.role == file.role):
            found.append(_shadow(file, winner, bool(right(models, file.role))))
    return found


def _shadow(file: ModelFile, winner: ModelFile, another: bool) -> Outcome:
    return Outcome(
        Verdict.WARN if another else Verdict.FAIL,
        "A right model file is hidden by a wrong one of the same name",
        f"ComfyUI takes the first file of a name on its search path, and that is {winner.says}. "
        f"The {BY_ID[file.role].says} in the folder after it is never reached.",
        subject=winner.path,
        evidence={"hidden": file.path},
        fixes=(Repair("repair-model-paths", "move", "ask", "rename the first one to what it is"),),
    )


def _no_folder(comfyui: ComfyUI) -> Outcome:
    return Outcome(
        Verdict.FAIL,
        "None of ComfyUI's model folders exists",
        "Its base directory holds no models folder; it was likely moved or is named wrongly.",
        subject=comfyui.base,
        fixes=(
            Repair("repair-model-paths", "config", "manual", "name the right --base-directory"),
        ),
    )
