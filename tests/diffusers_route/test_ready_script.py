"""The script for the user: for every plan, and run as it stands on the miniature."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from klein_doctor.generate.diffusers_ways import way
from klein_doctor.generate.job import Attempt
from klein_doctor.generate.ready_script import NAME, Wanted, ready_script, write_script
from klein_doctor.recipe import load

PLANS = [plan for plan in load().memory.plans if plan.route == "diffusers"]
BY_ID = {plan.id: plan for plan in PLANS}
WANTED = Wanted(Path("/models/klein"), "0.42.1", 'a "red"\ncube', 42, 1024, 1024, 4, "1.0")


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.id)
def test_every_plan_has_a_script_with_its_own_lines(plan: object) -> None:
    assert plan in PLANS
    text = ready_script(plan, WANTED)  # type: ignore[arg-type]
    ast.parse(text)
    how = way(plan.id)  # type: ignore[attr-defined]
    assert how.prepare in text and how.place in text and how.imports in text
    assert "num_inference_steps=4" in text and "guidance_scale=1.0" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_word_for_the_type_is_this_diffusers_own() -> None:
    for version, word in (("0.37.0", "torch_dtype="), ("0.40.0", " dtype="), ("", "torch_dtype=")):
        text = ready_script(BY_ID["resident"], WANTED._replace(diffusers=version))
        assert word in text


@pytest.mark.parametrize("name", ["model-offload", "encoder-on-cpu"])
def test_a_script_makes_the_picture_of_the_test_generation(
    name: str, checkout: Path, usual: tuple[Attempt, object], tmp_path: Path
) -> None:
    import diffusers

    wanted = WANTED._replace(
        folder=checkout,
        diffusers=diffusers.__version__,
        prompt="a red cube",
        seed=1,
        width=128,
        height=128,
    )
    path = tmp_path / NAME
    write_script(path, BY_ID[name], wanted)
    assert ready_script(BY_ID[name], wanted) == path.read_text("utf-8")
    path.write_text(ready_script(BY_ID[name], wanted, device="cpu"), "utf-8")
    done = subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "klein-1.png") as own, Image.open(usual[0].made[0].path) as proven:
        assert own.tobytes() == proven.tobytes()
    assert "deprecated" not in done.stderr
