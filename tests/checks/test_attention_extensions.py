"""Installed attention packages, with literal facts."""

from __future__ import annotations

import around as a
import attention_facts as f
import construct as c
import pytest
from judging import (
    FAIL,
    PASS,
    SKIPPED,
    UNKNOWN,
    WARN,
    alone,
    commands,
    judge_one,
    silent,
    verdict_of,
)

from klein_doctor.model import Facts, Known, Unknown

LACKS = "attention-extension-lacks-arch"
BROKEN = "attention-extension-broken"
SAGE = "sage-attention-outdated"


def started(facts: Facts, *flags: str) -> Facts:
    line = a.launcher("sh", "~/ComfyUI/run.sh", *(a.flag(name) for name in flags))
    return facts._replace(comfyui=Known(a.comfyui(launchers=(line,))))


def card(facts: Facts, name: str, capability: tuple[int, int]) -> Facts:
    gpu = c.gpu(name=f"NVIDIA GeForce {name}", compute_capability=Known(capability))
    return facts._replace(nvml=Known(c.nvml(gpu)))


@pytest.mark.parametrize("name", [LACKS, BROKEN, SAGE])
def test_where_none_is_installed_there_is_nothing_to_say(name: str) -> None:
    assert silent(name, c.machine())


@pytest.mark.parametrize("name", [LACKS, BROKEN, SAGE])
def test_what_could_not_be_read_is_unknown(name: str) -> None:
    facts = c.machine()._replace(extensions=Unknown("no time"))
    assert alone(name, facts) is UNKNOWN


def test_flash_attn_with_the_cards_code_is_fine_whatever_its_version_says() -> None:
    found = judge_one(LACKS, f.has(c.machine(), f.extension("flash-attn", "2.7.3")))
    assert found.verdict is PASS


def test_flash_attn_without_the_cards_code_is_a_warning_with_both_named() -> None:
    facts = f.has(
        c.machine(), f.extension("flash-attn", "2.8.3", f.binary(archs=("sm_80", "sm_90")))
    )
    found = judge_one(LACKS, facts)
    assert found.verdict is WARN
    assert "sm_80, sm_90" in found.detail
    assert "sm_120" in found.detail
    assert any("pip uninstall --yes flash-attn" in line for line in commands(found))


def test_code_the_driver_translates_serves_newer_cards() -> None:
    facts = f.has(c.machine(), f.extension("flash-attn", "2.8.3", f.binary(archs=("compute_90",))))
    assert alone(LACKS, facts) is PASS


def test_code_for_exactly_another_card_does_not() -> None:
    facts = f.has(c.machine(), f.extension("flash-attn", "2.8.3", f.binary(archs=("sm_120a",))))
    assert alone(LACKS, facts) is PASS
    assert alone(LACKS, card(facts, "RTX 5070 B", (12, 1))) is WARN


def test_xformers_that_ends_at_hopper_fails_where_comfyui_uses_it_unasked() -> None:
    found = judge_one(LACKS, f.has(c.machine(), f.xformers("0.0.30")))
    assert found.verdict is FAIL
    assert "xformers 0.0.30" in found.title
    assert "without being asked" in found.detail


@pytest.mark.parametrize("name", ["--disable-xformers", "--use-pytorch-cross-attention"])
def test_what_keeps_xformers_out_makes_it_a_warning(name: str) -> None:
    assert alone(LACKS, started(f.has(c.machine(), f.xformers()), name)) is WARN


def test_one_way_of_starting_that_lets_it_in_is_enough() -> None:
    facts = f.has(c.machine(), f.xformers())
    lines = (
        a.launcher("sh", "~/ComfyUI/a.sh", a.flag("--disable-xformers")),
        a.launcher("sh", "~/ComfyUI/b.sh"),
    )
    assert alone(LACKS, facts._replace(comfyui=Known(a.comfyui(launchers=lines)))) is FAIL


def test_on_the_diffusers_route_nothing_uses_it_unasked() -> None:
    facts = f.has(c.machine(), f.xformers())._replace(route=Known("diffusers"))
    assert alone(LACKS, facts) is WARN


def test_the_same_xformers_serves_the_cards_it_was_made_for() -> None:
    facts = card(f.has(c.machine(), f.xformers()), "RTX 4090", (8, 9))
    assert alone(LACKS, facts) is PASS


def test_a_newer_xformers_than_the_table_is_judged_by_its_code() -> None:
    facts = f.has(c.machine(), f.xformers("0.0.40", "sm_90", "sm_120"))
    assert alone(LACKS, facts) is PASS


def test_flash_attn_serves_no_card_before_ampere() -> None:
    facts = card(
        f.has(c.machine(), f.extension("flash-attn", "2.8.3", f.binary(archs=("compute_75",)))),
        "RTX 2070", (7, 5),
    )  # fmt: skip
    assert alone(LACKS, facts) is WARN


def test_a_file_that_cannot_be_read_is_unknown_unless_another_tells() -> None:
    unread = f.binary("xformers/_C.so", None)
    facts = f.has(c.machine(), f.extension("xformers", "0.0.40", unread))
    assert alone(LACKS, facts) is UNKNOWN
    other = f.binary("xformers/_C_flash.so", ("sm_120",))
    facts = f.has(c.machine(), f.extension("xformers", "0.0.40", unread, other))
    assert alone(LACKS, facts) is PASS


def test_without_a_card_nothing_is_said_of_architectures() -> None:
    facts = f.has(c.machine(), f.extension())._replace(
        nvml=Known(c.silent("library-missing", "libnvidia-ml.so.1")), kernel=Unknown("no /proc")
    )
    assert alone(LACKS, facts) not in (PASS, FAIL, WARN)


