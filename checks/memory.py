"""Is there memory to run the model in, on the card and beside it, now?"""

from __future__ import annotations

from klein_doctor import plans
from klein_doctor.card import chosen_gpu
from klein_doctor.model import (
    Evidence,
    Facts,
    Harm,
    Known,
    Outcome,
    Repair,
    Unknown,
    Verdict,
    known,
)
from klein_doctor.outcomes import gib, passed, unknown, without_card
from klein_doctor.plans import Budget, Recommendation, need_mib
from klein_doctor.recipe import Recipe
from klein_doctor.recipe_memory import ROUTES
from klein_doctor.registry import check
from klein_doctor.routes import route_of

_MIB = 1 << 20


@check(
    "vram-too-small",
    family="memory",
    title="The card is large enough",
    harm=Harm.STOPS,
    requires=("gpu-not-found", "gpu-hidden"),
    reads="The card's whole memory from the driver, against every memory plan of both routes.",
    why="A card on which not even the leanest way of running the model fits cannot make a picture, "
    "whatever is closed or set.",
    by_hand="Compare the card's memory in nvidia-smi with docs/memory.md. Only another card helps.",
)
def vram_too_small(facts: Facts, recipe: Recipe) -> Outcome:
    found = plans.budget(facts, recipe)
    if isinstance(found, Unknown):
        return without_card("Whether the card is large enough is not known", facts, found)
    total, rules = found.value.total, recipe.memory
    least = min(
        need_mib(plan, rules)
        for route in ROUTES
        for plan in plans.usable_plans(facts, recipe, route)
    )
    if total >= least:
        return passed(f"The card has {total / 1024:.1f} GiB of memory", total_mib=total)
    return Outcome(
        Verdict.FAIL,
        f"The card's {total / 1024:.1f} GiB are too few for any way of running the model",
        f"The leanest way needs {least / 1024:.1f} GiB free on the card, and this one has less in "
        "all. No setting changes that.",
        evidence={"total_mib": total, "least_mib": least},
        fixes=(Repair("other-card", "system", "manual", "use a card with more memory"),),
    )


@check(
    "vram-busy",
    family="memory",
    title="Enough of the card's memory is free",
    harm=Harm.STOPS,
    requires=("gpu-not-found", "gpu-hidden", "vram-too-small"),
    reads="Free and used memory of the chosen card and who holds it, by the driver; ComfyUI's own "
    "share counts as free. Where the platform does not tell per program (WSL), only the sum.",
    why="What other programs hold decides which way of running the model fits: with too little "
    "free, generation ends with 'CUDA out of memory', or pieces are moved to and fro.",
    by_hand="nvidia-smi lists what holds memory. Close browsers, games and other image tools, or "
    "stop a second ComfyUI.",
)
def vram_busy(facts: Facts, recipe: Recipe) -> Outcome:
    title = "Whether enough of the card's memory is free is not known"
    found = plans.recommend(facts, recipe)
    if isinstance(found, Unknown):
        return without_card(title, facts, found)
    told = found.value
    gpu = chosen_gpu(facts)
    if not told.budget.measured and gpu is not None and isinstance(gpu.free_bytes, Unknown):
        if isinstance(facts.nvml, Known) and facts.nvml.value.stage == "assumed":
            return passed("On an empty card it fits; an assumed card has nothing on it")
        return unknown(title, gpu.free_bytes)
    if told.plan is None and told.lacks == "vram":
        if told.budget.own_unknown:
            return unknown(title, _OWN_SHARE)
        return _too_busy(facts, told, recipe)
    if told.plan is None:
        return passed(f"{told.budget.free / 1024:.1f} GiB of the card's memory are free")
    return _slower(told, recipe) or passed(
        f"{told.budget.free / 1024:.1f} GiB of the card's memory are free",
        free_mib=told.budget.free,
        plan=told.plan.id,
        needs_mib=need_mib(told.plan, recipe.memory),
        margin_mib=told.budget.free - need_mib(told.plan, recipe.memory),
        sure=told.plan.sure,
        measured_on=told.plan.measured_on,
    )


_OWN_SHARE = (
    "a ComfyUI is running, and the driver does not tell here how much of the card it holds itself; "
    "stop it and run the doctor again"
)


def _too_busy(facts: Facts, told: Recommendation, recipe: Recipe) -> Outcome:
    have, rules = told.budget, recipe.memory
    usable = plans.usable_plans(facts, recipe, told.route)
    least = min(need_mib(plan, rules) for plan in usable)
    detail = (
        f"{have.free / 1024:.1f} of {have.total / 1024:.1f} GiB are free; the leanest way on the "
        f"{told.route} route needs {least / 1024:.1f}. {_who(have)}"
    )
    if told.if_closed is not None:
        detail += " With these closed there is enough."
    elif have.total < least:
        detail += " The card is too small for this route; ComfyUI needs less."
    detail += _figures(told.route, recipe)
    return Outcome(
        Verdict.FAIL,
        f"Only {have.free / 1024:.1f} GiB of the card's memory are free",
        detail,
        evidence=_numbers(told, least),
        fixes=(Repair("free-vram", "system", "manual", _close(have)),),
    )


