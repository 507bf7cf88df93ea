"""Is ComfyUI started in a way that is safe, and that suits this machine?"""

from __future__ import annotations

from packaging.version import Version

from klein_doctor.card import card, chosen_gpu
from klein_doctor.checks.comfyui import here, port_of
from klein_doctor.installation import ComfyUI, Flag, Launcher, Server
from klein_doctor.model import Fact, Facts, Harm, Known, Outcome, Repair, Unknown, Verdict, known
from klein_doctor.outcomes import passed, release, unknown, without_card
from klein_doctor.recipe import Recipe, pair
from klein_doctor.recipe_comfyui import HarmfulFlag, MemoryEngine
from klein_doctor.registry import check

_REACHED = {"any": "on every network this machine is in", "private": "from its local network",
            "public": "from the internet"}  # fmt: skip
_WIDEST = ("public", "any", "private")
_SHOWN = 10
_LOCAL = "127.0.0.1:8188:8188"


def used(comfyui: ComfyUI) -> tuple[Launcher, ...]:
    """The launchers that count: the running server's arguments, else all that were found.

    The portable brings a file that starts it on the processor; beside others it does not count.
    """
    running = tuple(each for each in comfyui.launchers if each.kind == "server")
    others = tuple(each for each in comfyui.launchers if "--cpu" not in _names(each))
    return running or others or comfyui.launchers


def waiting(comfyui: ComfyUI) -> tuple[Launcher, ...]:
    """What would start it the next time, where a server runs now; none where none does."""
    counting = used(comfyui)
    if not any(each.kind == "server" for each in counting):
        return ()
    return tuple(
        each for each in comfyui.launchers if each.kind != "server" and "--cpu" not in _names(each)
    )


def _names(launcher: Launcher) -> set[str]:
    return {flag.name for flag in launcher.flags}


def _place(launcher: Launcher) -> str:
    """Where its arguments stand, in words; the path itself is the finding's subject."""
    if launcher.kind == "server":
        return "the running server's arguments"
    return f"line {launcher.line} of the file" if launcher.line else "the saved settings"


# --- who reaches it --------------------------------------------------------------------------


@check(
    "comfyui-exposed",
    family="comfyui",
    title="ComfyUI answers this machine alone",
    harm=Harm.NOTE,
    requires=("comfyui-missing",),
    reads="--listen in the arguments of running servers, and in batch files, scripts and saved "
    "settings that start ComfyUI.",
    why="ComfyUI has no login. Whoever reaches its port can run workflows, read and write files in "
    "its folders and, through custom nodes, run code. A bare --listen opens it to all networks.",
    by_hand="Take --listen out, or write --listen 127.0.0.1. To reach it from elsewhere use an SSH "
    f"tunnel; in a container publish the port as {_LOCAL}; in WSL, Windows reaches it at localhost "
    "all the same.",
)
def comfyui_exposed(facts: Facts, recipe: Recipe) -> list[Outcome] | Outcome | tuple[()]:
    comfyui = here(facts, recipe)
    if comfyui is None:
        return ()
    wide = [each for each in used(comfyui) if each.listen in _REACHED]
    wide = wide or [each for each in waiting(comfyui) if each.listen in _REACHED]
    outcomes = [_open(facts, wide, comfyui)] if wide else []
    running = any(each.kind == "server" for each in comfyui.launchers)
    for server in known(facts.servers, ()):
        judged = running and server.port == port_of(facts)
        if server.outcome == "ok" and server.listen in _REACHED and not judged:
            outcomes.append(_other_open(server))
    if not outcomes and isinstance(facts.servers, Unknown):
        return unknown("Who can reach ComfyUI is not known", facts.servers)
    return outcomes or passed("ComfyUI answers this machine alone")


