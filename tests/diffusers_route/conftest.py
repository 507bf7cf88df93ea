"""A miniature checkout, the stand-ins of the target's libraries, and runs of the route."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from listener import Listener

from klein_doctor.generate.diffusers_run import run
from klein_doctor.generate.job import Attempt, Job
from klein_doctor.recipe import load
from klein_doctor.recipe_diffusers import load_diffusers
from klein_doctor.rehearse.miniature import write_checkout

STUB = Path(__file__).parent / "stub"
PLANS = {plan.id: plan for plan in load().memory.plans if plan.route == "diffusers"}


Route = Callable[..., Attempt]


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature that no test changes."""
    folder = tmp_path_factory.mktemp("miniature") / "klein"
    write_checkout(folder)
    return folder


@pytest.fixture(scope="session")
def usual(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> tuple[Attempt, Listener]:
    """One run that went well: the real diffusers, everything in one place, seeds 1, 2, 1."""
    if find_spec("diffusers") is None:
        pytest.skip("diffusers is missing")
    listener = Listener()
    return going(tmp_path_factory.mktemp("usual"), checkout, listener), listener


@pytest.fixture
def route(tmp_path: Path, checkout: Path) -> Route:
    """Run the route on the CPU; see going()."""

    def go(watch: Listener | None = None, *, folder: Path = checkout, **asked: Any) -> Attempt:
        out = tmp_path / "run"
        out.mkdir()
        return going(out, folder, watch or Listener(), **asked)

    return go


def going(
    out: Path,
    folder: Path,
    watch: Listener,
    *,
    seeds: tuple[int, ...] = (1, 2, 1),
    plan: str = "resident",
    fault: str = "",
    limit_s: float = 0,
) -> Attempt:
    """A run of the route on the CPU. fault: with the stand-ins, STAGE=FAULT."""
    env = {**os.environ, "HF_TOKEN": "hf_secret"}
    if fault:
        env |= {"PYTHONPATH": str(STUB), "KLEIN_FAULT": fault}
    rules = load_diffusers()
    if limit_s:
        rules = rules._replace(limits=dict.fromkeys(rules.limits, limit_s))
    job = Job("a red cube", seeds, 128, 128, 4, "1.0", out, sys.executable, "cpu", "")
    return run(job, watch, folder=folder, plan=PLANS[plan], env=env, rules=rules)
