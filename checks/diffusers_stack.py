"""Has the target what the diffusers route needs: a pipeline, an encoder, and means to offload?"""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

from klein_doctor import markers
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
from klein_doctor.outcomes import passed, pip_install, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.recipe_stack import StackFloor
from klein_doctor.registry import check
from klein_doctor.routes import route_of


def _floor(recipe: Recipe, name: str) -> StackFloor:
    return next(row for row in recipe.stack.floors if row.name == name)


def _prefix(facts: Facts) -> Private | None:
    return facts.interpreter.value.prefix if isinstance(facts.interpreter, Known) else None


def install_stack(facts: Facts, recipe: Recipe, summary: str) -> tuple[Repair, ...]:
    """The repair that brings the route's packages, naming the installed torch so that it stays."""
    wanted = tuple(f"{row.name}>={row.version}" for row in recipe.stack.floors[:2])
    torch = known(facts.torch)
    kept: tuple[str, ...] = ()
    if torch is not None and torch.present and isinstance(torch.version, Known):
        kept = (f"torch=={torch.version.value}",)
    if isinstance(facts.interpreter, Unknown):
        words = f"{summary} with the Python that runs the model"
        return (Repair("install-diffusers-stack", "packages", "manual", words),)
    command = (*pip_install(facts.interpreter.value), *wanted, "accelerate", *kept)
    return (Repair("install-diffusers-stack", "packages", "ask", summary, (command,)),)


@check(
    "diffusers-missing",
    family="diffusers",
    title="diffusers is installed",
    harm=Harm.STOPS,
    requires=("python-broken",),
    reads="The installed packages of the target, from their records.",
    why="Flux2KleinPipeline is part of the package diffusers.",
    by_hand="With the target's own Python: -m pip install diffusers transformers accelerate.",
)
def diffusers_missing(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    if route_of(facts, recipe) != "diffusers":
        return ()
    if isinstance(facts.packages, Unknown):
        return unknown("Whether diffusers is installed is not known", facts.packages)
    version = facts.packages.value.version("diffusers")
    if version is not None:
        return passed(f"diffusers {version}", version=version)
    return Outcome(
        Verdict.FAIL,
        "diffusers is not installed in this Python",
        "The diffusers route runs the model with its Flux2KleinPipeline.",
        subject=_prefix(facts),
        fixes=install_stack(facts, recipe, "install diffusers with transformers and accelerate"),
    )


@check(
    "diffusers-too-old",
    family="diffusers",
    title="diffusers has Flux2KleinPipeline",
    harm=Harm.STOPS,
    requires=("diffusers-missing",),
    reads="The installed version of diffusers.",
    why="Older versions end with \"cannot import name 'Flux2KleinPipeline' from 'diffusers'\" or "
    "an AttributeError.",
    by_hand="With the target's own Python: -m pip install --upgrade diffusers, naming the "
    "installed torch in the same command so that it stays.",
)
def diffusers_too_old(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    return _at_least(facts, recipe, "diffusers")


@check(
    "transformers-incompatible",
    family="diffusers",
    title="transformers fits diffusers and knows the encoder",
    harm=Harm.STOPS,
    requires=("diffusers-missing",),
    follows=("diffusers-too-old",),
    reads="The installed versions of transformers, huggingface_hub and tokenizers, and what "
    "diffusers and transformers themselves ask for.",
    why="The text encoder is a Qwen3, which older transformers lack; and diffusers and "
    "transformers each refuse to be imported beside a huggingface_hub outside their range.",
    by_hand="With the target's own Python: -m pip install --upgrade diffusers transformers, in one "
    "command, so that pip finds versions that fit.",
)
def transformers_incompatible(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    below = _at_least(facts, recipe, "transformers")
    if not isinstance(below, Outcome) or below.verdict is not Verdict.PASS:
        return below
    if isinstance(facts.packages, Unknown):
        return below
    packages = facts.packages.value
    for name in ("diffusers", "transformers"):
        item = next((each for each in packages.listed if each.name == name), None)
        if item is None:
            continue
        for text in item.requires:
            broken = unmet(text, facts, ("transformers", "huggingface-hub", "tokenizers"))
            if broken is not None:
                has = packages.version(broken)
                return Outcome(
                    Verdict.FAIL,
                    f"{name} {item.version} does not accept {broken} {has or '(absent)'}",
                    f"It asks for {text}; with another version its import ends with an error.",
                    subject=_prefix(facts),
                    evidence={"requirer": name, "requirement": text, "installed": has},
                    fixes=install_stack(facts, recipe, "install versions that fit together"),
                )
    return below


def _at_least(facts: Facts, recipe: Recipe, name: str) -> Outcome | tuple[()]:
    if route_of(facts, recipe) != "diffusers":
        return ()
    if isinstance(facts.packages, Unknown):
        return unknown(f"Whether {name} is recent enough is not known", facts.packages)
    version = facts.packages.value.version(name)
    floor = _floor(recipe, name)
    if version is None:
        return Outcome(
            Verdict.FAIL,
            f"{name} is not installed in this Python",
            f"The diffusers route needs {name} {floor.version} or newer.",
            subject=_prefix(facts),
            fixes=install_stack(facts, recipe, f"install {name} with its companions"),
        )
    try:
        mine = Version(Version(version).base_version)  # a checkout counts as what it will become
    except InvalidVersion:
        return unknown(
            f"Whether {name} is recent enough is not known", f"{version[:40]!r} is not a version"
        )
    if mine >= Version(floor.version):
        return passed(f"{name} {version} is recent enough", version=version)
    return Outcome(
        Verdict.FAIL,
        f"{name} {version} {floor.says}",
        f"It came with {floor.version}. What is seen: {floor.error}.",
        subject=_prefix(facts),
        evidence={"version": version, "needed": floor.version},
        fixes=install_stack(facts, recipe, f"install {name} {floor.version} or newer"),
    )


@check(
    "accelerate-missing",
    family="diffusers",
    title="accelerate is installed",
    harm=Harm.STOPS,
    requires=("diffusers-missing",),
    reads="The installed packages of the target.",
    why="Every way of running the model that moves parts between RAM and card asks for accelerate; "
    "without it only a card that holds everything will do.",
    by_hand="With the target's own Python: -m pip install accelerate.",
)
def accelerate_missing(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    return _at_least(facts, recipe, "accelerate")


def unmet(text: str, facts: Facts, names: tuple[str, ...]) -> str | None:
    """The name a requirement is on, if it is one of names, applies here and is not met."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        wanted = Requirement(text)
    except InvalidRequirement:
        return None
    name = wanted.name.lower().replace("_", "-").replace(".", "-")
    packages = known(facts.packages)
    if name not in names or packages is None:
        return None
    if not markers.holds(wanted.marker, markers.target(facts)):
        return None  # not where that cannot be told either
    has = packages.version(name)
    if has is None:
        return None  # absent ones are the business of their own checks
    try:
        met = wanted.specifier.contains(Version(has), prereleases=True)
    except InvalidVersion:
        return None
    return None if met else name
