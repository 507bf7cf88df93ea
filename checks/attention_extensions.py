"""Do installed attention packages serve this card, and can they load?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from klein_doctor.card import card
from klein_doctor.checks.comfyui_start import used
from klein_doctor.compiled import Binary, Extension
from klein_doctor.generation import KernelTest
from klein_doctor.model import (
    Evidence,
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
from klein_doctor.outcomes import passed, unknown, uses_uv, without_card
from klein_doctor.recipe import Recipe, pair
from klein_doctor.registry import check
from klein_doctor.routes import route_of
from klein_doctor.wheels import runs

if TYPE_CHECKING:
    from klein_doctor.recipe_attention import AttentionRules, ExtensionRow, Limit

_NEEDLESS = "PyTorch's own attention serves this model; nothing here needs the package."
_SHOWN = 6
_RAISED = ("error", "timeout")
# What ComfyUI takes for "not installed" when it imports a package; all else ends its start.
_CAUGHT = ("ImportError", "ModuleNotFoundError")
_DIED = ("SIG", "signal ", "exit code ")


def rules_of_attention() -> AttentionRules:
    """The tables, loaded when there is something to look up: most machines have nothing."""
    from klein_doctor.recipe_attention import load_attention

    return load_attention()


def installed(facts: Facts) -> list[tuple[Extension, ExtensionRow]]:
    """The attention packages of the target, with their rows."""
    extensions = known(facts.extensions, ())
    if not extensions:
        return []
    rules = rules_of_attention()
    found = [(item, rules.extension(item.name)) for item in extensions]
    return [(item, row) for item, row in found if row is not None and row.attention]


def limit_of(item: Extension, capability: tuple[int, int]) -> Limit | None:
    """The row that says this version does not serve such a card, None where none does."""
    for row in rules_of_attention().limits:
        named = row.name == item.name and capability >= pair(row.from_capability)
        if named and is_of(item, row.versions):
            return row
    return None


def is_of(item: Extension, versions: str) -> bool:
    """Whether it is one of some versions (a specifier)."""
    try:
        version = Version(item.version.partition("+")[0])
    except InvalidVersion:
        return False
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(versions).contains(version, prereleases=True)


def is_hollow(item: Extension, row: ExtensionRow) -> bool:
    """Whether it has none of the compiled files that it cannot work without."""
    return not item.binaries and row.compiled != "" and is_of(item, row.compiled)


def archs_of(item: Extension) -> tuple[str, ...] | None:
    """All architectures its files hold code for; None where a file could not be read and no other
    tells."""
    read = [binary.archs.value for binary in item.binaries if isinstance(binary.archs, Known)]
    if len(read) < len(item.binaries) and not any(read):
        return None
    return tuple(dict.fromkeys(arch for archs in read for arch in archs))


def serves(item: Extension, card_name: str) -> str:
    """With what a package serves a card that nothing speaks against: behind its name."""
    if not item.binaries:
        return "compiles its code when it runs"
    return f"has code for the {card_name}" if archs_of(item) else "shows no code for cards"


def faults_of(item: Extension, facts: Facts) -> list[str]:
    """Why it cannot load: no compiled file, one for the wrong Python, libraries that are nowhere,
    functions torch lacks."""
    python = known(facts.interpreter)
    version = known(python.version) if python is not None else None
    faults = []
    row = rules_of_attention().extension(item.name)
    if row is not None and is_hollow(item, row):
        files = " or ".join(f"{stem}*" for stem in row.files)
        faults.append(f"its compiled part is not there ({files})")
    for binary in item.binaries:
        if version is not None and binary.python not in ("", "abi3"):
            if pair(binary.python) != tuple(version[:2]):
                faults.append(
                    f"{binary.file} is for Python {binary.python}; the target is "
                    f"{version[0]}.{version[1]}"
                )
                continue
        if binary.absent:
            faults.append(f"{binary.file} asks for {', '.join(binary.absent)}, which is nowhere")
        elif isinstance(binary.undefined, Known) and binary.undefined.value:
            faults.append(
                f"{binary.file} asks torch for functions it does not have, such as "
                f"{binary.undefined.value[0]}"
            )
    tried = tried_import(item.name, facts)
    return [f"tried just now, its import ends with {tried.says}", *faults] if tried else faults


def tried_import(name: str, facts: Facts) -> KernelTest | None:
    """How importing the package ended in a proof; None where it went well or was not tried."""
    proof, row = known(facts.proof), rules_of_attention().extension(name)
    if proof is None or row is None:
        return None
    tests: tuple[KernelTest, ...] = proof.tests
    return next(
        (t for t in tests if t.name == f"import {row.module}" and t.outcome in _RAISED), None
    )


def remove(item: Extension, facts: Facts) -> Repair:
    """The repair that takes the package out."""
    summary = f"uninstall {item.name}; nothing here needs it"
    if isinstance(facts.interpreter, Unknown):
        return Repair("remove-extension", "packages", "manual", summary)
    python = facts.interpreter.value
    command: tuple[str | Private, ...] = (
        python.path, "-m", "pip", "uninstall", "--yes", item.name,
    )  # fmt: skip
    if uses_uv(python):
        command = ("uv", "pip", "uninstall", "--python", python.path, item.name)
    return Repair("remove-extension", "packages", "ask", summary, (command,))


def asked_by_flag(row: ExtensionRow, facts: Facts) -> bool:
    """Whether some way of starting ComfyUI asks for it."""
    comfyui = known(facts.comfyui)
    return comfyui is not None and any(
        flag.name == row.flag for each in used(comfyui) for flag in each.flags
    )


def _runs_unasked(row: ExtensionRow, facts: Facts, recipe: Recipe) -> bool:
    """Whether ComfyUI would use it although nothing asks for it."""
    comfyui = known(facts.comfyui)
    if row.unasked != "use" or comfyui is None or route_of(facts, recipe) != "comfyui":
        return False
    ways = [{flag.name for flag in each.flags} for each in used(comfyui)] or [set()]
    return any(not names.intersection(row.keeps_off) for names in ways)


@check(
    "attention-extension-lacks-arch",
    family="attention",
    title="Attention packages have code for this card",
    harm=Harm.STOPS,
    requires=("torch-missing",),
    follows=("gpu-too-old",),
    reads="The GPU code inside the compiled files of flash-attn, xformers and SageAttention, and a "
    "table of versions that refuse newer cards.",
    why="A package without code for the card ends in 'no kernel image is available' or 'No "
    "operator found', which look like a fault of PyTorch. ComfyUI uses an installed xformers "
    "without being asked to. The version does not tell what is inside: flash-attn built with "
    "sm_120 works on RTX 50 cards.",
    by_hand="Uninstall the package, or start ComfyUI with --use-pytorch-cross-attention.",
)
def extension_lacks_arch(facts: Facts, recipe: Recipe) -> list[Outcome] | Outcome | tuple[()]:
    title = "Whether attention packages serve this card is not known"
    if isinstance(facts.extensions, Unknown):
        return unknown(title, facts.extensions)
    found = installed(facts)
    if not found:
        return ()
    who = card(facts)
    if isinstance(who, Unknown):
        return without_card(title, facts, who)
    outcomes = []
    fine = []
    for item, row in found:
        if is_hollow(item, row):
            continue  # attention-extension-broken says it
        outcome = _lacks(item, row, facts, recipe, who.value.name, who.value.capability)
        if outcome is not None:
            outcomes.append(outcome)
        else:
            fine.append(f"{item.name} {serves(item, who.value.name)}")
    return outcomes or (passed("; ".join(fine)) if fine else ())


def _lacks(
    item: Extension,
    row: ExtensionRow,
    facts: Facts,
    recipe: Recipe,
    name: str,
    capability: tuple[int, int],
) -> Outcome | None:
    archs = archs_of(item)
    limit = limit_of(item, capability)
    if archs is None and limit is None:
        unread = next(b.archs for b in item.binaries if isinstance(b.archs, Unknown))
        return unknown(f"Whether {item.name} has code for the {name} is not known", unread)
    needed = "sm_{}{}".format(*capability)
    if limit is not None:
        why = f"With this version {limit.says}."
    elif archs and not runs(archs, capability):
        why = f"Its files hold code for {', '.join(archs)}; the card needs {needed}."
    elif capability < pair(row.min_capability):
        why = f"It serves cards of compute capability {row.min_capability} and newer."
    else:
        return None
    unasked = _runs_unasked(row, facts, recipe)
    if row.name == "sageattention" and limit is not None and not unasked:
        return None  # sage-attention-outdated says it
    then = _NEEDLESS
    if unasked:
        then = "ComfyUI uses it without being asked to, and the run ends there. " + _NEEDLESS
    evidence: dict[str, Evidence] = {"archs": archs or (), "needed": needed, "package": item.name}
    return Outcome(
        Verdict.FAIL if unasked else Verdict.WARN,
        f"{_named(item)} cannot serve your {name}",
        f"{why} {then}",
        subject=item.location,
        evidence=evidence,
        fixes=(remove(item, facts),),
    )


def _named(item: Extension) -> str:
    return f"{item.name} {item.version}" if item.version else item.name


@check(
    "attention-extension-broken",
    family="attention",
    title="Attention packages can load",
    harm=Harm.STOPS,
    requires=("torch-missing",),
    follows=("torch-broken", "torch-cpu-only"),
    reads="The compiled files of flash-attn, xformers and SageAttention: whether they are there, "
    "the Python they were built for, the libraries they ask for, and the functions of torch they "
    "ask for against what this torch has. With --prove, their import.",
    why="A package built for another PyTorch ends with 'undefined symbol' or 'DLL load failed', "
    "one whose compiled part is missing with 'No module named flash_attn_2_cuda'. "
    "ComfyUI imports flash_attn and sageattention at every start: one whose libraries cannot be "
    "found may end it even where nothing asks for the package.",
    by_hand="Uninstall the package; it comes back by installing the build made for this torch.",
)
def extension_broken(facts: Facts, recipe: Recipe) -> list[Outcome] | Outcome | tuple[()]:
    if isinstance(facts.extensions, Unknown):
        return unknown("Whether attention packages can load is not known", facts.extensions)
    found = installed(facts)
    if not found:
        return ()
    outcomes = [
        _broken(item, row, facts, recipe, faults)
        for item, row in found
        if (faults := faults_of(item, facts))
    ]
    doubts = [doubt for item, _ in found for b in item.binaries if (doubt := _doubt(b)) is not None]
    if not outcomes and doubts:
        return unknown("Whether attention packages can load is not known", doubts[0])
    names = ", ".join(item.name for item, _ in found)
    return outcomes or passed(f"{names}: nothing speaks against loading")


def _doubt(binary: Binary) -> Unknown | None:
    """What could not be compared, but for Windows, whose libraries do not tell it."""
    if isinstance(binary.undefined, Known) or binary.file.endswith(".pyd"):
        return None
    return binary.undefined


def _broken(
    item: Extension, row: ExtensionRow, facts: Facts, recipe: Recipe, faults: list[str]
) -> Outcome:
    route = route_of(facts, recipe)
    asked = route == "comfyui" and asked_by_flag(row, facts)
    tried = tried_import(item.name, facts)
    loads = route == "comfyui" and _stops(item, row, tried)
    why = ": it was built for another environment" if tried is None or len(faults) > 1 else ""
    if is_hollow(item, row):
        why = ": its compiled part is missing"
    if asked:
        then = f"ComfyUI is started with {row.flag} and ends at once. "
    elif loads:
        then = "ComfyUI imports it at every start, which may end there. "
    elif row.unasked == "use" and route == "comfyui":
        then = "ComfyUI notices and goes without it. "
    else:
        then = "What imports it fails. "
    return Outcome(
        Verdict.FAIL if asked or loads else Verdict.WARN,
        f"{_named(item)} cannot load{why}",
        f"{faults[0]}{_more(faults)}. {then}{_NEEDLESS}",
        subject=item.location,
        evidence={"package": item.name, "faults": tuple(faults[:_SHOWN])},
        fixes=(remove(item, facts),),
    )


def _stops(item: Extension, row: ExtensionRow, tried: KernelTest | None) -> bool:
    """Whether ComfyUI ends where it imports the package without being asked to."""
    if tried is None:
        return row.unasked == "load" and any(binary.absent for binary in item.binaries)
    if tried.outcome == "timeout" or tried.says.startswith(_DIED):
        return row.unasked in ("load", "use")
    return row.unasked == "load" and not tried.says.startswith(_CAUGHT)


def _more(faults: list[str]) -> str:
    return f"; and {len(faults) - 1} more" if len(faults) > 1 else ""


@check(
    "sage-attention-outdated",
    family="attention",
    title="SageAttention is recent enough for this card",
    harm=Harm.SLOW,
    requires=("torch-missing",),
    reads="The version of the package sageattention against the table for this card.",
    why="'pip install sageattention' still brings 1.0.6, which fails on RTX 50 cards or gives "
    "black pictures; for a model of 4 steps it gains next to nothing.",
    by_hand="Uninstall sageattention and take --use-sage-attention out.",
)
def sage_outdated(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    title = "Whether SageAttention is recent enough is not known"
    if isinstance(facts.extensions, Unknown):
        return unknown(title, facts.extensions)
    found = [item for item, row in installed(facts) if row.name == "sageattention"]
    if not found:
        return ()
    who = card(facts)
    if isinstance(who, Unknown):
        return without_card(title, facts, who)
    limit = limit_of(found[0], who.value.capability)
    if limit is None:
        return passed(f"{_named(found[0])} suits the {who.value.name}")
    return Outcome(
        Verdict.WARN,
        f"{_named(found[0])} is too old for your {who.value.name}",
        f"{limit.says[0].upper()}{limit.says[1:]}. {_NEEDLESS}",
        subject=found[0].location,
        evidence={"version": found[0].version},
        fixes=(remove(found[0], facts),),
    )