def test_without_torch_it_is_skipped() -> None:
    facts = f.has(c.machine(), f.xformers())._replace(torch=Known(c.absent("torch", f.SITE)))
    assert verdict_of(LACKS, facts).verdict is SKIPPED


# --- broken ----------------------------------------------------------------------------------


def test_an_extension_for_another_python_cannot_load() -> None:
    facts = f.has(c.machine(), f.extension("flash-attn", "2.8.3", f.binary(python="3.10")))
    found = judge_one(BROKEN, facts)
    assert found.verdict is WARN
    assert "Python 3.10" in found.detail
    assert "3.12" in found.detail


@pytest.mark.parametrize("tag", ["3.12", "abi3", ""])
def test_one_for_this_python_or_any_can(tag: str) -> None:
    facts = f.has(c.machine(), f.extension("flash-attn", "2.8.3", f.binary(python=tag)))
    assert alone(BROKEN, facts) is PASS


def test_flash_attn_without_its_libraries_may_end_comfyui_even_unasked() -> None:
    broken = f.binary(absent=("libcudart.so.12",))
    found = judge_one(BROKEN, f.has(c.machine(), f.extension("flash-attn", "2.8.3", broken)))
    assert found.verdict is FAIL
    assert "libcudart.so.12" in found.detail
    assert "every start" in found.detail


def test_flash_attn_built_for_another_torch_is_a_warning_until_it_is_asked_for() -> None:
    broken = f.binary(undefined=("_ZN3c104cuda9SetDeviceEa",))
    facts = f.has(c.machine(), f.extension("flash-attn", "2.8.3", broken))
    assert alone(BROKEN, facts) is WARN
    assert "_ZN3c104cuda9SetDeviceEa" in judge_one(BROKEN, facts).detail
    assert alone(BROKEN, started(facts, "--use-flash-attention")) is FAIL


def test_a_broken_xformers_is_what_comfyui_goes_without() -> None:
    broken = f.binary("xformers/_C.so", ("sm_120",), "", undefined=("_ZN3c10a",))
    found = judge_one(BROKEN, f.has(c.machine(), f.extension("xformers", "0.0.40", broken)))
    assert found.verdict is WARN
    assert "goes without" in found.detail


HOLLOW = (
    ("flash-attn", "2.8.3"), ("flash-attn-3", "3.0.0"), ("xformers", "0.0.35"),
    ("sageattention", "2.2.0+cu128torch2.7.1"), ("sageattn3", "1.0.0"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "version"), HOLLOW)
def test_a_package_without_its_compiled_part_cannot_load(name: str, version: str) -> None:
    facts = f.has(c.machine(), f.extension(name, version)._replace(binaries=()))
    found = judge_one(BROKEN, facts)
    assert found.verdict is WARN
    assert found.title == f"{name} {version} cannot load: its compiled part is missing"
    assert any(f"pip uninstall --yes {name}" in line for line in commands(found))
    assert silent(LACKS, facts)  # said once


def test_flash_attn_without_its_compiled_part_ends_the_start_it_is_asked_for_in() -> None:
    facts = f.has(c.machine(), f.extension("flash-attn", "2.8.3")._replace(binaries=()))
    facts = started(facts, "--use-flash-attention")
    assert alone(BROKEN, facts) is FAIL
    assert "flash_attn_2_cuda" in judge_one(BROKEN, facts).detail


@pytest.mark.parametrize("version", ["", "unknown", "0.0.99"])
def test_nothing_is_missed_of_a_version_nobody_knows(version: str) -> None:
    facts = f.has(c.machine(), f.extension("xformers", version)._replace(binaries=()))
    assert alone(BROKEN, facts) is PASS


def test_what_could_not_be_compared_is_unknown_but_on_windows() -> None:
    facts = f.has(c.machine(), f.extension("flash-attn", "2.8.3", f.binary(undefined=None)))
    assert alone(BROKEN, facts) is UNKNOWN
    pyd = f.binary("flash_attn_2_cuda.cp312-win_amd64.pyd", undefined=None)
    assert alone(BROKEN, f.has(c.machine(), f.extension("flash-attn", "2.8.3", pyd))) is PASS


# --- sage ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("1.0.6", WARN), ("2.0.1", WARN), ("2.1.1", PASS), ("2.2.0+cu128torch2.7.1", PASS)],
)
def test_sage_attention_by_its_version_on_an_rtx_50(version: str, verdict: object) -> None:
    sage = f.extension("sageattention", version, f.binary("sageattention/_qattn_sm80.abi3.so"))
    assert alone(SAGE, f.has(c.machine(), sage)) is verdict
    assert alone(LACKS, f.has(c.machine(), sage)) is PASS  # said once


def test_a_sage_attention_of_python_alone_compiles_when_it_runs() -> None:
    sage = f.extension("sageattention", "1.0.6")._replace(binaries=())
    assert alone(BROKEN, f.has(c.machine(), sage)) is PASS
    assert alone(SAGE, f.has(c.machine(), sage)) is WARN
    found = judge_one(LACKS, f.has(c.machine(), sage))
    assert found.verdict is PASS  # said once
    assert found.title == "sageattention compiles its code when it runs"


def test_an_old_sage_attention_suits_an_older_card() -> None:
    sage = f.extension("sageattention", "1.0.6")._replace(binaries=())
    assert alone(SAGE, card(f.has(c.machine(), sage), "RTX 4090", (8, 9))) is PASS
