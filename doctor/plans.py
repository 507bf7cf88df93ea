"""Which ways of running the model fit this machine now: pure functions of facts and rows.

The predictor (memory.toml, [[working]] and [[context]]) was fitted on one card; it was never seen
to say "fits" where memory ran out, and is too careful by up to half a GiB.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from packaging.version import Version

from klein_doctor.card import card, chosen_gpu
from klein_doctor.installation import Server
from klein_doctor.model import Fact, Facts, Gpu, GpuProcess, Known, Unknown, known
from klein_doctor.outcomes import release
from klein_doctor.recipe import Recipe, pair
from klein_doctor.recipe_memory import MemoryRules, Plan, Working
from klein_doctor.routes import route_of

MIB = 1 << 20
PIXELS = 1024
# The arguments that switch dynamic VRAM off (ComfyUI 0.33, comfy/cli_args.py).
_NO_DYNAMIC = ("--disable-dynamic-vram", "--highvram", "--gpu-only", "--novram", "--cpu")


class Holder(NamedTuple):
    """A program that holds memory of the card and could be closed."""

    name: str
    pid: int
    mib: int


class Budget(NamedTuple):
    """Memory in MiB: free on the card, free if the holders were closed, its total; usable RAM.

    measured: free is what the driver told; else it is an empty card's total. told: whether the
    platform tells which program holds how much. own_unknown: the share of the running ComfyUI is
    not told, so that free is the least it may be.
    """

    free: int
    free_if_closed: int
    total: int
    ram: int | None
    holders: tuple[Holder, ...]
    measured: bool
    told: bool
    own_unknown: bool


class Recommendation(NamedTuple):
    """The way of running the model that is named, None where none fits.

    if_closed: a faster one that would fit if the holders were closed. lacks: ``vram`` or ``ram``
    where none fits. reason: why this route, in one line.
    """

    route: str
    plan: Plan | None
    if_closed: Plan | None
    lacks: str
    budget: Budget
    reason: str


def need_mib(plan: Plan, rules: MemoryRules, pixels: int = PIXELS) -> int:
    """Free GPU memory (MiB) a plan needs for a square picture, before its process starts.

    Beyond the largest size in the table the working sets grow with the picture's area.
    """
    working = _working(rules, pixels)
    if min(plan.encode_mib, plan.denoise_mib, plan.decode_mib) < 0:
        base = _working(rules, PIXELS)
        grown = (working.denoise_mib - base.denoise_mib, working.decode_mib - base.decode_mib)
        # ComfyUI decodes in tiles where memory runs short.
        return plan.floor_mib + (0 if plan.route == "comfyui" else max(0, *grown))
    extra = rules.context.fp8_extra_mib if plan.fp8 else 0
    return rules.context.mib + max(
        plan.encode_mib + working.encode_mib + extra if plan.encode_mib else 0,
        plan.denoise_mib + working.denoise_mib + extra,
        plan.decode_mib + working.decode_mib,
    )


def budget(facts: Facts, recipe: Recipe) -> Fact[Budget]:
    """What the chosen card and this process may use.

    On the comfyui route what a running ComfyUI holds itself counts as free.
    """
    gpu = chosen_gpu(facts)
    if gpu is None:
        return Unknown("no card is chosen whose memory could be counted")
    if isinstance(gpu.total_bytes, Unknown):
        return gpu.total_bytes
    own: list[Server] = []
    if route_of(facts, recipe) == "comfyui":
        if isinstance(facts.servers, Unknown):
            return facts.servers  # whose memory is ComfyUI's own cannot be told
        own = [server for server in facts.servers.value if server.outcome == "ok"]
    total = gpu.total_bytes.value // MIB
    pids = {server.pid for server in own}
    processes: tuple[GpuProcess, ...] = known(gpu.processes, ())
    held = [p for p in processes if isinstance(p.used_bytes, Known)]
    free = total
    measured = isinstance(gpu.free_bytes, Known)
    if isinstance(gpu.free_bytes, Known):
        mine = sum(known(p.used_bytes, 0) for p in held if p.pid in pids)
        free = min(total, (gpu.free_bytes.value + mine) // MIB)
    fixed = recipe.memory.desktop.processes
    holders = tuple(
        Holder(p.name, p.pid, known(p.used_bytes, 0) // MIB)
        for p in sorted(held, key=lambda p: -known(p.used_bytes, 0))
        if p.pid not in pids and _base(p.name) not in fixed and known(p.used_bytes, 0) >= 64 * MIB
    )
    told = _told(facts, gpu)
    seen = {p.pid for p in held}
    return Known(
        Budget(
            free=free,
            free_if_closed=min(total, free + sum(holder.mib for holder in holders)),
            total=total,
            ram=_ram(facts, own),
            holders=holders,
            measured=measured,
            told=told,
            own_unknown=any(s.pid is None or (s.pid not in seen and not told) for s in own),
        )
    )


def usable_plans(facts: Facts, recipe: Recipe, route: str) -> list[Plan]:
    """The plans of a route that this card can run at all, the fastest first."""
    wanted = ("any", "fused" if _fused(facts, recipe) else "math")
    plans = [p for p in recipe.memory.plans if p.route == route and p.attention in wanted]
    if route == "comfyui":
        static = _static(facts, recipe)
        return [plan for plan in plans if plan.id.endswith("-static") is static]
    return sorted(plans, key=lambda plan: plan.warm_ms)


def fitting(
    plans: list[Plan], rules: MemoryRules, free_mib: int, ram_mib: int | None
) -> list[Plan]:
    """Those of the plans for which card and RAM have room; unknown RAM stands in no way."""
    return [
        plan
        for plan in plans
        if need_mib(plan, rules) <= free_mib and (ram_mib is None or plan.ram_mib <= ram_mib)
    ]


def recommend(facts: Facts, recipe: Recipe) -> Fact[Recommendation]:
    """The fastest plan that fits now, and what stands in the way of a better one."""
    route = route_of(facts, recipe)
    found = budget(facts, recipe)
    if isinstance(found, Unknown):
        return found
    have, rules = found.value, recipe.memory
    plans = usable_plans(facts, recipe, route)
    fit = fitting(plans, rules, have.free, have.ram)
    better = fitting(plans, rules, have.free_if_closed, have.ram)
    plan = fit[0] if fit else None
    if_closed = better[0] if better and better[0] is not plan else None
    lacks = ""
    if plan is None:
        by_card = fitting(plans, rules, have.free, None)
        lacks = "ram" if by_card else "vram"
    return Known(Recommendation(route, plan, if_closed, lacks, have, _reason(facts, route)))


def speed_class(rules: MemoryRules, free_mib: int) -> int:
    """The place in the table of how ComfyUI gets along; its length where memory is below all."""
    fits = (n for n, row in enumerate(rules.speed_classes) if free_mib >= row.free_mib)
    return next(fits, len(rules.speed_classes))


def plan_line(found: Fact[Recommendation], recipe: Recipe) -> str:
    """The recommendation in one line for a report, "" where there is none to make."""
    if isinstance(found, Unknown) or found.value.plan is None:
        return ""
    told, have, rules = found.value, found.value.budget, recipe.memory
    plan, free = found.value.plan, f"{have.free / 1024:.1f} GiB"
    room = f"{need_mib(plan, rules) / 1024:.1f} of {free}"
    text = f"{told.route} ({told.reason}): {plan.name}, {room}"
    if not have.measured:
        text += " of an empty card"
    if told.route == "comfyui":
        return f"{text}; {rules.speed_classes[speed_class(rules, have.free)].says}"
    return f"{text} on the card, {plan.ram_mib / 1024:.1f} GiB of RAM"


def _fused(facts: Facts, recipe: Recipe) -> bool:
    """Whether attention runs in one kernel: as a proof saw it, else as the card promises.

    Without one, attention keeps its whole table of scores and needs some 4 GiB more.
    """
    proof = known(facts.proof)
    if proof is not None and proof.attention and proof.device != "cpu":
        return bool(proof.attention != "math")
    found = card(facts)
    if isinstance(found, Unknown):
        return True
    return found.value.capability >= pair(recipe.memory.fused_attention.min_capability)


def _working(rules: MemoryRules, pixels: int) -> Working:
    row = next((row for row in rules.working if row.pixels >= pixels), None)
    if row is not None:
        return row
    last = rules.working[-1]
    area = (pixels / last.pixels) ** 2
    return last._replace(
        pixels=pixels,
        denoise_mib=math.ceil(last.denoise_mib * area),
        decode_mib=math.ceil(last.decode_mib * area),
    )


def _told(facts: Facts, gpu: Gpu) -> bool:
    """Whether the driver tells of every program here how much of the card it holds.

    Under WDDM it gives no sizes; in WSL and in containers other programs are not listed at all.
    """
    system = known(facts.system)
    if isinstance(gpu.processes, Unknown) or (
        system is not None and (system.wsl or system.container)
    ):
        return False
    return all(isinstance(p.used_bytes, Known) for p in gpu.processes.value)


def _ram(facts: Facts, own: list[Server]) -> int | None:
    """Usable RAM in MiB, with what a running ComfyUI would give back; None where unknown."""
    if isinstance(facts.memory, Unknown):
        return None
    memory = facts.memory.value
    most = memory.total if memory.limit is None else min(memory.total, memory.limit)
    usable = memory.usable()
    return max(usable, min(usable + sum(server.rss_bytes or 0 for server in own), most)) // MIB


def _reason(facts: Facts, route: str) -> str:
    asked = known(facts.route, "auto")
    if asked != "auto":
        return "as asked for"
    if route == "comfyui":
        return "installed here" if known(facts.comfyui) is not None else "the usual way"
    return "installed here, ComfyUI is not"


def _static(facts: Facts, recipe: Recipe) -> bool:
    """Whether ComfyUI runs without dynamic VRAM: told to, or of a version that leaves it off."""
    comfyui, system = known(facts.comfyui), known(facts.system)
    if comfyui is None:
        return False
    running = [each for each in comfyui.launchers if each.kind == "server"]
    flags = {flag.name for each in running for flag in each.flags}
    if flags & set(_NO_DYNAMIC):
        return True
    version = release(known(comfyui.version, ""))
    platform = "wsl" if system is not None and system.wsl else ""
    return version is not None and any(
        row.platform in ("", platform) and version < Version(row.below)
        for row in recipe.comfyui.static_vram
    )


def _base(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1].lower()
