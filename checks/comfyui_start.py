"""Is ComfyUI started in a way that is safe, and that suits this machine?"""

from __future__ import annotations

from packaging.version import Version

from klein_doctor.card import card, chosen_gpu
from klein_doctor.checks.comfyui import here
from klein_doctor.installation import ComfyUI, Launcher
from klein_doctor.model import Facts, Harm, Known, Outcome, Repair, Unknown, Verdict, known
from klein_doctor.outcomes import passed, release, unknown
from klein_doctor.recipe import Recipe, pair
from klein_doctor.recipe_comfyui import HarmfulFlag, MemoryEngine
from klein_doctor.registry import check

_REACHED = {"any": "on every network this machine is in", "private": "from its local network",
            "public": "from the internet"}  # fmt: skip
_WIDEST = ("public", "any", "private")


def used(comfyui: ComfyUI) -> tuple[Launcher, ...]:
    """The launchers that count: the running server's arguments, else all that were found."""
    running = tuple(each for each in comfyui.launchers if each.kind == "server")
    return running or comfyui.launchers


@check(
    "comfyui-exposed",
    family="comfyui",
    title="ComfyUI answers this machine alone",
    harm=Harm.NOTE,
    requires=("comfyui-missing",),
    reads="--listen in the arguments of the running server, and in batch files, scripts and saved "
    "settings that start it.",
    why="ComfyUI has no login. Whoever reaches its port can run workflows, read and write files in "
    "its folders and, through custom nodes, run code. A bare --listen opens it to all networks.",
    by_hand="Take --listen out, or write --listen 127.0.0.1. To reach it from elsewhere use an SSH "
    "tunnel; in a container publish the port as 127.0.0.1:8188:8188.",
)
def comfyui_exposed(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    comfyui = here(facts, recipe)
    if comfyui is None:
        return ()
    open_ = [each for each in used(comfyui) if each.listen in _REACHED]
    if not open_:
        return passed("ComfyUI answers this machine alone")
    worst = min(open_, key=lambda each: _WIDEST.index(each.listen))
    system = known(facts.system)
    inside = system is not None and bool(system.container)
    place = f"line {worst.line} of the file" if worst.line else "the saved arguments"
    if worst.kind == "server":
        place = "the running server's arguments"
    detail = (
        f"With {place} it can be reached {_REACHED[worst.listen]}, and it has no login: whoever "
        "reaches it can run workflows and read files."
    )
    if inside:
        detail += " In a container this is how one gets in: publish the port to 127.0.0.1 only."
    if len(open_) > 1:
        detail += f" {len(open_)} ways of starting it do so."
    return Outcome(
        Verdict.FAIL if worst.listen == "public" else Verdict.WARN,
        f"ComfyUI {'is' if worst.kind == 'server' else 'would be'} open to others",
        detail,
        subject=worst.path,
        evidence={"listen": worst.listen, "line": worst.line, "kind": worst.kind},
        fixes=(
            Repair(
                "listen-loopback",
                "config",
                "ask",
                "publish the port as 127.0.0.1:8188:8188"
                if inside
                else "take --listen out, or write --listen 127.0.0.1",
            ),
        ),
    )


@check(
    "comfyui-flags-harmful",
    family="comfyui",
    title="ComfyUI's arguments suit this machine",
    harm=Harm.SLOW,
    requires=("comfyui-missing",),
    reads="The arguments of the running server, or of everything that starts it, the card's memory "
    "and the installed packages.",
    why="Arguments from older guides cost memory today, or end the start: ComfyUI manages memory "
    "by itself and needs none of them for this model.",
    by_hand="Take the argument out of the file or setting named above and start ComfyUI anew.",
)
def comfyui_flags_harmful(facts: Facts, recipe: Recipe) -> list[Outcome] | Outcome | tuple[()]:
    comfyui = here(facts, recipe)
    if comfyui is None:
        return ()
    outcomes = []
    for row in recipe.comfyui.harmful_flags:
        at = next((e for e in used(comfyui) if row.flag in {f.name for f in e.flags}), None)
        if at is None:
            continue
        applies = _applies(row, facts, comfyui)
        if isinstance(applies, Unknown):
            outcomes.append(unknown(f"Whether {row.flag} does harm here is not known", applies))
        elif applies.value:
            outcomes.append(_harmful(row, at))
    return outcomes or passed("ComfyUI's arguments suit this machine")


def _applies(row: HarmfulFlag, facts: Facts, comfyui: ComfyUI) -> Known[bool] | Unknown:
    if row.below_vram_mib:
        gpu = chosen_gpu(facts)
        if gpu is None or isinstance(gpu.total_bytes, Unknown):
            return Unknown("the card's memory is not known")
        if gpu.total_bytes.value >> 20 >= row.below_vram_mib:
            return Known(False)
    if row.package:
        if isinstance(facts.packages, Unknown):
            return facts.packages
        if facts.packages.value.version(row.package) is not None:
            return Known(False)
    if row.gone_from:
        if isinstance(comfyui.version, Unknown):
            return comfyui.version
        mine = release(comfyui.version.value)
        if mine is None or mine < Version(row.gone_from):
            return Known(False)
    return Known(True)


def _harmful(row: HarmfulFlag, at: Launcher) -> Outcome:
    where = f" (line {at.line})" if at.line else ""
    return Outcome(
        Verdict.WARN,
        f"ComfyUI {'does not start' if row.stops else 'is held back'} with {row.flag}",
        f"{row.flag} {row.says}. It stands in the {at.kind} arguments{where}.",
        subject=at.path,
        evidence={"flag": row.flag, "line": at.line, "kind": at.kind},
        fixes=(Repair("release-flags", "config", "ask", f"take {row.flag} out"),),
    )


@check(
    "comfyui-memory-engine",
    family="comfyui",
    title="ComfyUI's memory engine is not one known to crash here",
    harm=Harm.STOPS,
    requires=("comfyui-missing",),
    follows=("comfyui-too-old",),
    reads="ComfyUI's version, the platform, the card's generation and the arguments, against a "
    "table of versions in which dynamic VRAM or pinned memory ended runs.",
    why="These end in driver errors or a killed process, which look like a broken card or too "
    "little memory.",
    by_hand="Update ComfyUI; until then start it with the argument named above.",
)
def comfyui_memory_engine(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    comfyui = here(facts, recipe)
    if comfyui is None:
        return ()
    title = "Whether its memory engine is sound here is not known"
    if isinstance(comfyui.version, Unknown):
        return unknown(title, comfyui.version)
    if isinstance(facts.system, Unknown):
        return unknown(title, facts.system)
    mine = release(comfyui.version.value)
    platform = "wsl" if facts.system.value.wsl else facts.system.value.os
    flags = {flag.name for each in used(comfyui) for flag in each.flags}
    for row in recipe.comfyui.memory_engines:
        if row.platform != platform or mine is None or row.avoid in flags:
            continue
        if not Version(row.since) <= mine < Version(row.below):
            continue
        found = card(facts)
        if isinstance(found, Unknown):
            if pair(row.min_capability) > (0, 0):
                return unknown(title, found)
        elif found.value.capability < pair(row.min_capability):
            continue
        return _engine(row, comfyui, comfyui.version.value)
    return passed("No fault of its memory engine is known here")


def _engine(row: MemoryEngine, comfyui: ComfyUI, version: str) -> Outcome:
    return Outcome(
        Verdict.WARN,
        f"ComfyUI {version} is known to end runs on machines like this one",
        f"With this version {row.says}.",
        subject=comfyui.root,
        evidence={"version": version, "avoid": row.avoid},
        fixes=(
            Repair(
                "release-flags", "config", "ask", f"update ComfyUI, or start it with {row.avoid}"
            ),
        ),
    )
