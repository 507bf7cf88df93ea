"""Is there a ComfyUI at all?"""

from __future__ import annotations

from klein_doctor.model import Facts, Harm, Outcome, Private, Repair, Unknown, Verdict, known
from klein_doctor.outcomes import passed, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check
from klein_doctor.routes import route_of


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
    search = known(facts.search)
    detail = "The comfyui route needs one."
    if search is not None and search.found:
        detail = f"There are {len(search.found)}, but none is judged: {search.why}."
    elif search is not None and search.looked:
        detail = f"Looked at: {', '.join(search.looked)}."
    row = recipe.comfyui.install
    python: tuple[str | Private, ...] = ("ComfyUI/.venv/bin/python", "-m", "pip", "install")
    return Outcome(
        Verdict.FAIL,
        "No ComfyUI was found on this machine",
        detail,
        evidence={"looked": search.looked if search is not None else ()},
        fixes=(
            Repair(
                "name-comfyui",
                "config",
                "manual",
                "name it with --comfyui DIR if it is elsewhere, or give --route diffusers",
            ),
            Repair(
                "install-comfyui",
                "packages",
                "ask",
                f"install ComfyUI {row.tag} in an environment of its own",
                (
                    ("git", "clone", "--branch", row.tag, "--depth", "1", row.url),
                    ("python3", "-m", "venv", "ComfyUI/.venv"),
                    (*python, "torch", "torchvision", "torchaudio", "--index-url", _index(recipe)),
                    (*python, "-r", "ComfyUI/requirements.txt"),
                ),
            ),
        ),
    )


def _index(recipe: Recipe) -> str:
    """PyTorch's index of the build that ComfyUI runs fastest with."""
    variant = "cu" + recipe.fast_cuda.cuda.replace(".", "")
    return next(row.index_url for row in recipe.installs if row.variant == variant)
