"""The memory plans against every attempt that was measured, and what is recommended."""

from __future__ import annotations

from pathlib import Path

import around as a
import construct as c
import constructed
import pytest
from judging import RECIPE

from klein_doctor import plans
from klein_doctor.installation import Server
from klein_doctor.model import Facts, GpuProcess, Known, Unknown
from klein_doctor.plans import Budget, Recommendation
from klein_doctor.recipe_memory import Plan, load_memory
from klein_doctor.routes import route_of
from klein_doctor.rows import RECIPES, RecipeError

RULES = RECIPE.memory
PLANS = {plan.id: plan for plan in RULES.plans}
PLENTY = 1 << 20
# GiB free before the process: does it fit? M measured, D derived; * an OOM was seen there.
ATTEMPTS = {
    "resident": {7.6: False, 10.5: False, 11.3: False, 15.5: False, 17.3: False, 23.5: True},
    "model-offload": {7.6: False, 10.5: True, 11.3: True, 15.5: True},
    "model-offload-math": {7.6: False, 10.5: False, 11.3: False, 15.5: True},
    "fp8-transformer-resident": {7.6: False, 10.5: False, 11.3: False, 13.81: False, 15.5: True},
    "fp8-transformer-offload": {7.6: False, 10.5: True, 11.3: True, 15.5: True},
    "fp8-both-resident": {7.6: False, 10.5: False, 10.75: False, 11.3: True, 15.5: True},
    "fp8-both-offload": {5.2: False, 7.6: True, 10.5: True, 11.3: True, 15.5: True},
    "encoder-on-cpu": {7.6: False, 9.7: False, 10.5: True, 11.3: True, 15.5: True},
    "fp8-both-offload-math": {7.6: False, 10.5: True, 11.3: True, 15.5: True},
    "sequential-offload-math": {2.5: False, 7.6: True, 10.5: True, 11.3: True, 15.5: True},
    "sequential-offload": {2.5: False, 7.6: True, 10.5: True, 11.3: True, 15.5: True},
    "group-offload-stream": {2.6: True, 7.6: True, 10.5: True, 11.3: True, 15.5: True},
    "group-offload-stream-lean": {7.6: True, 10.5: True, 11.3: True, 15.5: True},
    "comfyui-fp8": {3.0: True, 4.5: True, 7.6: True, 10.5: True, 11.3: True},
    "comfyui-fp8-static": {4.5: True, 6.0: True, 8.5: True, 10.5: True, 14.9: True},
}


@pytest.mark.parametrize(
    ("name", "gib", "fits"),
    [(name, gib, fits) for name, found in ATTEMPTS.items() for gib, fits in found.items()],
)
def test_every_measured_attempt(name: str, gib: float, fits: bool) -> None:
    plan = PLANS[name]
    assert (plan in plans.fitting([plan], RULES, round(gib * 1024), PLENTY)) is fits


def test_every_plan_is_measured_and_sourced() -> None:
    assert set(ATTEMPTS) == set(PLANS)
    for plan in RULES.plans:
        assert plan.measured_on.startswith("H100") and plan.sure in ("measured", "derived")
        assert plans.need_mib(plan, RULES) > plan.died_mib
        # Too careful by at most half a GiB where the least that lived is known.
        if plan.floor_mib:
            assert plans.need_mib(plan, RULES) <= plan.floor_mib + 512


def test_larger_pictures_need_more() -> None:
    offload = PLANS["model-offload"]
    needs = [plans.need_mib(offload, RULES, side) for side in (512, 1024, 1536, 2048)]
    assert needs == sorted(needs) and needs[-1] / 1024 == pytest.approx(10.4, abs=0.5)
    # Beyond the table, and for ways the predictor does not cover, more is asked for, never less.
    assert plans.need_mib(offload, RULES, 4096) > 4 * 9759
    for plan in RULES.plans:
        if plan.route == "diffusers":
            assert plans.need_mib(plan, RULES, 2048) > plans.need_mib(plan, RULES), plan.id


def test_a_table_of_sizes_out_of_order_is_refused(tmp_path: Path) -> None:
    text = (RECIPES / "memory.toml").read_text("utf-8")
    (tmp_path / "memory.toml").write_text(text.replace("pixels = 768", "pixels = 4096"), "utf-8")
    with pytest.raises(RecipeError, match="do not rise"):
        load_memory(tmp_path)


def on(free_gib: float, facts: Facts | None = None, **card: object) -> Facts:
    """A machine with so much of its card free."""
    facts = facts if facts is not None else constructed.diffusers()
    told = {"free_bytes": Known(int(free_gib * 2**30)), "processes": Known(()), **card}
    gpu = c.gpu(**told)
    return facts._replace(nvml=Known(c.nvml(gpu)))


def recommended(facts: Facts) -> Recommendation:
    found = plans.recommend(facts, RECIPE)
    assert isinstance(found, Known)
    return found.value


def named(facts: Facts) -> str | None:
    plan: Plan | None = recommended(facts).plan
    return plan.id if plan is not None else None


@pytest.mark.parametrize(
    ("free", "ram", "plan"),
    [
        (11.3, 13, "fp8-both-resident"),
        (10.5, 13, "encoder-on-cpu"),
        (10.5, 30, "group-offload-stream"),
        (7.6, 30, "group-offload-stream"),
        (7.6, 13, "group-offload-stream-lean"),
        (6.0, 13, "sequential-offload"),
        (2.5, 13, None),
    ],
)
def test_the_fastest_that_fits_card_and_ram(free: float, ram: int, plan: str | None) -> None:
    memory = Known(a.memory(64, ram))
    assert named(on(free, constructed.diffusers(memory=memory))) == plan