def _figures(route: str, recipe: Recipe) -> str:
    """The figure people know beside the measured one."""
    row = next((row for row in recipe.memory.figures if row.route == route), None)
    return f" Often said: {row.said}. Measured: {row.measured}." if row is not None else ""


def _slower(told: Recommendation, recipe: Recipe) -> Outcome | None:
    """A warning where other programs, more than a desktop, cost a faster way."""
    have, rules = told.budget, recipe.memory
    if not have.holders or have.free_if_closed - have.free < rules.desktop.normal_mib:
        return None
    if told.route == "comfyui":
        now = plans.speed_class(rules, have.free)
        then = plans.speed_class(rules, have.free_if_closed)
        if now == then or now < len(rules.speed_classes) - 1:
            return None
        gain = rules.speed_classes[then].says
    else:
        if told.if_closed is None or told.plan is None:
            return None
        if told.if_closed.warm_ms * 2 > told.plan.warm_ms:
            return None
        gain = told.if_closed.name
    return Outcome(
        Verdict.WARN,
        f"Other programs hold {(have.free_if_closed - have.free) / 1024:.1f} GiB of the card",
        f"{have.free / 1024:.1f} GiB are free, which is enough, but slower. {_who(have)} With "
        f"these closed: {gain}.",
        evidence=_numbers(told, 0),
        fixes=(Repair("free-vram", "system", "manual", _close(have)),),
    )


def _who(have: Budget) -> str:
    if have.holders:
        named = ", ".join(f"{h.name} ({h.mib / 1024:.1f} GiB)" for h in have.holders[:3])
        return f"Held by {named}."
    if not have.told:
        return "The driver does not tell here which program holds how much."
    return "No single program that could be closed holds it."


def _close(have: Budget) -> str:
    if have.holders:
        return "close " + ", ".join(holder.name for holder in have.holders[:3])
    return "close other programs that use the card (browser, games, other image tools)"


def _numbers(told: Recommendation, least: int) -> dict[str, Evidence]:
    have = told.budget
    return {
        "free_mib": have.free,
        "free_if_closed_mib": have.free_if_closed,
        "total_mib": have.total,
        "least_mib": least,
        "plan": told.plan.id if told.plan is not None else None,
        "plan_if_closed": told.if_closed.id if told.if_closed is not None else None,
    }


@check(
    "ram-too-small",
    family="memory",
    title="There is enough system memory",
    harm=Harm.STOPS,
    reads="Available RAM, the smallest limit a container or service sets on this process, on "
    "Windows what the system still promises (RAM and page file), and what each plan needs at its "
    "peak, the second picture included.",
    why="Parts of the model that are not on the card lie in RAM. Where it runs out, the system "
    "ends the program without a word, most often when the picture is decoded.",
    by_hand="Close other programs. In a container raise the memory limit; in WSL set memory= below "
    "[wsl2] in .wslconfig and run 'wsl --shutdown'; on Windows let it manage the page file.",
)
def ram_too_small(facts: Facts, recipe: Recipe) -> Outcome:
    if isinstance(facts.memory, Unknown):
        return unknown("Whether there is enough system memory is not known", facts.memory)
    found = plans.recommend(facts, recipe)
    usable = _usable(facts, found)
    needs = _needs(facts, recipe, found)
    if usable < needs:
        return _too_little(facts, usable, needs)
    return _dies_at_decode(facts, recipe, usable, found) or passed(
        f"{usable / 1024:.1f} GiB of system memory are usable", usable_mib=usable
    )


