"""Is ComfyUI new enough, whole, and looking for models where they are?"""

from __future__ import annotations

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from klein_doctor.installation import ComfyUI, NodePin, PathsFile, Wanted
from klein_doctor.model import (
    Facts,
    Harm,
    Known,
    Outcome,
    Private,
    Repair,
    Unknown,
    Verdict,
    known,
)
from klein_doctor.outcomes import passed, release, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check
from klein_doctor.routes import route_of

_TORCH = ("torch", "torchvision", "torchaudio")


def here(facts: Facts, recipe: Recipe) -> ComfyUI | None:
    """The ComfyUI to judge; None on the other route and where none was found."""
    return known(facts.comfyui) if route_of(facts, recipe) == "comfyui" else None


@check(
    "comfyui-too-old",
    family="comfyui",
    title="ComfyUI is new enough for FLUX.2 [klein]",
    harm=Harm.STOPS,
    requires=("comfyui-missing",),
    reads="Names in comfy/text_encoders/flux.py that came with support for Klein, then "
    "comfyui_version.py; of a running server also the version it tells itself.",
    why="An older ComfyUI has every node of the workflow and passes its validation, then fails at "
    "the sampler: 'mat1 and mat2 shapes cannot be multiplied (512x2560 and 7680x3072)'.",
    by_hand="Update ComfyUI by the means it was installed with, then install its requirements with "
    "the same Python, and start it anew.",
)
def comfyui_too_old(facts: Facts, recipe: Recipe) -> list[Outcome] | Outcome | tuple[()]:
    comfyui = here(facts, recipe)
    if comfyui is None:
        return ()
    floor = recipe.comfyui.floor
    if isinstance(comfyui.klein, Unknown):
        return unknown("Whether ComfyUI is new enough is not known", comfyui.klein)
    version = known(comfyui.version, "")
    mine = release(version) if version else None
    if not comfyui.klein.value:
        return _fails(comfyui, version, mine, recipe)
    outcomes = [passed(f"ComfyUI {version} knows FLUX.2 [klein]", version=version)]
    if mine is not None and mine < Version(floor.warns):
        outcomes = [
            Outcome(
                Verdict.WARN,
                f"ComfyUI {version} is of the first that know Klein",
                f"It estimates the model's memory wrongly; {floor.warns} and newer do not.",
                subject=comfyui.root,
                evidence={"version": version, "needed": floor.warns},
                fixes=update(comfyui),
            )
        ]
    return outcomes + _stale_server(facts, comfyui, version)


def _fails(comfyui: ComfyUI, version: str, mine: Version | None, recipe: Recipe) -> Outcome:
    floor = recipe.comfyui.floor
    shown = "ValueError: Got [32, 32, 32, 32] but expected positional dim 64"
    if mine is None or mine >= Version(floor.validates):
        shown = "mat1 and mat2 shapes cannot be multiplied (512x2560 and 7680x3072)"
    return Outcome(
        Verdict.FAIL,
        f"This ComfyUI{f' ({version})' if version else ''} does not know FLUX.2 [klein]",
        f"Support came with {floor.fails}. The workflow loads all the same and fails in the "
        f"middle: '{shown}'.",
        subject=comfyui.root,
        evidence={"version": version, "needed": floor.fails},
        fixes=update(comfyui),
    )


def _stale_server(facts: Facts, comfyui: ComfyUI, version: str) -> list[Outcome]:
    """A running process that is older than its files: the update took, the restart did not."""
    search, mine = known(facts.search), release(version) if version else None
    chosen = search.found[search.chosen] if search and search.chosen is not None else None
    for server in known(facts.servers, ()):
        if chosen is None or server.port != chosen.port or not server.version or mine is None:
            continue
        running = release(server.version)
        if running is not None and running < mine:
            return [
                Outcome(
                    Verdict.WARN,
                    f"The running ComfyUI is still {server.version}, its files are {version}",
                    "It was updated, but not started anew.",
                    subject=comfyui.root,
                    evidence={"running": server.version, "files": version, "port": server.port},
                    fixes=(Repair("restart-comfyui", "system", "manual", "start ComfyUI anew"),),
                )
            ]
    return []


