"""Every plan of the diffusers route has a way, and the one that is chosen fits."""

from __future__ import annotations

from pathlib import Path

import around as a
import construct as c
import constructed
import pytest
from judging import RECIPE

from klein_doctor.generate.diffusers_ways import plan_for, way
from klein_doctor.model import Facts, Known, Unknown
from klein_doctor.plans import need_mib
from klein_doctor.recipe_diffusers import load_diffusers
from klein_doctor.rows import RECIPES, RecipeError

RULES = RECIPE.memory
PLANS = [plan.id for plan in RULES.plans if plan.route == "diffusers"]


def on(free_gib: float, ram_gib: int, facts: Facts | None = None, **card: object) -> Facts:
    """A machine with so much of its card and RAM free."""
    gpu = c.gpu(free_bytes=Known(int(free_gib * 2**30)), processes=Known(()), **card)
    facts = facts if facts is not None else constructed.diffusers()
    return facts._replace(nvml=Known(c.nvml(gpu)), memory=Known(a.memory(64, ram_gib)))


@pytest.mark.parametrize("plan", PLANS)
def test_every_plan_has_a_way(plan: str) -> None:
    how = way(plan, "cuda")
    compile("\n".join((how.imports, how.prepare, how.place)), plan, "exec")
    assert ('"cuda"' in how.place) and ("{" not in how.prepare + how.place)
    assert ("enable_flash_sdp(False)" in how.prepare) is plan.endswith("-math")
    assert ("float8_e4m3fn" in how.prepare) is plan.startswith("fp8-")


def test_streams_are_for_cards_alone() -> None:
    assert "use_stream=True" in way("group-offload-stream").place
    assert "use_stream=False" in way("group-offload-stream", "cpu").place
    lean = "low_cpu_mem_usage=True"
    assert lean in way("group-offload-stream-lean").place
    assert lean not in way("group-offload-stream").place


@pytest.mark.parametrize("free", [23.0, 15.5, 11.3, 10.5, 7.6, 6.0, 4.0, 3.0])
@pytest.mark.parametrize("ram", [2, 5, 13, 17, 30])
def test_what_is_chosen_fits_card_and_ram(free: float, ram: int) -> None:
    facts = on(free, ram, total_bytes=Known(24 << 30))
    found = plan_for(facts, RECIPE)
    if isinstance(found, Known):
        assert found.value.route == "diffusers"
        assert need_mib(found.value, RULES) <= free * 1024
        assert found.value.ram_mib <= ram * 1024
    else:
        assert "fits into the RAM" in found.reason or "most frugal" in found.reason


def test_the_route_of_the_machine_may_be_another() -> None:
    found = plan_for(on(11.3, 13, c.machine()), RECIPE)
    assert isinstance(found, Known) and found.value.id == "fp8-both-resident"


def test_where_nothing_fits_it_says_what_is_short() -> None:
    card = plan_for(on(2.0, 30), RECIPE)
    assert card == Unknown("2.0 GiB of the card are free, and the most frugal way takes 2.6 GiB")
    ram = plan_for(on(11.3, 1), RECIPE)
    assert isinstance(ram, Unknown) and "RAM" in ram.reason


def test_where_the_cards_free_memory_is_not_known_the_most_frugal_is_taken() -> None:
    facts = on(0, 30)
    gpu = c.gpu(free_bytes=Unknown("not read"), processes=Known(()))
    found = plan_for(facts._replace(nvml=Known(c.nvml(gpu))), RECIPE)
    assert isinstance(found, Known) and found.value.id == "group-offload-stream"
    assert isinstance(plan_for(facts._replace(nvml=Unknown("x")), RECIPE), Unknown)


def test_limits_that_are_none_are_refused(tmp_path: Path) -> None:
    text = (RECIPES / "diffusers.toml").read_text("utf-8")
    (tmp_path / "diffusers.toml").write_text(text.replace("seconds = 300", "seconds = 0"), "utf-8")
    with pytest.raises(RecipeError, match=r"diffusers\.toml"):
        load_diffusers(tmp_path)
    assert {"start", "load", "denoise", "save"} <= load_diffusers().limits.keys()