def _open(facts: Facts, wide: list[Launcher], comfyui: ComfyUI) -> Outcome:
    worst = min(wide, key=lambda each: _WIDEST.index(each.listen))
    runs = worst.kind == "server"
    system = known(facts.system)
    inside = system is not None and bool(system.container)
    detail = (
        f"With --listen in {_place(worst)} it can be reached {_REACHED[worst.listen]}. It has no "
        "login: whoever reaches it can run workflows and read files."
    )
    if len(wide) > 1:
        detail += f" {len(wide)} ways of starting it do so."
    if inside:
        detail += (
            " In a container this is how one gets in at all; who gets in is decided by how the "
            "port is published: keep it to this machine."
        )
    elif system is not None and system.wsl:
        detail += " Windows reaches a server in WSL at localhost without it."
    return Outcome(
        Verdict.FAIL if worst.listen == "public" else Verdict.WARN,
        f"ComfyUI {'is' if runs else 'would be'} open to others",
        detail,
        subject=worst.path,
        evidence={
            "listen": worst.listen,
            "line": worst.line,
            "kind": worst.kind,
            "places": tuple(each.path for each in wide[:_SHOWN]),
        },
        fixes=(_close(worst, comfyui, inside),),
    )


def _close(worst: Launcher, comfyui: ComfyUI, inside: bool) -> Repair:
    if inside:
        command = ("docker", "run", "-p", _LOCAL, "...")
        words = "publish the port to the host's own address alone"
        return Repair("loopback-only", "config", "manual", words, (command,))
    if worst.kind == "server":
        words = "stop it, and start it without --listen or with --listen 127.0.0.1"
        saved = any(each.listen in _REACHED for each in comfyui.launchers if each.kind != "server")
        if saved:  # so that it is closed when it is started anew
            words = "write --listen 127.0.0.1 in what starts it, then stop it and start it anew"
        return Repair("loopback-only", "config", "ask" if saved else "manual", words)
    words = f"in {_place(worst)} take --listen out, or write --listen 127.0.0.1"
    return Repair("loopback-only", "config", "ask", words)


def _other_open(server: Server) -> Outcome:
    return Outcome(
        Verdict.FAIL if server.listen == "public" else Verdict.WARN,
        f"A ComfyUI that runs on port {server.port} is open to others",
        f"It is not the one that is judged here. It can be reached {_REACHED[server.listen]}, and "
        "it has no login: whoever reaches it can run workflows and read files.",
        evidence={"listen": server.listen, "port": server.port},
        fixes=(
            Repair(
                "loopback-only",
                "config",
                "manual",
                "stop it, and start it without --listen or with --listen 127.0.0.1",
            ),
        ),
    )


# --- arguments that do harm ------------------------------------------------------------------


