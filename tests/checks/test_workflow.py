"""Saved workflows against files and settings, with literal facts."""

from __future__ import annotations

from pathlib import Path

import construct as c
import pytest
from judging import PASS, RECIPE, UNKNOWN, WARN, alone, judge_one, silent

from klein_doctor.checks.workflow import judge_workflow, uses_klein, workflow_mismatch
from klein_doctor.model import Facts, Known, Outcome, Private, Unknown
from klein_doctor.modelfiles import Workflow, WorkflowFile
from klein_doctor.recipe_workflow import load_workflow
from klein_doctor.rows import RECIPES, RecipeError

plain = Private.plain
NAME = "workflow-mismatch"
FP8 = "flux-2-klein-4b-fp8.safetensors"
BASE = "flux-2-klein-base-4b.safetensors"


def file(name: str = FP8, category: str = "diffusion_models", **changes: object) -> WorkflowFile:
    made = WorkflowFile("UNETLoader #70", category, plain(name), True, True, "", "")
    return made._replace(**changes)


def workflow(*files: WorkflowFile, **changes: object) -> Workflow:
    made = Workflow(plain("~/klein.json"), "ui", files or (file(),), ("flux2",), (4,), (10,))
    return made._replace(**changes)


def machine(*found: Workflow) -> Facts:
    return c.machine()._replace(workflows=Known(found))


def judged(item: Workflow) -> Outcome:
    outcome = judge_workflow(item, {"diffusion_models": FP8})
    assert bool(outcome.fixes) == (outcome.verdict is WARN)
    assert "!" not in outcome.title + outcome.detail
    return outcome


def test_without_workflows_there_is_nothing_to_say() -> None:
    assert silent(NAME, machine())
    assert silent(NAME, machine(workflow())._replace(comfyui=Known(None)))
    assert silent(NAME, machine(workflow())._replace(route=Known("diffusers")))


@pytest.mark.parametrize("fact", ["workflows", "comfyui"])
def test_what_was_not_read_is_not_known(fact: str) -> None:
    facts = machine(workflow())._replace(**{fact: Unknown("not read")})
    assert alone(NAME, facts) is UNKNOWN


def test_every_workflow_gets_a_verdict_of_its_own() -> None:
    bad = workflow(steps=(30,))
    outcomes = workflow_mismatch(machine(workflow(), bad), RECIPE)
    assert [each.verdict for each in outcomes] == [PASS, WARN]
    assert judge_one(NAME, machine(bad)).subject == bad.path


def test_a_workflow_without_klein_is_left_alone() -> None:
    dev = workflow(file("flux2_dev_fp8mixed.safetensors"), steps=(20,))
    assert not uses_klein(dev)
    assert not uses_klein(workflow(file(active=False)))
    assert not uses_klein(workflow(file("flux3-klein.safetensors")))
    assert uses_klein(workflow(file("mine.safetensors", family="flux2-klein-4b")))
    assert not uses_klein(workflow(file("klein.safetensors", family="z-image")))
    assert silent(NAME, machine(dev))


def test_a_missing_file_is_named_with_its_node_and_what_is_here() -> None:
    outcome = judged(workflow(file("flux-2-klein-4b.safetensors", found=False)))
    assert outcome.verdict is WARN
    assert "flux-2-klein-4b.safetensors in UNETLoader #70" in outcome.detail
    assert f"(here as Klein 4B transformer: {FP8})" in outcome.detail
    other = file("x.vae", "vae", found=False, node="VAELoader #9")
    assert "x.vae in VAELoader #9." in judged(workflow(file(), other)).detail
    many = tuple(file(f"{n}-klein", found=False) for n in range(7))
    assert "; and 3 more" in judged(workflow(*many)).detail


def test_other_weights_want_other_settings() -> None:
    absent = workflow(file(BASE, found=False), steps=(20,), cfg_tenths=(50,))
    assert judged(absent).detail.endswith("With distilled weights set 4 steps and cfg 1, too.")
    assert "too." not in judge_workflow(absent, {"diffusion_models": "klein-base.gguf"}).detail
    assert "too." not in judge_workflow(absent, {}).detail


