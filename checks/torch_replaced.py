"""Is this PyTorch still the one that worked here?"""

from __future__ import annotations

from packaging.version import Version

from klein_doctor.card import card
from klein_doctor.changes import Asked, culprits
from klein_doctor.checks.torch_build import place, read_archs, repairs
from klein_doctor.installation import Past
from klein_doctor.model import Facts, Harm, Known, Outcome, Package, Unknown, Verdict, known
from klein_doctor.outcomes import passed, release
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check
from klein_doctor.wheels import runs


@check(
    "torch-replaced",
    family="torch",
    title="PyTorch is the one that worked here",
    harm=Harm.STOPS,
    requires=("torch-missing",),
    reads="torch's version and the packages that matter, against what the doctor remembers of the "
    "last run in which all was well (its state folder).",
    why="Installing something else, mostly a custom node, can replace PyTorch without a word: pip "
    "takes whatever fulfils the new package's requirements.",
    by_hand="'klein-doctor history' lists what else changed. Install the former build again, then "
    "keep it with 'klein-doctor --fix --only guard-torch'.",
)
def torch_replaced(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    past, torch = known(facts.past), known(facts.torch)
    version = known(torch.version) if torch is not None and torch.present else None
    if past is None or not past.torch or version is None or version == past.torch:
        return ()
    serves = _serves(facts, torch)
    if serves and not _older(version, past.torch):
        return passed(f"PyTorch changed from {past.torch} to {version}, and serves this card")
    because = _because(facts, past, version)
    detail = "" if serves else "The one there now does not serve this card. "
    detail += because or "Which package brought it is not on record; 'klein-doctor history' tells "
    detail += "" if because else "what else changed."
    return Outcome(
        Verdict.WARN if serves else Verdict.FAIL,
        f"PyTorch was replaced: {past.torch} worked on {past.created[:10]}, {version} is here now",
        detail,
        subject=place(facts),
        evidence={"before": past.torch, "now": version, "healthy": past.created},
        fixes=repairs(facts, recipe),
    )


def _serves(facts: Facts, torch: Package) -> bool:
    """Whether it has code for this card; True where that cannot be told: other checks say so."""
    if known(torch.cuda, "") is None:
        return False
    found, archs = card(facts), read_archs(facts)
    if isinstance(found, Unknown) or not isinstance(archs, Known):
        return True
    return bool(runs(archs.value, found.value.capability))


def _older(version: str, before: str) -> bool:
    mine, former = release(version), release(before)
    return mine is not None and former is not None and mine < Version(former.base_version)


def _because(facts: Facts, past: Past, version: str) -> str:
    """The package that brought it, by its requirement and its own change since then."""
    packages, then = known(facts.packages), dict(past.packages)
    listed = packages.listed if packages is not None else ()
    moved = {p.name: p.version for p in listed if then.get(p.name) != p.version}
    asked = [Asked(p.name, text) for p in listed for text in p.requires]
    told = [
        f"{each.package} {moved[each.package]}, "
        f"{'changed' if each.package in then else 'new'} since then, asks for {each.text}."
        for each in culprits(version, moved, asked)
    ]
    return " ".join(told)
