"""What asks for an attention implementation, with literal facts."""

from __future__ import annotations

import around as a
import attention_facts as f
import construct as c
import pytest
from judging import FAIL, PASS, UNKNOWN, WARN, alone, judge_one

from klein_doctor.attention import Scan
from klein_doctor.installation import Setting
from klein_doctor.model import Facts, Known, Private, Unknown, known

FORCED = "flash-attention-forced"


def started(facts: Facts, name: str, kind: str = "bat") -> Facts:
    line = a.launcher(kind, "~/ComfyUI/run.bat", a.flag(name))
    return facts._replace(comfyui=Known(a.comfyui(launchers=(line,))))


def diffusers(facts: Facts, **versions: str) -> Facts:
    listed = {"diffusers": "0.42.1", "transformers": "5.23.0", **versions}
    return facts._replace(route=Known("diffusers"), packages=Known(a.packages(dict(listed))))


def variable(facts: Facts, value: str) -> Facts:
    setting = Setting("DIFFUSERS_ATTN_BACKEND", Private.plain(value))
    return facts._replace(settings=Known((setting,)))


def test_where_nothing_asks_it_passes() -> None:
    assert alone(FORCED, c.machine()) is PASS


@pytest.mark.parametrize("fact", ["overrides", "comfyui"])
def test_what_could_not_be_read_is_unknown(fact: str) -> None:
    assert alone(FORCED, c.machine()._replace(**{fact: Unknown("no time")})) is UNKNOWN


def test_a_search_that_did_not_end_found_nothing_for_certain() -> None:
    facts = c.machine()._replace(overrides=Known(Scan((), 9, False, 0)))
    assert alone(FORCED, facts) is UNKNOWN


# --- ComfyUI's argument ----------------------------------------------------------------------


def test_the_argument_without_the_package_stops_comfyui() -> None:
    found = judge_one(FORCED, started(c.machine(), "--use-flash-attention"))
    assert found.verdict is FAIL
    assert "not installed" in found.detail
    assert found.subject is not None
    assert found.subject.public == "~/ComfyUI/run.bat:1"


def test_the_argument_of_the_next_start_is_told_beside_a_server() -> None:
    facts = started(c.machine(), "--use-flash-attention")
    comfyui = known(facts.comfyui)
    server = a.launcher("server", "~/ComfyUI", line=0)
    beside = comfyui._replace(launchers=(server, *comfyui.launchers))
    found = judge_one(FORCED, facts._replace(comfyui=Known(beside)))
    assert found.verdict is WARN
    assert "started without it; started so, ComfyUI ends at once" in found.detail
    assert found.subject is not None and found.subject.public == "~/ComfyUI/run.bat:1"
    assert [fix.id for fix in found.fixes] == ["release-flags"]


def test_the_argument_with_a_package_that_serves_the_card_is_a_warning() -> None:
    facts = started(f.has(c.machine(), f.extension()), "--use-flash-attention")
    found = judge_one(FORCED, facts)
    assert found.verdict is WARN
    assert "it works" in found.detail


def test_the_argument_with_kernels_that_fail_is_slow_and_no_crash() -> None:
    old = f.extension("flash-attn", "2.7.0", f.binary(archs=("sm_80", "sm_90")))
    found = judge_one(FORCED, started(f.has(c.machine(), old), "--use-flash-attention"))
    assert found.verdict is WARN
    assert "falls back" in found.detail


def test_the_argument_with_a_package_that_cannot_load_stops_comfyui() -> None:
    broken = f.extension("flash-attn", "2.8.3", f.binary(undefined=("_ZN3c10a",)))
    facts = started(f.has(c.machine(), broken), "--use-flash-attention")
    assert alone(FORCED, facts) is FAIL


def test_the_argument_with_a_package_whose_compiled_part_is_missing_stops_comfyui() -> None:
    hollow = f.extension("flash-attn", "2.8.3")._replace(binaries=())
    found = judge_one(FORCED, started(f.has(c.machine(), hollow), "--use-flash-attention"))
    assert found.verdict is FAIL
    assert "cannot load" in found.detail
    assert "ends at once" in found.detail


def test_the_variable_of_diffusers_does_not_matter_to_comfyui() -> None:
    assert alone(FORCED, variable(c.machine(), "flash")) is PASS


# --- diffusers' variable ---------------------------------------------------------------------


@pytest.mark.parametrize("value", ["flash", "FLASH_VARLEN", "_flash_3", "xformers", "sage"])
def test_the_variable_that_names_an_absent_package_fails(value: str) -> None:
    found = judge_one(FORCED, variable(diffusers(c.machine()), value))
    assert found.verdict is FAIL
    assert "DIFFUSERS_ATTN_BACKEND" in found.detail


