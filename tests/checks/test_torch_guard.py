"""torch-unguarded: where it speaks, where it is silent, and what it proposes."""

from __future__ import annotations

import re

import around
import pytest
from construct import CU126, guard, machine
from judging import PASS, UNKNOWN, WARN, alone, commands, judge_one, silent

from klein_doctor.installation import CustomNodes, Guard, Pin
from klein_doctor.model import Facts, Known, Private, Unknown, known

NAME = "torch-unguarded"
plain = Private.plain


def pin(wants: str = "==2.14.1+cu130", name: str = "torch", *, own: bool = True) -> Pin:
    return Pin(name, wants, plain("~/ComfyUI/.venv/klein-doctor-constraints.txt"), own)


def guarded(found: Guard | None, facts: Facts | None = None) -> Facts:
    return (facts or machine())._replace(guard=Known(found))


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (guard(), "pip has no constraint for torch .* lacks it"),
        (guard(listed=("torch",)), "alone has it"),
        (guard(pip=(pin(name="torchvision"),)), "pip has no constraint"),
        (guard(pip=(pin("==2.13.0+cu130"),)), "^The doctor's constraint names another torch"),
        (guard(pip=(pin(),), manager_uv=True), "set to install with uv"),
        (guard(manager=None), "in this environment.$"),
    ],
)
def test_what_is_open_is_told(found: Guard, says: str) -> None:
    outcome = judge_one(NAME, guarded(found))
    assert outcome.verdict is WARN
    assert re.search(says, outcome.detail), outcome.detail
    assert [(r.id, r.grade) for r in outcome.fixes] == [("guard-torch", "ask")]
    assert commands(outcome) == ["klein-doctor --fix --only guard-torch"]


@pytest.mark.parametrize(
    "found",
    [
        guard(pip=(pin(),)),
        guard(pip=(pin("==2.14.1"),)),
        guard(pip=(pin("==2.14.*", own=False),)),
        guard(pip=(pin("@", own=False),)),
        guard(pip=(pin(),), manager_uv=True, listed=("torch",)),
        guard(pip=(pin(),), uv=(pin(),), manager_uv=True),
    ],
)
def test_what_is_kept_passes(found: Guard) -> None:
    assert alone(NAME, guarded(found)) is PASS


def test_a_constraint_that_asks_for_another_is_the_owners_to_correct() -> None:
    outcome = judge_one(NAME, guarded(guard(pip=(pin("==2.13.0", own=False),))))
    assert outcome.verdict is WARN and "torch==2.13.0" in outcome.detail
    assert [r.grade for r in outcome.fixes] == ["manual"]
    assert "correct or remove that line" in outcome.fixes[0].summary


def test_constraints_that_were_not_read_leave_it_open() -> None:
    assert alone(NAME, guarded(guard(unread=1))) is UNKNOWN
    assert alone(NAME, guarded(guard(unread=1, pip=(pin(),)))) is PASS
    assert alone(NAME, machine()._replace(guard=Unknown("the probe 'guard' failed"))) is UNKNOWN


def _without_nodes(facts: Facts) -> Facts:
    nodes = Known(CustomNodes(0, 0, (), ()))
    return facts._replace(comfyui=Known(around.comfyui(custom_nodes=nodes)))


def _managed(facts: Facts) -> Facts:
    there = known(facts.surroundings)._replace(managed=plain("/usr/lib/EXTERNALLY-MANAGED"))
    return facts._replace(surroundings=Known(there))


def _of_the_system(facts: Facts) -> Facts:
    python = known(facts.interpreter)._replace(kind="system", prefix=plain("/usr"))
    return facts._replace(interpreter=Known(python))


def test_silent_where_it_does_not_matter() -> None:
    assert silent(NAME, machine())  # an older report
    assert silent(NAME, guarded(guard(manager=None), _without_nodes(machine())))
    assert not silent(NAME, guarded(guard(), _without_nodes(machine())))
    assert silent(NAME, guarded(guard(), _managed(machine())))
    assert silent(NAME, guarded(guard(), _of_the_system(machine())))
    # Nothing is kept that does not work.
    for broken in (machine("2.6.0+cu126", "0.21.0+cu126", "12.6", CU126), machine(vision="0.25.0")):
        assert silent(NAME, guarded(guard(), broken))


def test_for_uv_the_commands_are_exact() -> None:
    python = known(machine().interpreter)._replace(kind="uv venv", has_pip=False, has_uv=True)
    facts = machine()._replace(interpreter=Known(python))
    outcome = judge_one(NAME, guarded(guard(), facts))
    assert outcome.verdict is WARN and "UV_CONSTRAINT" in outcome.detail
    assert [r.grade for r in outcome.fixes] == ["manual"]
    first, second = commands(outcome)
    assert first.endswith(
        "~/ComfyUI/.venv/klein-doctor-constraints.txt torch==2.14.1+cu130 torchvision==0.29.1+cu130"
    )
    assert second == "export UV_CONSTRAINT=~/ComfyUI/.venv/klein-doctor-constraints.txt"
    for found in (guard(uv=(pin(),)), guard(listed=("torch",))):
        assert alone(NAME, guarded(found, facts)) is PASS
