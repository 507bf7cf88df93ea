"""What custom nodes and start-up files put in the place of all models' attention."""

from __future__ import annotations

import re

from klein_doctor.attention import Replaced, Scan
from klein_doctor.checks.attention_extensions import (
    faults_of,
    installed,
    is_of,
    rules_of_attention,
)
from klein_doctor.model import Facts, Known, Outcome, Private, Repair, Unknown, Verdict
from klein_doctor.outcomes import unknown

_SDPA = "torch.nn.functional.scaled_dot_product_attention"
_BACK = "PyTorch's own attention needs nothing and is what this model uses."


def replacements(scan: Scan, facts: Facts, route: str) -> list[Outcome]:
    """One outcome for each place that the programs of the route come to, the failing ones first."""
    places = [
        each for each in scan.replaced
        if route == "comfyui" or not (each.node or each.target.startswith("comfy."))
    ]  # fmt: skip
    outcomes = [_judged(each, facts) for each in places]
    return sorted(outcomes, key=lambda outcome: outcome.verdict is not Verdict.FAIL)


def _judged(place: Replaced, facts: Facts) -> Outcome:
    who = f"the custom node {place.node}" if place.node else _file(place)
    what = "PyTorch's attention" if place.target == _SDPA else "ComfyUI's attention"
    lost = [(name, why) for name in place.needs if (why := _lost(name, facts)) is not None]
    gone = next(((name, why) for name, why in lost if isinstance(why, str)), None)
    flaws = _flaws(place, facts)
    verdict, says = Verdict.WARN, " ".join((_what_it_does(place), *flaws))
    if gone is not None:
        title = f"{who} would replace {what} once {gone[0]} can be imported"
        detail = f"It does nothing now: {' '.join(gone)}. Once that changes: {says}"
    elif lost:
        return unknown(f"Whether {who} replaces {what} is not known", lost[0][1])
    elif place.when == "import":
        title = f"{who} replaces {what}"
        loaded = "ComfyUI loads it at every start." if place.node else "It runs when it is loaded."
        detail = f"{says} {loaded}"
        if flaws:
            verdict, title = Verdict.FAIL, f"{title}, and pictures come out wrong"
    else:
        title = f"{who} may replace {what}"
        called = "It does so once the function around it is called, which this file does not."
        chosen = "It does so where the condition around it holds."
        detail = f"{says} {called if place.when == 'call' else chosen}"
    return Outcome(
        verdict,
        f"T{title[1:]}" if place.node else title,
        f"{detail} {_BACK}",
        subject=Private(*(f"{form}:{place.line}" for form in _forms(place.path))),
        evidence={
            "replaces": place.target, "by": place.by, "calls": place.calls, "needs": place.needs,
            "line": place.line, "node": place.node, "when": place.when,
        },
        fixes=(Repair("release-attention", "config", "manual", _remedy(place)),),
    )  # fmt: skip


def _what_it_does(place: Replaced) -> str:
    by = f" by {place.by}" if place.by else ""
    reach = "models of ComfyUI go through it"
    if place.target == _SDPA:
        reach = "every model's attention, the text encoder's included, goes through it"
    return f"Line {place.line} of {_file(place)} replaces {place.target}{by}: {reach}."


def _forms(path: Private) -> tuple[str, str, str]:
    return path.real, path.local, path.public


def _file(place: Replaced) -> str:
    return re.split(r"[\\/]", place.path.public)[-1]


def _flaws(place: Replaced, facts: Facts) -> list[str]:
    """What goes wrong with Klein where it is in force, as far as the source tells."""
    if place.target != _SDPA:
        return []
    packages = {row.name: item for item, row in installed(facts)}
    rows = [
        row for row in rules_of_attention().kernels
        if row.name in place.calls
        and (not row.versions
             or (row.package in packages and is_of(packages[row.package], row.versions)))
    ]  # fmt: skip
    flaws = []
    other = next((row for row in rows if row.layout == "bshd"), None)
    if other is not None and not place.turns:
        flaws.append(
            f"{other.name} takes (batch, sequence, heads, width) and is given (batch, heads, "
            "sequence, width), so it mixes the wrong axes: the pictures are noise."
        )
    bare = any(row.name == place.by and not row.mask for row in rows)
    if bare or not place.masked:
        flaws.append(
            "It takes no notice of the mask, so the text encoder reads the prompt wrongly: "
            "pictures follow it badly."
        )
    return flaws


def _lost(module: str, facts: Facts) -> str | Unknown | None:
    """Why a module cannot be imported; None where nothing says so."""
    row = next((row for row in rules_of_attention().extensions if row.module == module), None)
    if row is None:
        return None
    if isinstance(facts.extensions, Unknown):
        return facts.extensions
    item = next((item for item, its in installed(facts) if its.name == row.name), None)
    if item is None:
        packages = facts.packages.value if isinstance(facts.packages, Known) else None
        there = packages is not None and packages.version(row.name) is not None
        return None if there else "is not installed"
    faults = faults_of(item, facts)
    return f"cannot be imported, {faults[0]}" if faults else None


def _remedy(place: Replaced) -> str:
    if not place.node:
        return f"take line {place.line} out of {_file(place)}"
    if place.node.endswith(".py"):
        return f"move {place.node} out of custom_nodes, then start ComfyUI anew"
    return (
        f"disable {place.node} in ComfyUI-Manager, or rename its folder to {place.node}.disabled, "
        "then start ComfyUI anew"
    )