@pytest.mark.parametrize("value", ["native", "_native_cudnn", "flex"])
def test_the_variable_that_names_what_pytorch_has_is_fine(value: str) -> None:
    assert alone(FORCED, variable(diffusers(c.machine()), value)) is PASS


def test_a_value_diffusers_does_not_know_fails() -> None:
    found = judge_one(FORCED, variable(diffusers(c.machine()), "flash_attention_2"))
    assert found.verdict is FAIL
    assert alone(FORCED, variable(diffusers(c.machine()), "bogus")) is FAIL


def test_a_value_a_newer_diffusers_may_know_is_not_judged() -> None:
    facts = variable(diffusers(c.machine(), diffusers="0.45.0"), "brand_new")
    assert alone(FORCED, facts) is UNKNOWN


def test_the_variable_with_a_package_that_serves_the_card_is_a_warning() -> None:
    facts = variable(diffusers(c.machine()), "flash")
    assert alone(FORCED, facts._replace(extensions=Known((f.extension(),)))) is WARN


def test_hopper_kernels_serve_no_other_card() -> None:
    facts = variable(diffusers(c.machine()), "_flash_3")
    three = f.extension("flash-attn-3", "3.0.0", f.binary("flash_attn_3/_C.so", ("sm_90a",)))
    found = judge_one(FORCED, facts._replace(extensions=Known((three,))))
    assert found.verdict is FAIL
    assert "9.0" in found.detail


# --- sources and configurations --------------------------------------------------------------


def test_a_wrapper_of_klein_that_insists_on_an_absent_package_fails() -> None:
    found = judge_one(FORCED, f.asks(c.machine(), f.override()))
    assert found.verdict is FAIL
    assert found.subject is not None
    assert found.subject.public.endswith("KleinWrapper/nodes.py:41")
    assert "flash-attn is not installed" in found.detail
    assert "line 41" in found.fixes[0].summary


def test_the_same_with_a_usable_package_is_a_warning() -> None:
    facts = f.asks(f.has(c.machine(), f.extension()), f.override())
    assert alone(FORCED, facts) is WARN


@pytest.mark.parametrize(
    "changes",
    [
        {"klein": False, "owner": "Florence2ForConditionalGeneration"},
        {"klein": True, "owner": "Qwen2VLForConditionalGeneration"},
        {"klein": False, "owner": "AutoModel", "model": "Qwen/Qwen2.5-VL-7B-Instruct"},
    ],
)
def test_a_custom_node_that_loads_another_model_is_a_warning(changes: dict[str, object]) -> None:
    found = judge_one(FORCED, f.asks(c.machine(), f.override(**changes)))
    assert found.verdict is WARN
    assert "KleinWrapper" in found.detail


def test_a_script_for_another_model_is_silent_and_one_for_klein_is_not() -> None:
    facts = diffusers(c.machine())
    script = f.override(node="", klein=False, owner="AutoModel", model="gpt2")
    assert alone(FORCED, f.asks(facts, script)) is PASS
    ours = f.override(
        node="", owner="Flux2KleinPipeline", how="set_attention_backend", asks="flash"
    )
    assert alone(FORCED, f.asks(facts, ours)) is FAIL


@pytest.mark.parametrize(
    ("key", "version", "verdict"),
    [
        ("attn_implementation", "5.23.0", FAIL),
        ("attn_implementation", "4.57.6", PASS),
        ("_attn_implementation", "4.57.6", FAIL),
        ("_attn_implementation", "5.23.0", FAIL),
        ("_attn_implementation_internal", "4.57.6", FAIL),
        ("_attn_implementation_internal", "5.23.0", PASS),
    ],
)
def test_a_key_of_config_json_counts_where_transformers_honours_it(
    key: str, version: str, verdict: object
) -> None:
    place = f.override(kind="config", how=key, node="", owner="", line=7)
    facts = f.asks(diffusers(c.machine(), transformers=version), place)
    assert alone(FORCED, facts) is verdict


def test_transformers_5_with_kernels_fetches_what_is_absent() -> None:
    facts = diffusers(c.machine(), kernels="0.18.5")
    place = f.override(kind="config", node="", owner="")
    found = judge_one(FORCED, f.asks(facts, place))
    assert found.verdict is WARN
    assert "Hub" in found.detail


def test_a_default_can_be_chosen_otherwise_and_is_a_warning() -> None:
    found = judge_one(FORCED, f.asks(c.machine(), f.override(how="widget default")))
    assert found.verdict is WARN
    assert "widget default" in found.detail.lower()


def test_what_asks_for_pytorchs_own_is_no_override() -> None:
    assert alone(FORCED, f.asks(c.machine(), f.override(asks="sdpa"))) is PASS


def test_fails_come_before_warnings() -> None:
    other = f.override(klein=False, owner="Florence2ForConditionalGeneration", node="Florence")
    found = judge_one(FORCED, f.asks(c.machine(), other, f.override()))
    assert found.verdict is FAIL