def test_a_card_without_fused_attention_needs_more() -> None:
    turing = {"compute_capability": Known((7, 5)), "total_bytes": Known(16 << 30)}
    assert named(on(6.0, **turing)) is None
    assert named(on(11.0, **turing)) == "sequential-offload-math"
    fits = plans.fitting(plans.usable_plans(on(11.0, **turing), RECIPE, "diffusers"), RULES,
                         11 << 10, PLENTY)  # fmt: skip
    assert "model-offload-math" not in [plan.id for plan in fits]
    assert all(plan.attention == "math" for plan in fits)


def test_comfyui_adapts_to_what_is_free() -> None:
    says = {
        free: plans.plan_line(plans.recommend(on(free, c.machine()), RECIPE), RECIPE)
        for free in (3.0, 10.6)
    }
    assert "comes in pieces" in says[3.0] or "come in pieces" in says[3.0]
    assert "fits whole" in says[10.6] and says[10.6].startswith("comfyui (installed here)")
    assert recommended(on(2.9, c.machine())).lacks == "vram"


@pytest.mark.parametrize(
    ("version", "wsl", "flags", "plan"),
    [
        ("0.33.0", 0, (), "comfyui-fp8"),
        ("0.33.0", 2, (), "comfyui-fp8"),
        ("0.32.0", 2, (), "comfyui-fp8-static"),
        ("0.15.1", 0, (), "comfyui-fp8-static"),
        ("0.33.0", 0, ("--disable-dynamic-vram",), "comfyui-fp8-static"),
    ],
)
def test_where_dynamic_vram_is_off(
    version: str, wsl: int, flags: tuple[str, ...], plan: str
) -> None:
    line = a.launcher("server", "~/ComfyUI", *(a.flag(name) for name in flags))
    facts = c.machine()._replace(
        system=Known(c.system(wsl=wsl)),
        comfyui=Known(a.comfyui(version=Known(version), launchers=(line,))),
    )
    assert named(facts) == plan


def test_what_comfyui_itself_holds_counts_as_free() -> None:
    own = (GpuProcess(5120, "python", Known(6 << 30)),)
    facts = on(2.0, c.machine(), processes=Known(own))
    assert named(facts) is None
    running = facts._replace(servers=Known((a.server(rss_bytes=4 << 30),)))
    told = recommended(running)
    assert told.plan is not None and told.budget.free == 8 << 10
    assert told.budget.ram == 28 << 10
    limited = a.memory(64, 50, limit=6 << 30, limit_free=3 << 30, limited_by="cgroup v2")
    assert recommended(running._replace(memory=Known(limited))).budget.ram == 6 << 10


def test_for_diffusers_a_running_comfyui_is_one_more_to_close() -> None:
    own = (GpuProcess(5120, "python", Known(9 << 30)),)
    facts = on(1.0, processes=Known(own))._replace(servers=Known((a.server(),)))
    told = recommended(facts)
    assert told.plan is None and told.if_closed is not None
    assert [holder.pid for holder in told.budget.holders] == [5120]
    assert isinstance(plans.recommend(facts._replace(servers=Unknown("x")), RECIPE), Known)


@pytest.mark.parametrize(
    ("around", "processes", "server", "unknown"),
    [
        ({}, (), a.server(), False),  # it holds nothing on the card
        ({"wsl": 2}, (), a.server(), True),
        ({"container": "docker"}, (), a.server(), True),
        ({"os": "windows"}, (GpuProcess(5120, "python", Unknown("x")),), a.server(), True),
        ({}, (GpuProcess(5120, "python", Known(1 << 30)),), a.server(pid=None), True),
        ({"wsl": 2}, (), a.server(outcome="other"), False),
    ],
)
def test_where_comfyuis_own_share_is_not_told(
    around: dict[str, object],
    processes: tuple[GpuProcess, ...],
    server: Server,
    unknown: bool,
) -> None:
    facts = on(8.0, c.machine(), processes=Known(processes))
    facts = facts._replace(system=Known(c.system(**around)), servers=Known((server,)))
    assert recommended(facts).budget.own_unknown is unknown


def test_the_desktop_is_not_among_those_to_close() -> None:
    told = plans.budget(c.machine(), RECIPE)
    assert isinstance(told, Known)
    have: Budget = told.value
    assert [holder.name for holder in have.holders] == ["firefox"]
    assert have.free_if_closed == have.free + 391


def test_what_is_not_known_stays_unknown() -> None:
    gone = Unknown("not read")
    assert plans.recommend(c.machine()._replace(nvml=gone), RECIPE) == Unknown(
        "no card is chosen whose memory could be counted"
    )
    assert plans.plan_line(gone, RECIPE) == ""
    assumed = on(1, c.machine(), free_bytes=gone)
    assert recommended(assumed).budget.measured is False
    assert "of an empty card" in plans.plan_line(plans.recommend(assumed, RECIPE), RECIPE)
    assert recommended(c.machine()._replace(memory=gone)).plan is not None


@pytest.mark.parametrize(
    ("facts", "route"),
    [
        (c.machine(), "comfyui"),
        (c.machine()._replace(route=Known("diffusers")), "diffusers"),
        (constructed.diffusers(), "diffusers"),
        (constructed.diffusers()._replace(packages=Unknown("x")), "comfyui"),
        (c.machine()._replace(route=Unknown("x"), comfyui=Unknown("x")), "comfyui"),
    ],
)
def test_the_route(facts: Facts, route: str) -> None:
    assert route_of(facts, RECIPE) == route
