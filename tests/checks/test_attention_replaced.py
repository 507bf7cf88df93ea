"""What stands in the place of all models' attention, with literal facts."""

from __future__ import annotations

import attention_facts as f
import construct as c
import pytest
from judging import FAIL, PASS, UNKNOWN, WARN, alone, judge_one

from klein_doctor.engine import judge
from klein_doctor.fixing import fixes
from klein_doctor.model import Facts, Known, Unknown
from klein_doctor.plan import Wishes, make
from klein_doctor.recipe import load
from klein_doctor.registry import catalogue

FORCED = "flash-attention-forced"
COMFY = "comfy.ldm.modules.attention.optimized_attention"


def with_flash() -> Facts:
    return f.has(c.machine(), f.extension())


def test_a_node_that_gives_flash_attn_the_wrong_axes_and_drops_the_mask_fails() -> None:
    found = judge_one(FORCED, f.replaces(with_flash(), f.replaced()))
    assert found.verdict is FAIL
    assert found.title == (
        "The custom node fast_attn replaces PyTorch's attention, and pictures come out wrong"
    )
    assert found.detail.startswith("Line 6 of __init__.py replaces torch.nn.functional")
    assert "at every start" in found.detail
    assert "noise" in found.detail
    assert "mask" in found.detail
    assert found.subject is not None
    assert found.subject.public == "~/ComfyUI/custom_nodes/fast_attn/__init__.py:6"
    (fix,) = found.fixes
    assert (fix.id, fix.grade) == ("release-attention", "manual")
    assert "fast_attn.disabled" in fix.summary


def test_the_same_node_sleeps_while_flash_attn_is_absent() -> None:
    found = judge_one(FORCED, f.replaces(c.machine(), f.replaced()))
    assert found.verdict is WARN
    assert "once flash_attn can be imported" in found.title
    assert found.detail.startswith("It does nothing now: flash_attn is not installed. Once")


def test_it_sleeps_while_flash_attn_cannot_be_imported() -> None:
    hollow = f.extension()._replace(binaries=())
    found = judge_one(FORCED, f.replaces(f.has(c.machine(), hollow), f.replaced()))
    assert found.verdict is WARN
    assert "its compiled part is not there" in found.detail


def test_whether_it_sleeps_is_unknown_where_packages_could_not_be_read() -> None:
    facts = f.replaces(c.machine(), f.replaced())._replace(extensions=Unknown("no time"))
    assert alone(FORCED, facts) is UNKNOWN


@pytest.mark.parametrize(
    ("changes", "verdict", "says"),
    [
        ({"turns": True, "masked": True}, WARN, "at every start"),
        ({"turns": True}, FAIL, "takes no notice of the mask"),
        ({"masked": True}, FAIL, "noise"),
        ({"when": "call"}, WARN, "once the function around it is called"),
        ({"when": "choice"}, WARN, "where the condition around it holds"),
        ({"calls": (), "needs": (), "masked": True}, WARN, "at every start"),
        ({"needs": ("fast_kernels",), "turns": True, "masked": True}, WARN, "at every start"),
        ({"target": COMFY}, WARN, "models of ComfyUI"),
    ],
)
def test_how_wrong_it_is_decides(changes: dict[str, object], verdict: object, says: str) -> None:
    found = judge_one(FORCED, f.replaces(with_flash(), f.replaced(**changes)))
    assert found.verdict is verdict
    assert says in found.detail


@pytest.mark.parametrize(("version", "verdict"), [("2.2.0", FAIL), ("3.1.0", WARN)])
def test_sage_as_it_stands_drops_the_mask_in_the_versions_that_do(
    version: str, verdict: object
) -> None:
    sage = f.extension("sageattention", version, f.binary("sageattention/_qattn.abi3.so"))
    bare = f.replaced(by="sageattn", calls=("sageattn",), needs=("sageattention",), masked=True)
    assert alone(FORCED, f.replaces(f.has(c.machine(), sage), bare)) is verdict


def test_custom_nodes_do_not_matter_to_diffusers_and_a_startup_file_does() -> None:
    facts = with_flash()._replace(route=Known("diffusers"))
    assert alone(FORCED, f.replaces(facts, f.replaced())) is PASS
    site = f.plain(f"{f.SITE}/sitecustomize.py")
    found = judge_one(FORCED, f.replaces(facts, f.replaced(path=site, node="")))
    assert found.verdict is FAIL
    assert found.title.startswith("sitecustomize.py replaces")
    assert found.fixes[0].summary == "take line 6 out of sitecustomize.py"


def test_the_plan_shows_it_and_changes_nothing() -> None:
    recipe, facts = load(), f.replaces(with_flash(), f.replaced())
    plan, _ = make(judge(facts, recipe, catalogue()), facts, recipe, fixes(), Wishes())
    (step,) = [step for step in plan.steps if step.fix == "release-attention"]
    assert step.grade == "manual"
    assert "disable fast_attn in ComfyUI-Manager" in step.title
