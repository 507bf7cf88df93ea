"""Do torchvision and torchaudio belong to the torch beside them?"""

from __future__ import annotations

from packaging.version import Version

from klein_doctor.card import card
from klein_doctor.model import Facts, Harm, Known, Outcome, Package, Repair, Unknown, Verdict
from klein_doctor.outcomes import install_torch, passed, release, unknown
from klein_doctor.recipe import PartnerFloor, Recipe
from klein_doctor.registry import check


@check(
    "torch-trio-mismatch",
    family="torch",
    title="torch, torchvision and torchaudio belong together",
    harm=Harm.STOPS,
    requires=("torch-missing",),
    follows=("torch-lacks-arch", "torch-cpu-only", "torch-broken", "torch-too-old"),
    reads="The version files of the three packages: numbers and local tags (+cu130, +cpu).",
    why="torchvision and torchaudio are compiled against one torch. With another they stop at "
    "import ('operator torchvision::nms does not exist') or fall back to the CPU.",
    by_hand="Install all of them in one command from one index, each pinned with the same tag.",
)
def torch_trio_mismatch(facts: Facts, recipe: Recipe) -> Outcome:
    if isinstance(facts.torch, Unknown):
        return unknown("Whether torch and its partners match is not known", facts.torch)
    torch = facts.torch.value
    if isinstance(torch.version, Unknown):
        return unknown("Whether torch and its partners match is not known", torch.version)
    faults, doubts, seen = [], [], []
    for fact in (facts.torchvision, facts.torchaudio):
        if isinstance(fact, Unknown):
            doubts.append(fact.reason)
            continue
        partner = fact.value
        if not partner.present:
            continue
        if isinstance(partner.version, Unknown):
            doubts.append(f"{partner.name}: {partner.version.reason}")
            continue
        seen.append(f"{partner.name} {partner.version.value}")
        fault = _mismatch(torch.version.value, torch, partner, partner.version.value, recipe)
        if isinstance(fault, Unknown):
            doubts.append(fault.reason)
        elif fault:
            faults.append(fault)
    if faults:
        return _failed(facts, recipe, faults)
    if doubts:
        return unknown("Whether torch and its partners match is not known", doubts[0])
    if not seen:
        return passed("torch stands alone")
    number = release(torch.version.value)
    if number is None or recipe.trio(str(number)) is None:
        return passed(f"torch {torch.version.value} is not in the tables of {recipe.as_of}; "
                      f"nothing speaks against {' and '.join(seen)}")  # fmt: skip
    verb = "belongs" if len(seen) == 1 else "belong"
    return passed(f"{' and '.join(seen)} {verb} to torch {torch.version.value}")


def _failed(facts: Facts, recipe: Recipe, faults: list[str]) -> Outcome:
    found = card(facts)
    fixes: tuple[Repair, ...] = (
        install_torch(facts, recipe, found.value, again=True)
        if isinstance(found, Known)
        else (
            Repair(
                "install-torch",
                "packages",
                "manual",
                "install torch and its partners together, in one command from one index",
            ),
        )
    )
    place = facts.interpreter.value.prefix if isinstance(facts.interpreter, Known) else None
    return Outcome(
        Verdict.FAIL,
        "torch and its partner packages do not belong together",
        "; ".join(faults) + ".",
        subject=place,
        evidence={"faults": tuple(faults)},
        fixes=fixes,
    )


def _mismatch(
    torch: str, package: Package, partner: Package, version: str, recipe: Recipe
) -> str | Unknown:
    """What is wrong between torch and one partner, "" if nothing is known to be."""
    number, other = release(torch), release(version)
    if number is None or other is None:
        return Unknown(f"{(torch if number is None else version)[:40]!r} is not a version")
    trio = recipe.trio(str(number))
    vision = partner.name == "torchvision"
    floors = recipe.vision_floors if vision else recipe.audio_floors
    if not _goes_with(number, other, floors):
        wanted = (trio.torchvision if vision else trio.torchaudio) if trio else ""
        if wanted and other != Version(wanted):
            return f"{partner.name} {version} was built for another torch: {torch} needs {wanted}"
        older = next(
            (
                row
                for row in recipe.trios
                if Version(row.torchvision if vision else row.torchaudio) == other
            ),
            None,
        )
        if trio is None and older is not None and older.torch != str(number):
            return f"{partner.name} {version} was built for torch {older.torch}, not {torch}"
    elif not vision:
        return ""  # From its last release on torchaudio is not tied to a CUDA any more.
    return _tag_mismatch(torch, package, partner, version)


def _goes_with(torch: Version, partner: Version, floors: tuple[PartnerFloor, ...]) -> bool:
    return any(partner >= Version(row.partner) and torch >= Version(row.torch) for row in floors)


def _tag_mismatch(torch: str, package: Package, partner: Package, version: str) -> str | Unknown:
    """Builds for different CUDAs; a partner that does not tell is given the benefit."""
    mine, others = package.cuda, partner.cuda
    if isinstance(others, Unknown):
        return others if version.partition("+")[2].startswith(("cu", "cpu")) else ""
    if isinstance(mine, Unknown):
        return mine
    if mine.value == others.value:
        return ""
    built = f"CUDA {others.value}" if others.value else "the CPU"
    base = f"CUDA {mine.value}" if mine.value else "the CPU"
    return f"{partner.name} {version} was built for {built}, torch {torch} for {base}"