def update(comfyui: ComfyUI) -> tuple[Repair, ...]:
    """How an installation of this kind is updated."""
    by_kind = {
        "portable": r"run update\update_comfyui.bat beside it",
        "desktop": "let Comfy Desktop update itself, or install its newest version",
        "desktop-2": "update it in Comfy Desktop",
        "stability-matrix": "press Update on ComfyUI in StabilityMatrix",
        "pinokio": "press Update on ComfyUI in Pinokio",
        "comfy-cli": "run 'comfy update comfy'",
    }
    told = by_kind.get(comfyui.kind)
    if told is not None:
        return (Repair("update-comfyui", "update", "manual", told),)
    checkout = known(comfyui.checkout)
    if checkout is None:
        words = "download a current ComfyUI beside it and move models and output over"
        return (Repair("update-comfyui", "update", "manual", words),)
    if known(checkout.dirty, True):
        words = "its files were changed by hand: look at 'git status' there before updating"
        return (Repair("update-comfyui", "update", "manual", words),)
    commands: tuple[tuple[str | Private, ...], ...] = (("git", "-C", comfyui.root, "pull"),)
    if not checkout.branch:
        commands = (("git", "-C", comfyui.root, "checkout", "master"), *commands)
    words = "update the checkout, then install its requirements"
    return (Repair("update-comfyui", "update", "ask", words, commands),)


