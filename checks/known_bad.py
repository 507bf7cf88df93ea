"""Is this a combination of versions that is known to fail, although each passes alone?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from klein_doctor.card import card
from klein_doctor.model import Fact, Facts, Harm, Known, Outcome, Repair, Unknown, Verdict
from klein_doctor.outcomes import passed, unknown
from klein_doctor.recipe import Recipe, pair
from klein_doctor.recipe_stack import KnownBad
from klein_doctor.registry import check
from klein_doctor.routes import route_of

if TYPE_CHECKING:
    from packaging.requirements import Requirement


@check(
    "known-bad-combination",
    family="known-bad",
    title="No known bad combination of versions",
    harm=Harm.STOPS,
    follows=("torch-trio-mismatch", "torch-lacks-arch", "comfyui-requirements-stale"),
    reads="The versions of PyTorch, ComfyUI and the packages, the card's generation and the "
    "platform, against a table of reports.",
    why="Some versions fail only together, and only on some cards; nothing about either alone "
    "tells.",
    by_hand="Follow the cure named above; the report it rests on is named in the evidence.",
)
def known_bad_combination(facts: Facts, recipe: Recipe) -> list[Outcome] | Outcome:
    outcomes = []
    for row in recipe.stack.known_bad:
        holds = _holds(row, facts, recipe)
        if isinstance(holds, Unknown):
            outcomes.append(unknown(f"Whether this applies is not known: {row.title}", holds))
        elif holds.value:
            outcomes.append(
                Outcome(
                    Verdict.FAIL if row.verdict == "fail" else Verdict.WARN,
                    row.title,
                    f"Seen with {' and '.join(row.packages)}: {row.says}.",
                    evidence={"id": row.id, "source": row.source, "packages": row.packages},
                    fixes=(Repair("avoid-combination", "packages", "manual", row.cure),),
                )
            )
    return outcomes or passed("No known bad combination of versions")


def _holds(row: KnownBad, facts: Facts, recipe: Recipe) -> Fact[bool]:
    """Whether a row applies: unknown only where everything that is known speaks for it."""
    if row.route and row.route != route_of(facts, recipe):
        return Known(False)
    doubt: Unknown | None = None
    for told in (_platform(row, facts), _card(row, facts), *_packages(row, facts)):
        if isinstance(told, Unknown):
            doubt = doubt or told
        elif not told.value:
            return Known(False)
    return doubt or Known(True)


def _platform(row: KnownBad, facts: Facts) -> Fact[bool]:
    if not row.platforms:
        return Known(True)
    if isinstance(facts.system, Unknown):
        return facts.system
    name = "wsl" if facts.system.value.wsl else facts.system.value.os
    return Known(name in row.platforms)


def _card(row: KnownBad, facts: Facts) -> Fact[bool]:
    found = card(facts)
    if isinstance(found, Unknown):
        return found
    capability = found.value.capability
    return Known(pair(row.min_capability) <= capability < pair(row.below_capability))


def _packages(row: KnownBad, facts: Facts) -> list[Fact[bool]]:
    from packaging.requirements import Requirement

    return [_package(Requirement(text), facts) for text in row.packages]


def _package(wanted: Requirement, facts: Facts) -> Fact[bool]:
    version = _version(wanted.name, facts)
    if isinstance(version, Unknown):
        return version
    if version.value is None:
        return Known(False)
    try:
        return Known(wanted.specifier.contains(Version(version.value), prereleases=True))
    except InvalidVersion:
        return Unknown(f"{wanted.name}'s version {version.value[:40]!r} is not one")


def _version(name: str, facts: Facts) -> Fact[str | None]:
    fact = {"torch": facts.torch, "torchvision": facts.torchvision}.get(name)
    if fact is not None:
        if isinstance(fact, Unknown):
            return fact
        return _optional(fact.value.version) if fact.value.present else Known(None)
    if name == "comfyui":
        if isinstance(facts.comfyui, Unknown):
            return facts.comfyui
        found = facts.comfyui.value
        return _optional(found.version) if found is not None else Known(None)
    if isinstance(facts.packages, Unknown):
        return facts.packages
    return Known(facts.packages.value.version(name))


def _optional(version: Fact[str]) -> Fact[str | None]:
    return version if isinstance(version, Unknown) else Known(version.value)
