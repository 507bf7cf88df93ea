"""Do the target's packages contradict each other where it matters to the model?"""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

from klein_doctor.checks.diffusers_stack import unmet
from klein_doctor.environment import TRIO
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
from klein_doctor.outcomes import passed, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check
from klein_doctor.routes import route_of

# What torch and its partners ask of each other is torch-trio-mismatch's business.
_HOOK = "12"  # from here on the distribution only warns, and no longer hides the real module


@check(
    "package-conflicts",
    family="python",
    title="No installed packages contradict each other",
    harm=Harm.STOPS,
    requires=("python-broken",),
    follows=("torch-trio-mismatch", "comfyui-requirements-stale", "transformers-incompatible"),
    reads="What the packages that matter to the route ask for (their install records) against what "
    "is installed, and CUDA libraries in LD_LIBRARY_PATH.",
    why="pip installs such contradictions with no more than a line of warning; the import fails "
    "later, in another place.",
    by_hand="'python -m pip check' with the target's own Python lists all of them. Unset "
    "LD_LIBRARY_PATH for the process if it names CUDA libraries.",
)
def package_conflicts(facts: Facts, recipe: Recipe) -> list[Outcome] | Outcome:
    title = "Whether packages contradict each other is not known"
    if isinstance(facts.packages, Unknown):
        return unknown(title, facts.packages)
    if isinstance(facts.surroundings, Unknown):
        return unknown(title, facts.surroundings)
    route = route_of(facts, recipe)
    requirers = next(row.packages for row in recipe.stack.matters if row.route == route)
    pairs = _pairs(facts, recipe, requirers)
    outcomes = [_conflict(facts, pairs)] if pairs else []
    shadowing = facts.surroundings.value.shadowing
    if shadowing:
        outcomes.append(
            Outcome(
                Verdict.WARN,
                "CUDA libraries from LD_LIBRARY_PATH come before PyTorch's own",
                "PyTorch brings its own cuDNN and cuBLAS; with others it may end with 'PyTorch was "
                "compiled against ... but found runtime version ...'.",
                subject=shadowing[0],
                evidence={"folders": shadowing},
                fixes=(
                    Repair(
                        "unset-library-path",
                        "config",
                        "manual",
                        "start the program with LD_LIBRARY_PATH unset",
                    ),
                ),
            )
        )
    return outcomes or passed("No installed packages contradict each other")


def _pairs(
    facts: Facts, recipe: Recipe, requirers: tuple[str, ...]
) -> list[tuple[str, str, str, str]]:
    """(requirer, its version, requirement, installed version) of each contradiction."""
    packages = known(facts.packages)
    found = []
    for item in packages.listed:
        if item.name not in requirers or item.name in TRIO:
            continue
        for text in item.requires:
            broken = unmet(text, facts, recipe.stack.watched)
            if broken is None or (broken in TRIO and item.name in TRIO):
                continue
            found.append((item.name, item.version, text, packages.version(broken) or ""))
    return found


def _conflict(facts: Facts, pairs: list[tuple[str, str, str, str]]) -> Outcome:
    told = "; ".join(f"{name} {version} asks for {text}, here is {has}"
                     for name, version, text, has in pairs[:4])  # fmt: skip
    more = f"; and {len(pairs) - 4} more" if len(pairs) > 4 else ""
    name, version, text, has = pairs[0]
    place = facts.interpreter.value.prefix if isinstance(facts.interpreter, Known) else None
    return Outcome(
        Verdict.WARN,
        f"{name} {version} does not fit what is installed beside it",
        f"{told}{more}.",
        subject=place,
        evidence={"requirer": name, "requirement": text, "installed": has, "count": len(pairs)},
        fixes=(
            Repair(
                "resolve-packages",
                "packages",
                "ask",
                f"update {name}, or uninstall it if nothing needs it",
            ),
        ),
    )


@check(
    "pynvml-shadowed",
    family="python",
    title="No leftover pynvml hides NVIDIA's own module",
    harm=Harm.NOTE,
    requires=("python-broken",),
    reads="The installed distributions pynvml and nvidia-ml-py of the target.",
    why="The discontinued distribution pynvml brings a module of the same name as NVIDIA's "
    "nvidia-ml-py. Which of them is imported is chance, and the old one misreads newer drivers.",
    by_hand="With the target's own Python: -m pip uninstall pynvml, then -m pip install "
    "--force-reinstall nvidia-ml-py.",
)
def pynvml_shadowed(facts: Facts, recipe: Recipe) -> Outcome:
    if isinstance(facts.packages, Unknown):
        return unknown("Whether pynvml hides NVIDIA's module is not known", facts.packages)
    version = facts.packages.value.version("pynvml")
    if version is None or _is_hook(version):
        return passed("No leftover pynvml hides NVIDIA's own module")
    python = known(facts.interpreter)
    commands: tuple[tuple[str | Private, ...], ...] = ()
    if python is not None:
        pip = (python.path, "-m", "pip")
        commands = (
            (*pip, "uninstall", "pynvml"),
            (*pip, "install", "--force-reinstall", "nvidia-ml-py"),
        )
    return Outcome(
        Verdict.WARN,
        f"The leftover package pynvml {version} may hide NVIDIA's own module",
        "Tools that ask the card for its memory import whichever of the two comes first.",
        subject=python.prefix if python is not None else None,
        evidence={"version": version},
        fixes=(
            Repair("remove-pynvml", "packages", "ask", "remove it, keep nvidia-ml-py", commands),
        ),
    )


def _is_hook(version: str) -> bool:
    try:
        return Version(version) >= Version(_HOOK)
    except InvalidVersion:
        return False