@check(
    "comfyui-requirements-stale",
    family="comfyui",
    title="ComfyUI's requirements are installed",
    harm=Harm.STOPS,
    requires=("comfyui-missing", "python-broken"),
    follows=("comfyui-too-old", "torch-missing"),
    reads="ComfyUI's requirements.txt against the installed packages of its Python. PyTorch's own "
    "lines are judged with PyTorch.",
    why="'git pull' moves the code, not the packages. ComfyUI pins some exactly and ends its start "
    "where they differ; others make nodes or the interface fail.",
    by_hand="With ComfyUI's own Python: -m pip install -r requirements.txt, naming the installed "
    "torch and torchvision in the same command so that they stay.",
)
def comfyui_requirements_stale(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    comfyui = here(facts, recipe)
    if comfyui is None:
        return ()
    if isinstance(comfyui.requirements, Unknown):
        return unknown("Whether its requirements are installed is not known", comfyui.requirements)
    stale = [item for item in comfyui.requirements.value if item.applies and _unmet(item)]
    if not stale:
        return passed("ComfyUI's requirements are installed")
    ends = [item for item in stale if item.name in recipe.comfyui.essential]
    first = sorted(stale, key=lambda item: item not in ends)
    told = "; ".join(f"{item.text} (here: {item.installed or 'none'})" for item in first[:4])
    more = f", and {len(stale) - 4} more" if len(stale) > 4 else ""
    return Outcome(
        Verdict.FAIL if ends else Verdict.WARN,
        f"{len(stale)} of ComfyUI's requirements {'is' if len(stale) == 1 else 'are'} not met",
        f"It asks for {told}{more}. "
        + (
            "Without these its start ends."
            if ends
            else "It starts, but parts of it may fail or look old."
        ),
        subject=comfyui.root,
        evidence={"stale": tuple(item.name for item in first[:40])},
        fixes=_install_requirements(facts, comfyui),
    )


def _unmet(item: Wanted) -> bool:
    if item.name in _TORCH and item.installed is not None:
        return False
    if item.installed is None:
        return True
    try:
        wanted = Requirement(item.text).specifier
    except InvalidRequirement:
        return False
    return release(item.installed) is not None and not wanted.contains(
        item.installed, prereleases=True
    )


def _install_requirements(facts: Facts, comfyui: ComfyUI) -> tuple[Repair, ...]:
    if isinstance(facts.interpreter, Unknown):
        words = "install requirements.txt with ComfyUI's own Python"
        return (Repair("install-requirements", "packages", "manual", words),)
    python = facts.interpreter.value
    separator = "\\" if "\\" in comfyui.root.real else "/"
    listed = Private(*(f"{form}{separator}requirements.txt" for form in _forms(comfyui.root)))
    kept = tuple(
        f"{package.name}=={package.version.value}"
        for package in (known(facts.torch), known(facts.torchvision), known(facts.torchaudio))
        if package is not None and package.present and isinstance(package.version, Known)
    )
    install: tuple[str | Private, ...] = (python.path, "-m", "pip", "install")
    if not python.has_pip and python.kind.startswith("uv"):
        install = ("uv", "pip", "install", "--python", python.path)
    words = "install them, keeping PyTorch as it is" if kept else "install them"
    command = (*install, *kept, "-r", listed)
    return (Repair("install-requirements", "packages", "ask", words, (command,)),)


def _forms(path: Private) -> tuple[str, str, str]:
    return path.real, path.local, path.public


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
    if isinstance(comfyui.custom_nodes, Unknown):
        return unknown("What custom nodes ask for is not known", comfyui.custom_nodes)
    pins = [pin for pin in comfyui.custom_nodes.value.pins if _moves(pin, facts)]
    if not pins:
        return passed("No custom node would replace PyTorch")
    nodes = tuple(dict.fromkeys(pin.node for pin in pins))
    told = "; ".join(f"{pin.node}: {pin.text}" for pin in pins[:3])
    more = f", and {len(nodes) - 3} more nodes" if len(nodes) > 3 else ""
    return Outcome(
        Verdict.WARN,
        f"{len(nodes)} custom node{'s' if len(nodes) > 1 else ''} would replace PyTorch",
        f"Installing their requirements again moves the PyTorch that is here: {told}{more}.",
        subject=comfyui.base,
        evidence={"nodes": nodes[:40]},
        fixes=(
            Repair(
                "skip-pin", "config", "manual", "leave these lines out when you install the nodes"
            ),
        ),
    )


def _moves(pin: NodePin, facts: Facts) -> bool:
    """Whether installing this line would change what is installed."""
    try:
        wanted = Requirement(pin.text)
    except InvalidRequirement:
        return True  # another index, or a wheel named directly
    packages = {"torch": facts.torch, "torchvision": facts.torchvision}
    if wanted.name.lower() in packages:
        fact = packages[wanted.name.lower()]
        version = known(fact.value.version, "") if isinstance(fact, Known) else ""
    elif wanted.name.lower() == "torchaudio" and isinstance(facts.torchaudio, Known):
        version = known(facts.torchaudio.value.version, "")
    else:
        listed = known(facts.packages)
        version = (listed.version(wanted.name.lower()) or "") if listed is not None else ""
    if not version or release(version) is None:
        return False  # not here: nothing is replaced by it alone
    return bool(wanted.url) or not wanted.specifier.contains(version, prereleases=True)


@check(
    "model-paths-broken",
    family="comfyui",
    title="ComfyUI's model paths lead somewhere",
    harm=Harm.STOPS,
    requires=("comfyui-missing",),
    reads="extra_model_paths.yaml, files given by --extra-model-paths-config, the base directory, "
    "and whether the folders they name exist.",
    why="An invalid file ends ComfyUI's start; a section that leads nowhere hides every model in "
    "it: 'Value not in list'.",
    by_hand="Open the file named above at the line named; indent with spaces, write Windows paths "
    "without quotes or with single ones, and check that base_path exists.",
)
def model_paths_broken(facts: Facts, recipe: Recipe) -> list[Outcome] | Outcome | tuple[()]:
    comfyui = here(facts, recipe)
    if comfyui is None:
        return ()
    outcomes = []
    for file in comfyui.path_files:
        outcome = _broken(file) if file.fault else _leads_nowhere(file)
        if outcome is not None:
            outcomes.append(outcome)
    if outcomes:
        return outcomes
    if isinstance(comfyui.folders, Unknown):
        return unknown("Where ComfyUI looks for models is not known", comfyui.folders)
    if not any(folder.exists for folder in comfyui.folders.value):
        return _no_folder(comfyui)
    return passed("ComfyUI's model folders exist")


def _broken(file: PathsFile) -> Outcome:
    where = f" in line {file.line}" if file.line else ""
    return Outcome(
        Verdict.FAIL,
        f"ComfyUI cannot read its model paths{where}",
        f"Of this file it is said: {file.fault}. ComfyUI ends its start over it.",
        subject=file.path,
        evidence={"line": file.line, "fault": file.fault},
        fixes=(
            Repair(
                "repair-model-paths", "config", "ask", "correct the file, or put it aside for now"
            ),
        ),
    )


def _leads_nowhere(file: PathsFile) -> Outcome | None:
    """A warning where nothing a file names exists; one absent folder of many is ordinary."""
    if not file.missing or len(file.missing) < file.folders:
        return None
    return Outcome(
        Verdict.WARN,
        "The extra model paths lead nowhere",
        f"None of the {file.folders} folders this file names exists; it was likely moved, or the "
        "disk is not mounted. Models in them are not seen.",
        subject=file.path,
        evidence={"missing": tuple(path for _, path in file.missing[:10])},
        fixes=(Repair("repair-model-paths", "config", "ask", "correct base_path, or take it out"),),
    )


def _no_folder(comfyui: ComfyUI) -> Outcome:
    return Outcome(
        Verdict.FAIL,
        "None of ComfyUI's model folders exists",
        "Its base directory holds no models folder; it was likely moved or named wrongly.",
        subject=comfyui.base,
        fixes=(Repair("repair-model-paths", "config", "ask", "name the right --base-directory"),),
    )
