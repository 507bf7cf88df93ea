"""What is fetched has room: every plan moves away first what stands in its place."""

from __future__ import annotations

import construct as c
import model_files
import pytest
import recorded
from judging import RECIPE
from model_facts import model_file, models

from klein_doctor.engine import judge
from klein_doctor.fixing import fixes
from klein_doctor.model import Facts, Known, known
from klein_doctor.modelfiles import ModelFile
from klein_doctor.plan import Wishes, make
from klein_doctor.registry import catalogue
from klein_doctor.steps import Plan, Step

THREE = ("flux-2-klein-4b-fp8", "qwen3-4b", "flux2-vae")
BASE = "flux-2-klein-4b-fp8.safetensors"


def plans(facts: Facts, wishes: Wishes | None = None) -> tuple[Plan, Plan]:
    return make(judge(facts, RECIPE, catalogue()), facts, RECIPE, fixes(), wishes)


def without_room(facts: Facts, plan: Plan) -> list[str]:
    """The files that are to be fetched to where something else stands by then."""
    found = known(facts.models)
    taken = {
        file.path.real
        for file in (found.files if found is not None else ())
        if file.verdict != "wanted"
    }
    lost = []
    for step in plan.steps:
        if step.fix in ("rename-asset", "quarantine-asset"):
            taken.discard(step.arguments["path"])
        if step.fix == "fetch-assets":
            lost += [path.real for path in step.paths if path.real in taken]
    return lost


def fetched(plan: Plan) -> list[Step]:
    return [step for step in plan.steps if step.fix == "fetch-assets"]


def hold(facts: Facts) -> None:
    found = judge(facts, RECIPE, catalogue())
    for wishes in (None, Wishes(("fetch-assets",)), Wishes(deny=("move",))):
        for plan in make(found, facts, RECIPE, fixes(), wishes):
            assert without_room(facts, plan) == []


@pytest.mark.parametrize("name", recorded.names())
def test_of_every_machine(name: str) -> None:
    hold(recorded.facts_of(name))


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("table", model_files.names())
def test_whatever_has_the_name_of_one_of_the_three(table: str, place: int) -> None:
    files = [model_file(name) for name in THREE]
    right = files[place]
    name = right.name.real
    files[place] = model_file(table, right.category, name)
    hold(having(*files))
    # The same with the right file in a folder where it is not looked for.
    hold(having(*files, model_file(THREE[place], "loras", name)))


@pytest.mark.parametrize("place", range(3))
def test_a_damaged_one_is_moved_aside(place: int) -> None:
    files = [model_file(name) for name in THREE]
    files[place] = model_file(THREE[place], cut=1000)
    facts = having(*files)
    plan, _ = plans(facts)
    assert [step.fix for step in plan.steps] == ["quarantine-asset", "fetch-assets"]
    hold(facts)


def test_what_stands_in_the_way_of_a_link_is_renamed_and_clears_nothing_by_that() -> None:
    vae = model_file(THREE[2], "checkpoints", "flux2-vae.safetensors")
    named = model_file("flux1-ae", "vae", "flux2-vae.safetensors")
    plan, _ = plans(having(*(model_file(name) for name in THREE[:2]), vae, named))
    rename, link = plan.steps
    assert (rename.fix, rename.arguments["path"]) == ("rename-asset", named.path.real)
    assert (link.fix, link.paths[0].real) == ("place-assets", named.path.real)
    assert (rename.clears, link.clears) == ((), ("asset-misplaced:1",))


def having(*files: ModelFile) -> Facts:
    return c.machine()._replace(models=Known(models(*files)))


def base_as_distilled(*others: str) -> Facts:
    base = model_file("flux-2-klein-base-4b-fp8", name=BASE)
    return having(base, *(model_file(name) for name in (*THREE[1:], *others)))


def test_the_base_is_renamed_to_what_it_is_and_the_distilled_one_fetched() -> None:
    plan, _ = plans(base_as_distilled())
    rename, fetch = plan.steps
    assert (rename.fix, fetch.fix) == ("rename-asset", "fetch-assets")
    assert rename.arguments["name"] == "flux-2-klein-base-4b-fp8.safetensors"
    assert rename.arguments["path"] == fetch.paths[0].real
    assert rename.clears == fetch.clears == ("base-for-distilled:1",)
    # It can be asked for alone; what cannot be done without it is left out, and said.
    plan, _ = plans(base_as_distilled(), Wishes(("rename-asset", "quarantine-asset")))
    assert [step.fix for step in plan.steps] == ["rename-asset"]
    plan, _ = plans(base_as_distilled(), Wishes(("fetch-assets",)))
    assert plan.steps == ()
    assert ("base-for-distilled:1", "rename-asset makes room for it, and stays out") in plan.left


def test_nothing_is_fetched_that_is_there_under_another_name() -> None:
    own = model_file(THREE[0], name="distilled.safetensors")
    facts = base_as_distilled()
    there = known(facts.models)
    assert there is not None
    plan, _ = plans(having(*there.files, own))
    assert [step.fix for step in plan.steps] == ["rename-asset"] and not fetched(plan)