def test_what_is_here_is_taken_from_the_files_found() -> None:
    outcome = judge_one(NAME, machine(workflow(file("my-klein.safetensors", found=False))))
    assert f"here as Klein 4B transformer: {FP8}" in outcome.detail
    facts = machine(workflow(file("my-klein.safetensors", found=False)))
    outcome = judge_one(NAME, facts._replace(models=Unknown("not read")))
    assert outcome.verdict is WARN and "here as" not in outcome.detail


def test_an_inactive_loader_may_want_what_it_likes() -> None:
    assert judged(workflow(file(), file(BASE, found=False, active=False))).verdict is PASS


def test_the_encoder_type_is_told_with_the_error_it_ends_in() -> None:
    outcome = judged(workflow(encoder_types=("flux2", "lumina2")))
    assert "as lumina2 instead of flux2" in outcome.title
    assert "(512x2560 and 7680x3072)" in outcome.detail


@pytest.mark.parametrize(
    ("name", "steps", "cfg", "verdict"),
    [
        (FP8, (4,), (10,), PASS),
        (FP8, (8,), (10,), PASS),
        (FP8, (), (), PASS),
        (FP8, (12,), (10,), PASS),
        (FP8, (13,), (10,), WARN),
        (FP8, (4,), (50,), WARN),
        (FP8, (20,), (50,), WARN),
        (BASE, (20,), (50,), PASS),
        (BASE, (50,), (40,), PASS),
        (BASE, (4,), (50,), WARN),
        (BASE, (20,), (10,), WARN),
    ],
)
def test_settings_go_with_the_weights(
    name: str, steps: tuple[int, ...], cfg: tuple[int, ...], verdict: object
) -> None:
    assert judged(workflow(file(name), steps=steps, cfg_tenths=cfg)).verdict is verdict


def test_the_settings_are_told() -> None:
    outcome = judged(workflow(steps=(20,), cfg_tenths=(50,)))
    assert outcome.title.endswith("runs distilled weights with the settings of the base ones")
    assert "It has 20 steps and cfg 5;" in outcome.detail
    assert "Set 4 steps and cfg 1, or load the base weights." in outcome.detail


def test_the_content_tells_more_than_the_name() -> None:
    base = file(FP8, family="flux2-klein-4b", variant="base")
    assert judged(workflow(base)).verdict is WARN
    unnamed = file("mine.safetensors", family="flux2-klein-4b")
    assert judged(workflow(unnamed, steps=(30,))).verdict is PASS


def test_settings_of_two_kinds_of_weights_are_not_told_apart() -> None:
    both = workflow(file(), file(BASE), steps=(4, 20), cfg_tenths=(10, 50))
    assert judged(both).verdict is PASS


def test_the_template_with_its_distilled_part_bypassed() -> None:
    item = workflow(file(BASE), file(active=False), steps=(20,), cfg_tenths=(50,))
    outcome = judged(item)
    assert outcome.verdict is WARN and "bypassed" in outcome.title
    assert "Ctrl+B" in outcome.detail and "(20 steps)" in outcome.detail
    turned = workflow(file(), file(BASE, active=False))
    assert judged(turned).verdict is PASS


def test_all_troubles_stand_in_one_finding() -> None:
    missing = file("flux-2-klein-4b.safetensors", found=False)
    outcome = judged(workflow(missing, encoder_types=("sd3",), steps=(20,)))
    for word in ("type sd3", "Not found under", "It has 20 steps"):
        assert word in outcome.detail


def test_the_rows_say_where_they_come_from() -> None:
    rows = load_workflow()
    assert rows["distilled"][1:3] == (4, 10)
    assert (rows["base"].steps, rows["base"].cfg_tenths) == (20, 50)
    assert all(row.source and row.as_of for row in rows.values())


def test_both_variants_are_needed(tmp_path: Path) -> None:
    folder = tmp_path
    text = (RECIPES / "workflow.toml").read_text("utf-8")
    (folder / "workflow.toml").write_text(text.replace('variant = "base"', 'variant = "x"'))
    with pytest.raises(RecipeError, match="base and distilled"):
        load_workflow(folder)