def _usable(facts: Facts, found: Known[Recommendation] | Unknown) -> int:
    """Usable RAM (MiB), with what a running ComfyUI would give back where that is known."""
    if isinstance(found, Known) and found.value.budget.ram is not None:
        return found.value.budget.ram
    return int(known(facts.memory).usable() // _MIB)


def _needs(facts: Facts, recipe: Recipe, found: Known[Recommendation] | Unknown) -> int:
    """RAM (MiB) of the leanest way that the card has room for; of any where that is not known."""
    every = plans.usable_plans(facts, recipe, route_of(facts, recipe))
    free = found.value.budget.free if isinstance(found, Known) else None
    on_card = plans.fitting(every, recipe.memory, free, None) if free is not None else []
    return min(plan.ram_mib for plan in on_card or every)


def _too_little(facts: Facts, usable: int, needs: int) -> Outcome:
    memory = known(facts.memory)
    bound, summary = _bound(facts)
    if usable + _swap(facts) >= needs:
        return passed(f"{usable / 1024:.1f} GiB of system memory are usable, with swap beyond")
    return Outcome(
        Verdict.FAIL,
        f"Only {usable / 1024:.1f} GiB of system memory can be used",
        f"The leanest way that suits this card needs {needs / 1024:.1f} GiB at its peak. {bound} "
        "Without more, the system ends the program in the middle, often without a message.",
        evidence={"usable_mib": usable, "needs_mib": needs, "total": memory.total},
        fixes=(Repair("more-ram", "system", "manual", summary),),
    )


def _swap(facts: Facts) -> int:
    """Swap (MiB) that adds to RAM: on disk, and not where a limit, not RAM, is what binds."""
    memory = known(facts.memory)
    limited = memory.usable() < memory.available
    return 0 if limited else int(memory.swap_free // _MIB)


def _bound(facts: Facts) -> tuple[str, str]:
    """What sets the bound, and what to do about it."""
    memory, system = known(facts.memory), known(facts.system)
    if memory.limit_free is not None and memory.usable() == memory.limit_free:
        return (
            f"A memory limit of {gib(memory.limit)} ({memory.limited_by}) is set on this process.",
            "raise the memory limit of the container or service",
        )
    if memory.commit_free is not None and memory.usable() == memory.commit_free:
        return (
            f"Windows promises programs {gib(memory.commit_limit)} in all (RAM and page file), of "
            f"which {gib(memory.commit_free)} are left; beyond it comes 'os error 1455'.",
            "let Windows manage the page file's size, on a disk with room",
        )
    if system is not None and system.wsl:
        return (
            f"WSL's virtual machine has {gib(memory.total)}; by default it gets half of the RAM.",
            "give WSL more: raise memory= below [wsl2] in %UserProfile%\\.wslconfig, then run "
            "'wsl --shutdown'",
        )
    return (
        f"{gib(memory.available)} of {gib(memory.total)} are available.",
        "close other programs, or use a machine with more memory",
    )


def _dies_at_decode(
    facts: Facts, recipe: Recipe, usable: int, found: Known[Recommendation] | Unknown
) -> Outcome | None:
    """On the diffusers route the usual way may die although another fits."""
    usual = next((plan for plan in recipe.memory.plans if plan.id == "model-offload"), None)
    if usual is None or isinstance(found, Unknown) or found.value.route != usual.route:
        return None
    plan, free = found.value.plan, found.value.budget.free
    if plan is None or usable >= usual.ram_mib:
        return None
    resident = 0 < plan.encode_mib == plan.denoise_mib == plan.decode_mib
    if resident or need_mib(usual, recipe.memory) > free:
        return None  # nobody would offload, or the card stops it before RAM does
    swapped = usable + _swap(facts) >= usual.ram_mib
    end = "live on swap" if swapped else "be ended at decode"
    return Outcome(
        Verdict.WARN,
        f"With {usable / 1024:.1f} GiB of RAM, enable_model_cpu_offload would {end}",
        f"It grows to {usual.ram_mib / 1024:.1f} GiB: the last jump comes when the picture is "
        f"decoded, a little more with the second one. This fits instead: {plan.name}, {plan.how}."
        + _figures(usual.route, recipe),
        evidence={"usable_mib": usable, "usual_mib": usual.ram_mib, "plan": plan.id},
        fixes=(Repair("other-plan", "config", "manual", f"use {plan.how} in place of it"),),
    )


@check(
    "swap-misleading",
    family="memory",
    title="The model does not live on swap",
    harm=Harm.SLOW,
    follows=("ram-too-small",),
    reads="Swap on disk and swap held compressed in RAM (zram), beside usable RAM.",
    why="Monitors add swap to memory. Weights do not compress, so zram gives back little of what "
    "it shows, and swap on disk makes minutes of seconds.",
    by_hand="'swapon --show' lists swap; type zram is RAM in disguise. More RAM, or a leaner way "
    "of running the model, helps.",
)
def swap_misleading(facts: Facts, recipe: Recipe) -> Outcome:
    if isinstance(facts.memory, Unknown):
        return unknown("Whether the model would live on swap is not known", facts.memory)
    memory, found = facts.memory.value, plans.recommend(facts, recipe)
    usable, needs = _usable(facts, found), _needs(facts, recipe, found)
    swap, zram = _swap(facts), memory.zram_free // _MIB
    if usable >= needs or usable + swap + zram < needs:
        return passed("RAM alone decides, not swap")
    kind = "swap in compressed RAM (zram), which is the same RAM" if zram > swap else "swap on disk"
    return Outcome(
        Verdict.WARN,
        "Only swap makes the model fit into memory",
        f"{usable / 1024:.1f} GiB of RAM are usable and {needs / 1024:.1f} are needed; the rest "
        f"would be {kind}. Expect minutes per picture, or an abrupt end.",
        evidence={"usable_mib": usable, "needs_mib": needs, "swap_mib": swap, "zram_mib": zram},
        fixes=(Repair("more-ram", "system", "manual", "close other programs, or add RAM"),),
    )
