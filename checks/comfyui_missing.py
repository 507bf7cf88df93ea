"""Is there a ComfyUI at all?"""

from __future__ import annotations

from klein_doctor.card import card
from klein_doctor.model import (
    Facts,
    Harm,
    Known,
    Outcome,
    Private,
    Repair,
    Search,
    Unknown,
    Verdict,
    known,
)
from klein_doctor.outcomes import branch, driver_of, passed, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check
from klein_doctor.routes import route_of
from klein_doctor.wheels import choose


@check(
    "comfyui-missing",
    family="comfyui",
    title="ComfyUI is installed",
    harm=Harm.STOPS,
    reads="Servers on this machine's own ports, the current folder and the home folder, and the "
    "settings of Comfy Desktop, comfy-cli, StabilityMatrix and Pinokio.",
    why="On the comfyui route ComfyUI runs the model; everything else here is judged for the "
    "Python that belongs to it.",
    by_hand="Name it with --comfyui DIR if it lies elsewhere. To use the model from Python code "
    "instead, give --route diffusers.",
)
def comfyui_missing(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    if route_of(facts, recipe) != "comfyui":
        return ()
    if isinstance(facts.comfyui, Unknown):
        return unknown("Whether ComfyUI is installed is not known", facts.comfyui)
    found = facts.comfyui.value
    if found is not None:
        version = known(found.version, "of unknown version")
        return passed(f"ComfyUI {version} ({found.kind})", kind=found.kind)
    doubt = _doubt(facts)
    if doubt is not None:
        return unknown("Whether ComfyUI is wanted here is not known", doubt)
    search: Search | None = known(facts.search)
    there = len(search.found) if search is not None else 0
    title = "No ComfyUI was found on this machine"
    detail = "The comfyui route needs one."
    if search is not None and there:
        title = "None of the ComfyUI on this machine is the one to judge"
        one = "There is one, but it is" if there == 1 else f"There are {there}, but none is"
        detail = f"{one} judged: {search.why or 'none was chosen'}."
    elif search is not None and search.looked:
        detail = f"Looked at: {', '.join(search.looked)}."
    name = Repair(
        "name-comfyui",
        "config",
        "manual",
        "name it with --comfyui DIR if it is elsewhere, or give --route diffusers",
    )
    return Outcome(
        Verdict.FAIL,
        title,
        detail,
        evidence={"looked": search.looked if search is not None else (), "found": there},
        fixes=(name,) if there else (name, _install(facts, recipe)),
    )


def _doubt(facts: Facts) -> Unknown | None:
    """Why the route might be the other one: it was not asked for, and diffusers may be here."""
    if isinstance(facts.route, Unknown):
        return facts.route
    if facts.route.value == "auto" and isinstance(facts.packages, Unknown):
        return facts.packages
    return None


def _install(facts: Facts, recipe: Recipe) -> Repair:
    """The commands of an installation by hand, with the PyTorch that fits card and driver."""
    row = recipe.comfyui.install
    system = known(facts.system)
    windows = system is not None and system.os == "windows"
    start, listed = ("py", "ComfyUI\\requirements.txt") if windows else (
        "python3", "ComfyUI/requirements.txt")  # fmt: skip
    folder = "ComfyUI\\.venv" if windows else "ComfyUI/.venv"
    python = f"{folder}\\Scripts\\python.exe" if windows else f"{folder}/bin/python"
    pip: tuple[str | Private, ...] = (python, "-m", "pip", "install")
    return Repair(
        "install-comfyui",
        "packages",
        "ask",
        f"install ComfyUI {row.tag} in an environment of its own",
        (
            ("git", "clone", "--branch", row.tag, row.url),
            (start, "-m", "venv", folder),
            (*pip, *_torch(facts, recipe)),
            (*pip, "-r", listed),
        ),
    )


def _torch(facts: Facts, recipe: Recipe) -> tuple[str, ...]:
    """The build the wheel table names for this card; where none is known, the fastest one's."""
    found = card(facts)
    if isinstance(found, Known):
        driver = branch(driver_of(facts)) or recipe.fast_cuda.min_driver
        choice = choose(recipe, found.value.capability, driver, None, "", True)
        if choice is not None:
            return (*choice.packages, "--index-url", choice.index_url)
    variant = "cu" + recipe.fast_cuda.cuda.replace(".", "")
    index = next(row.index_url for row in recipe.installs if row.variant == variant)
    return ("torch", "torchvision", "torchaudio", "--index-url", index)
