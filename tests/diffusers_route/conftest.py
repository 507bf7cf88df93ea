"""A miniature checkout, the stand-ins of the target's libraries, and runs of the route."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from listener import Listener

from klein_doctor.generate.diffusers_run import run
from klein_doctor.generate.job import Attempt, Job
from klein_doctor.recipe import load
from klein_doctor.recipe_diffusers import load_diffusers
from klein_doctor.recipe_memory import Plan
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


@pytest.fixture
def plan() -> Plan:
    return PLANS["resident"]


@pytest.fixture
def route(tmp_path: Path, checkout: Path, plan: Plan) -> Route:
    """Run the route on the CPU: (watch, seeds, folder, plan, fault, limit) -> Attempt."""

    def go(
        watch: Listener | None = None,
        *,
        seeds: tuple[int, ...] = (1, 2, 1),
        folder: Path = checkout,
        plan: Plan = plan,
        fault: str = "",
        limit_s: float = 0,
    ) -> Attempt:
        out = tmp_path / "run"
        out.mkdir(exist_ok=True)
        env = {**os.environ, "HF_TOKEN": "hf_secret"}
        if fault:
            env |= {"PYTHONPATH": str(STUB), "KLEIN_FAULT": fault}
        rules = load_diffusers()
        if limit_s:
            rules = rules._replace(limits=dict.fromkeys(rules.limits, limit_s))
        job = Job("a red cube", seeds, 128, 128, 4, "1.0", out, sys.executable, "cpu", "")
        watch = watch or Listener()
        return run(job, watch, folder=folder, plan=plan, env=env, rules=rules)

    return go
