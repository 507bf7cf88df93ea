"""Does anything ask for another attention than PyTorch's own, and would that work here?"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from packaging.version import InvalidVersion, Version

from klein_doctor.attention import Override, Scan
from klein_doctor.card import card
from klein_doctor.checks.attention_extensions import (
    archs_of,
    faults_of,
    installed,
    limit_of,
    rules_of_attention,
    serves,
)
from klein_doctor.checks.attention_replaced import replacements
from klein_doctor.checks.comfyui_start import used, waiting
from klein_doctor.installation import Launcher
from klein_doctor.model import (
    Fact,
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
from klein_doctor.recipe import Recipe, pair
from klein_doctor.registry import check
from klein_doctor.routes import route_of
from klein_doctor.wheels import runs

_VARIABLE = "DIFFUSERS_ATTN_BACKEND"
_FLAG = "--use-flash-attention"
_OWN = "PyTorch's own attention needs nothing and is what this model uses."
_MOST = 12
_DEFAULT = " default"
# Classes through which Klein or its text encoder could be loaded; another class is another model.
_GENERAL = re.compile(r"(?:Auto|Qwen3(?!VL|_?VL)|Flux|Diffusion)|Pipeline$|^[a-z_]|^$")
_OURS = re.compile(r"klein|flux\.?-?2|qwen3-?4b|qwen/qwen3", re.IGNORECASE)


class Judged(NamedTuple):
    """Whether what is asked for can be used here, and why not, or with what it works."""

    usable: Fact[bool]
    why: str


@check(
    "flash-attention-forced",
    family="attention",
    title="Nothing forces an attention implementation",
    harm=Harm.STOPS,
    requires=("torch-missing",),
    reads="Python sources of custom nodes and scripts (attn_implementation, "
    "set_attention_backend, another function put in the place of scaled_dot_product_attention), "
    "sitecustomize and .pth files, config.json of diffusers folders, the variable "
    "DIFFUSERS_ATTN_BACKEND and ComfyUI's launch arguments; and whether what they "
    "ask for is installed with code for this card.",
    why="PyTorch's own attention (SDPA) needs no package and serves every card. Where code or a "
    "setting insists on FlashAttention that is not usable, diffusers and transformers end with an "
    "error. ComfyUI ends at once if the package is absent; if its kernels fail it falls back to "
    "SDPA at every call, which is slow. Code that replaces SDPA itself changes every model: other "
    "functions take their arguments in another order or no mask, which gives noise or pictures "
    "that do not follow the prompt.",
    by_hand="Set attn_implementation to 'sdpa' or take it out, unset DIFFUSERS_ATTN_BACKEND, "
    "take --use-flash-attention out of what starts ComfyUI, and disable the custom node that "
    "replaces SDPA.",
)
def flash_attention_forced(facts: Facts, recipe: Recipe) -> list[Outcome] | Outcome:
    route = route_of(facts, recipe)
    outcomes = _flags(facts) if route == "comfyui" else _variable(facts)
    if isinstance(facts.overrides, Known):
        outcomes += _places(facts.overrides.value, facts, route)
        outcomes += replacements(facts.overrides.value, facts, route)
    if outcomes:
        return outcomes[:_MOST]
    title = "Whether anything forces an attention implementation is not known"
    if isinstance(facts.overrides, Unknown):
        return unknown(title, facts.overrides)
    if route == "diffusers" and isinstance(facts.settings, Unknown):
        return unknown(title, facts.settings)
    if route == "comfyui" and isinstance(facts.comfyui, Unknown):
        return unknown(title, facts.comfyui)
    if not facts.overrides.value.complete:
        return unknown(title, "the search through the sources did not come to its end")
    return passed("Nothing forces an attention implementation")


# --- what is asked for -----------------------------------------------------------------------


def judge(asks: str, api: str, facts: Facts) -> Judged:
    """Whether an implementation can be used in this environment, on this card."""
    rules = rules_of_attention()
    row = rules.backend(asks)
    if row is None and "/" in asks:
        return _from_hub(asks, facts)
    if row is None:
        return _unlisted(asks, api, facts, rules.diffusers_read)
    if not row.needs:
        return Judged(Known(True), "PyTorch has it")
    if row.needs == "kernels":
        return _from_hub(asks, facts)
    who = card(facts)
    if row.only and isinstance(who, Known) and who.value.capability != pair(row.only):
        return Judged(Known(False), f"it is made for cards of compute capability {row.only} alone")
    if api == "transformers" and row.needs == "flash-attn" and _would_fetch(facts):
        return Judged(Known(True), "transformers would fetch its kernels from the Hub")
    return _package(row.needs, facts)


def _package(name: str, facts: Facts) -> Judged:
    if isinstance(facts.extensions, Unknown):
        return Judged(facts.extensions, "")
    found = next(((item, row) for item, row in installed(facts) if row.name == name), None)
    if found is None:
        there = known(facts.packages)
        if there is not None and there.version(name) is not None:
            return Judged(Known(True), f"{name} is installed")
        return Judged(Known(False), f"the package {name} is not installed")
    item, row = found
    faults = faults_of(item, facts)
    if faults:
        return Judged(Known(False), f"{name} cannot load: {faults[0]}")
    who = card(facts)
    if isinstance(who, Unknown):
        return Judged(who, "")
    capability = who.value.capability
    limit = limit_of(item, capability)
    if limit is not None:
        return Judged(Known(False), f"with this {name} {limit.says}")
    archs = archs_of(item)
    if archs is None:
        return Judged(Unknown(f"the files of {name} could not be read"), "")
    if (archs and not runs(archs, capability)) or capability < pair(row.min_capability):
        return Judged(Known(False), f"{name} holds no code for the {who.value.name}")
    return Judged(Known(True), f"{name} {item.version} {serves(item, who.value.name)}")


def _would_fetch(facts: Facts) -> bool:
    """Whether transformers takes the kernels from the Hub where flash-attn is absent."""
    there = known(facts.packages)
    if there is None or there.version("flash-attn") is not None:
        return False
    return there.version("kernels") is not None and _holds(there.version("transformers"), ">=5")


def _from_hub(asks: str, facts: Facts) -> Judged:
    there = known(facts.packages)
    if there is not None and there.version("kernels") is None:
        return Judged(Known(False), "the package kernels, which would fetch it, is not installed")
    return Judged(Known(True), "it is code fetched from the Hub when the model is loaded")


def _unlisted(asks: str, api: str, facts: Facts, read: str) -> Judged:
    there = known(facts.packages)
    newer = there is not None and _holds(there.version("diffusers"), f">{read}")
    if api == "diffusers" and not newer:
        return Judged(Known(False), f"diffusers does not know it: {asks!r} is none of its names")
    return Judged(Unknown(f"{asks!r} is not in the doctor's table"), "")


def _holds(version: str | None, specifier: str) -> bool:
    from packaging.specifiers import SpecifierSet

    try:
        return version is not None and SpecifierSet(specifier).contains(
            Version(version), prereleases=True
        )
    except InvalidVersion:
        return False


# --- launch arguments and the variable -------------------------------------------------------


def _flags(facts: Facts) -> list[Outcome]:
    comfyui = known(facts.comfyui)
    if comfyui is None:
        return []
    at, later = _with_flag(used(comfyui)), _with_flag(waiting(comfyui))
    if not at and not later:
        return []
    absent = not any(row.name == "flash-attn" for _, row in installed(facts))
    judged = _package("flash-attn", facts)
    fix = Repair("release-flags", "config", "ask", f"take {_FLAG} out")
    if isinstance(judged.usable, Unknown):
        return [unknown(f"Whether {_FLAG} works here is not known", judged.usable)]
    if judged.usable.value:
        detail = f"{judged.why}, so it works. {_OWN}"
        title = f"ComfyUI is made to use flash-attn ({_FLAG})"
        return [_flagged(Verdict.WARN, title, detail, at or later, fix)]
    stops = absent or "cannot load" in judged.why
    then = (
        "ComfyUI ends at once, saying that the package must be installed first."
        if stops
        else "ComfyUI falls back to PyTorch's attention at every call: slow, not broken."
    )
    running = any(each.kind == "server" for each in at)
    if stops and running and isinstance(facts.extensions, Known):
        then = "The running ComfyUI was started with it all the same; the next start would end."
    if not at:
        then = f"The one that runs was started without it; started so, {then}"
    title = f"{_FLAG} asks for what cannot be used here"
    detail = f"It cannot work here: {judged.why}. {then} {_OWN}"
    verdict = Verdict.FAIL if stops and at else Verdict.WARN
    return [_flagged(verdict, title, detail, at or later, fix)]


def _with_flag(launchers: Iterable[Launcher]) -> list[Launcher]:
    return [each for each in launchers if any(flag.name == _FLAG for flag in each.flags)]


def _flagged(verdict: Verdict, title: str, detail: str, at: list[Launcher], fix: Repair) -> Outcome:
    first = at[0]
    return Outcome(
        verdict,
        title,
        detail,
        subject=_at(first.path, first.line),
        evidence={"asks": _FLAG, "line": first.line, "kind": first.kind, "places": len(at)},
        fixes=(fix,),
    )


def _variable(facts: Facts) -> list[Outcome]:
    found = next((each for each in known(facts.settings, ()) if each.name == _VARIABLE), None)
    if found is None:
        return []
    asks = found.value.real.strip().lower()
    judged = judge(asks, "diffusers", facts)
    if _is_default(asks):
        return []
    outcome = _outcome(judged, f"the environment sets {_VARIABLE}={found.value.public}", asks, True)
    fix = Repair("release-attention", "config", "ask", f"unset {_VARIABLE}")
    return [Outcome(**{**vars(outcome), "fixes": (fix,)})]


def _is_default(asks: str) -> bool:
    row = rules_of_attention().backend(asks)
    return row is not None and not row.needs


# --- places in sources and configurations ----------------------------------------------------


def _places(scan: Scan, facts: Facts, route: str) -> list[Outcome]:
    outcomes = []
    for place in scan.overrides:
        if _is_default(place.asks.lower()) or not _honoured(place, facts):
            continue
        concern = _concern(place, route)
        if concern:
            outcomes.append(_place(place, facts, concern == "ours"))
    return sorted(outcomes, key=lambda outcome: outcome.verdict is not Verdict.FAIL)


def _honoured(place: Override, facts: Facts) -> bool:
    """Whether the installed transformers reads that key of a config.json."""
    if place.kind != "config":
        return True
    there = known(facts.packages)
    version = there.version("transformers") if there is not None else None
    row = next((row for row in rules_of_attention().config_keys if row.name == place.how), None)
    return row is None or version is None or _holds(version, row.transformers)


def _concern(place: Override, route: str) -> str:
    """``ours`` where Klein would be loaded through it, ``other`` where a custom node's own model
    would, "" where neither is so."""
    if place.kind == "config":
        return "ours" if route == "diffusers" else "other"
    named = bool(place.model) and not _OURS.search(place.model)
    general = bool(_GENERAL.search(place.owner)) and not named
    if place.klein and general:
        return "ours"
    if place.node:
        return "other"
    return "ours" if route == "diffusers" and general else ""


def _place(place: Override, facts: Facts, ours: bool) -> Outcome:
    api = "diffusers" if "backend" in place.how or place.how == "environ" else "transformers"
    judged = judge(place.asks.lower(), api, facts)
    where = f"line {place.line}" if place.line else "the file"
    said = f"{where} asks for {place.asks!r} ({place.how})"
    if place.node and not ours:
        file = re.split(r"[\\/]", place.path.public)[-1]
        said = f"the custom node {place.node} loads a model of its own: in {file} {said}"
    # A default is taken back by choosing another in the node or on the command line.
    outcome = _outcome(judged, said, place.asks, ours and not place.how.endswith(_DEFAULT))
    words = f"set it to 'sdpa' on line {place.line}" if place.line else "set it to 'sdpa'"
    if api == "diffusers":
        words = words.replace("'sdpa'", "'native'")
    return Outcome(
        **{
            **vars(outcome),
            "subject": _at(place.path, place.line),
            "fixes": (Repair("release-attention", "config", "ask", words),),
            "evidence": {**outcome.evidence, "how": place.how, "line": place.line,
                         "node": place.node},
        }
    )  # fmt: skip


def _outcome(judged: Judged, said: str, asks: str, ours: bool) -> Outcome:
    said = said[0].upper() + said[1:]
    if isinstance(judged.usable, Unknown):
        return unknown(f"Whether {asks} can be used here is not known", judged.usable)
    if judged.usable.value:
        return Outcome(
            Verdict.WARN,
            f"An attention implementation is forced: {asks}",
            f"{said}. It should work: {judged.why}. {_OWN}",
            evidence={"asks": asks},
        )
    then = (
        "Loading the model ends with an error. "
        if ours
        else "What is loaded so ends with an error. "
    )
    return Outcome(
        Verdict.FAIL if ours else Verdict.WARN,
        f"{asks} is asked for and cannot be used here",
        f"{said}; {judged.why}. {then}{_OWN}",
        evidence={"asks": asks},
    )


def _at(path: Private, line: int) -> Private:
    """A file with the line behind it."""
    if not line:
        return path
    return Private(*(f"{form}:{line}" for form in (path.real, path.local, path.public)))