@check(
    "comfyui-flags-harmful",
    family="comfyui",
    title="ComfyUI's arguments suit this machine",
    harm=Harm.SLOW,
    requires=("comfyui-missing",),
    reads="The arguments of the running server and of everything that starts it, the card's memory "
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
        # What runs has started, whatever a package or a version speaks against it.
        at = [each for each in used(comfyui) if row.flag in _names(each)]
        without = not at  # the running one was started without it
        at = [each for each in at if each.kind != "server" or not row.stops]
        at = at or [each for each in waiting(comfyui) if row.flag in _names(each)]
        if not at:
            continue
        title = f"Whether {row.flag} does harm here is not known"
        applies = _applies(row, facts, comfyui)
        if isinstance(applies, Unknown):
            outcomes.append(
                without_card(title, facts, applies)
                if row.below_vram_mib
                else unknown(title, applies)
            )
        elif applies.value:
            outcomes.append(_harmful(row, at, without))
    return outcomes or passed("ComfyUI's arguments suit this machine")


def _applies(row: HarmfulFlag, facts: Facts, comfyui: ComfyUI) -> Fact[bool]:
    if row.below_vram_mib:
        total = _vram_mib(facts)
        if isinstance(total, Unknown):
            return total
        if total.value >= row.below_vram_mib:
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


def _vram_mib(facts: Facts) -> Fact[int]:
    """The chosen card's whole memory."""
    gpu = chosen_gpu(facts)
    if gpu is None:
        return Unknown("which card would be used is not known")
    if isinstance(gpu.total_bytes, Unknown):
        return gpu.total_bytes
    return Known(gpu.total_bytes.value >> 20)


def _harmful(row: HarmfulFlag, at: list[Launcher], without: bool) -> Outcome:
    """without: a ComfyUI runs that was started without it."""
    more = f"; so it does in {len(at) - 1} more" if len(at) > 1 else ""
    then = " The ComfyUI that runs was started without it; the next start counts." * without
    return Outcome(
        Verdict.WARN,
        f"ComfyUI {'does not start' if row.stops else 'is held back'} with {row.flag}",
        f"{row.flag} {row.says}. It stands in {_place(at[0])}{more}.{then}",
        subject=at[0].path,
        evidence={
            "flag": row.flag,
            "line": at[0].line,
            "kind": at[0].kind,
            "places": tuple(each.path for each in at[:_SHOWN]),
        },
        fixes=(Repair("release-flags", "config", "ask", f"take {row.flag} out"),),
    )


# --- the memory engine -----------------------------------------------------------------------


@check(
    "comfyui-memory-engine",
    family="comfyui",
    title="ComfyUI's memory engine is not one known to crash here",
    harm=Harm.STOPS,
    requires=("comfyui-missing",),
    follows=("comfyui-too-old",),
    reads="ComfyUI's version, the platform, the cards and the arguments, against a table of "
    "versions in which dynamic VRAM (its way of moving weights to the card and back) ended runs.",
    why="These end in driver errors or a killed process, which look like a broken card or too "
    "little memory.",
    by_hand="Update ComfyUI; until then start it with the argument named above.",
)
def comfyui_memory_engine(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    comfyui = here(facts, recipe)
    if comfyui is None:
        return ()
    title = "Whether its memory engine is sound here is not known"
    for fact in (comfyui.version, facts.system):
        if isinstance(fact, Unknown):
            return unknown(title, fact)
    version, system = known(comfyui.version), known(facts.system)
    mine = release(version)
    platform = "wsl" if system.wsl else system.os
    doubt: Unknown | None = None
    for row in recipe.comfyui.memory_engines:
        if row.platform not in ("", platform) or mine is None:
            continue
        if not Version(row.since) <= mine < Version(row.below) or not _started_so(row, comfyui):
            continue
        hit = _hits(row, facts)
        if isinstance(hit, Unknown):
            doubt = hit
        elif hit.value:
            return _engine(row, comfyui, version)
    if doubt is not None:
        return without_card(title, facts, doubt)
    return passed("No fault of its memory engine is known here")


def _started_so(row: MemoryEngine, comfyui: ComfyUI) -> bool:
    """Whether some way of starting it has what the row needs and nothing that avoids it."""
    ways = [each.flags for each in used(comfyui)] or [()]
    return any(
        _has(flags, row.needs) and not {flag.name for flag in flags} & set(row.avoid)
        for flags in ways
    )


def _has(flags: tuple[Flag, ...], wanted: str) -> bool:
    """Whether an argument is given, with the value that is named or with none at all."""
    name, _, value = wanted.partition(" ")
    return not name or any(
        flag.name == name and (not flag.value.real or value in flag.value.real.split())
        for flag in flags
    )


def _hits(row: MemoryEngine, facts: Facts) -> Fact[bool]:
    """Whether the cards are of the kind the row is about."""
    if row.min_gpus:
        if isinstance(facts.visible, Unknown):
            return facts.visible
        if len(facts.visible.value.order) < row.min_gpus:
            return Known(False)
    if row.max_vram_mib:
        total = _vram_mib(facts)
        if isinstance(total, Unknown):
            return total
        if total.value > row.max_vram_mib:
            return Known(False)
    if pair(row.min_capability) > (0, 0):
        found = card(facts)
        if isinstance(found, Unknown):
            return found
        return Known(found.value.capability >= pair(row.min_capability))
    return Known(True)


def _engine(row: MemoryEngine, comfyui: ComfyUI, version: str) -> Outcome:
    return Outcome(
        Verdict.WARN,
        f"ComfyUI {version} is known to end runs on machines like this one",
        f"With this version {row.says}.",
        subject=comfyui.root,
        evidence={"version": version, "avoid": row.avoid},
        fixes=(Repair("release-flags", "config", "ask", row.cure),),
    )
