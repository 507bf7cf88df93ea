"""The checks of torch itself: unread facts, what is newer than the tables, the exact repairs."""

from __future__ import annotations

import construct as c
import pytest
from judging import FAIL, PASS, RECIPE, SKIPPED, UNKNOWN, commands, judge_one, verdict_of

from klein_doctor.engine import judge
from klein_doctor.model import (
    Distribution,
    Facts,
    Known,
    Private,
    TorchBinary,
    Unknown,
    Verdict,
)
from klein_doctor.registry import catalogue

NOT_READ = Unknown("not read")
CRASHED = Verdict.CRASHED
PIP = "~/ComfyUI/.venv/bin/python -m pip install"
CU130_INDEX = "--index-url https://download.pytorch.org/whl/cu130"
CU128_INDEX = "--index-url https://download.pytorch.org/whl/cu128"
CU126_INDEX = "--index-url https://download.pytorch.org/whl/cu126"
plain = Private.plain


def torch_with(facts: Facts, **changes: object) -> Facts:
    assert isinstance(facts.torch, Known)
    return facts._replace(torch=Known(facts.torch.value._replace(**changes)))


def python_with(facts: Facts, **changes: object) -> Facts:
    assert isinstance(facts.interpreter, Known)
    return facts._replace(interpreter=Known(facts.interpreter.value._replace(**changes)))


def on(facts: Facts, capability: tuple[int, int] | Unknown, driver: str = "580.95.05") -> Facts:
    fact = capability if isinstance(capability, Unknown) else Known(capability)
    return facts._replace(nvml=Known(c.nvml(c.gpu(compute_capability=fact), driver=driver)))


def old(audio: bool = False, **python: object) -> Facts:
    """A build without code for the card that is there."""
    facts = c.machine("2.6.0+cu126", "0.21.0+cu126", "12.6", c.CU126)
    if audio:
        site = "~/ComfyUI/.venv/lib/python3.12/site-packages"
        facts = facts._replace(
            torchaudio=Known(c.package("torchaudio", "2.6.0+cu126", "12.6", site))
        )
    return python_with(facts, **python)


# --- what is not known -----------------------------------------------------------------------

CPU = c.machine("2.14.1+cpu", "0.29.1+cpu", None, ())
CU128 = c.machine("2.11.0+cu128", "0.26.0+cu128", "12.8")
UNREAD = {
    "torch-broken": [
        c.machine()._replace(torch_binary=NOT_READ),
        torch_with(c.machine(), version=NOT_READ),
    ],
    "torch-cpu-only": [torch_with(c.machine(), cuda=NOT_READ), on(CPU, NOT_READ)],
    "torch-lacks-arch": [
        on(c.machine(), NOT_READ),
        torch_with(c.machine(), version=NOT_READ)._replace(torch_binary=NOT_READ),
        torch_with(c.machine(archs=()), version=NOT_READ)._replace(
            torch_binary=Known(TorchBinary(NOT_READ, (), ()))
        ),
    ],
    "torch-too-old": [torch_with(c.machine(), version=NOT_READ), on(c.machine(), NOT_READ)],
    "torch-cuda-below-13": [torch_with(c.machine(), cuda=NOT_READ), on(CU128, NOT_READ)],
}


@pytest.mark.parametrize(
    ("name", "facts"), [(name, facts) for name, many in UNREAD.items() for facts in many]
)
def test_what_was_not_read_is_neither_good_nor_bad(name: str, facts: Facts) -> None:
    found = judge_one(name, facts)
    assert found.verdict is UNKNOWN
    assert str(found.reason).endswith("not read")


def test_a_driver_that_does_not_tell_its_version() -> None:
    facts = CU128._replace(kernel=Unknown("no files"))
    assert isinstance(facts.nvml, Known)
    silent = facts._replace(nvml=Known(facts.nvml.value._replace(driver=NOT_READ)))
    assert judge_one("torch-cuda-below-13", silent).verdict is UNKNOWN
    none = c._no_driver()._replace(torch=CU128.torch)
    found = verdict_of("torch-cuda-below-13", none)
    assert (found.verdict, found.because) == (SKIPPED, "gpu-not-found:1")


def test_without_a_card_its_checks_wait_for_one() -> None:
    gone = {
        "nvml": Known(c.silent("library-missing", "")),
        "visible": Unknown("no GPU"),
        "kernel": Known(c.kernel(module="", displays=())),
    }
    for name in ("torch-lacks-arch", "torch-too-old"):
        found = judge_one(name, c.machine()._replace(**gone))
        assert (found.verdict, found.because) == (SKIPPED, "gpu-not-found:1")
    for name in ("torch-cpu-only", "torch-cuda-below-13"):
        facts = (CPU if name == "torch-cpu-only" else CU128)._replace(**gone)
        assert judge_one(name, facts).because == "gpu-not-found:1"


# --- newer than the tables -------------------------------------------------------------------


@pytest.mark.parametrize("capability", [(12, 0), (12, 1), (13, 0), (20, 5)])
@pytest.mark.parametrize("version", ["2.15.1+cu132", "2.99.0+cu134", "3.0.0+cu140"])
def test_newer_than_the_tables_is_never_a_fail(version: str, capability: tuple[int, int]) -> None:
    tag = version.partition("+cu")[2]
    cuda = f"{tag[:-1]}.{tag[-1]}"
    archs = ("sm_90", "sm_120", "sm_{}{}".format(*capability))
    for carried in (archs, ()):
        facts = on(c.machine(version, f"9.9.9+cu{tag}", cuda, carried), capability, "999.1")
        for finding in judge(facts, RECIPE, catalogue()):
            assert finding.verdict not in (FAIL, CRASHED), (finding.id, finding.title)


def test_a_preview_that_carries_the_card_is_recent_enough() -> None:
    """Previews had the code before the release that is in the table."""
    early = c.machine("2.7.0a0+git1234", "0.22.0a0", "12.8")
    assert judge_one("torch-too-old", early).verdict is PASS
    bare = c.machine("2.7.0a0+git1234", "0.22.0a0", "12.8", ())
    assert judge_one("torch-too-old", bare).verdict is FAIL
    without = c.machine("2.7.0a0+git1234", "0.22.0a0", "12.8", c.CU126)
    assert judge_one("torch-too-old", without).verdict is FAIL


# --- the repair ------------------------------------------------------------------------------

NEWEST = "torch==2.14.1+cu130 torchvision==0.29.1+cu130"


@pytest.mark.parametrize(
    ("facts", "command"),
    [
        (old(), f"{PIP} {NEWEST} {CU130_INDEX}"),
        (old(audio=True), f"{PIP} {NEWEST} torchaudio==2.11.0+cu130 {CU130_INDEX}"),
        (
            on(old(), (12, 0), "579.99"),
            f"{PIP} torch==2.11.0+cu128 torchvision==0.26.0+cu128 {CU128_INDEX}",
        ),
        (
            on(old(audio=True), (12, 0), "570.00"),
            f"{PIP} torch==2.11.0+cu128 torchvision==0.26.0+cu128 torchaudio==2.11.0+cu128 "
            f"{CU128_INDEX}",
        ),
        (old(version=Known((3, 14))), f"{PIP} {NEWEST} {CU130_INDEX}"),
        (old(version=NOT_READ), f"{PIP} {NEWEST} {CU130_INDEX}"),
        (
            old(has_pip=False),
            f"uv pip install --python ~/ComfyUI/.venv/bin/python {NEWEST} {CU130_INDEX}",
        ),
        (old(has_pip=True, kind="uv venv"), f"{PIP} {NEWEST} {CU130_INDEX}"),
        (
            old(has_pip=False, kind="uv venv"),
            f"uv pip install --python ~/ComfyUI/.venv/bin/python {NEWEST} {CU130_INDEX}",
        ),
    ],
)
def test_install_torch(facts: Facts, command: str) -> None:
    found = judge_one("torch-lacks-arch", facts)
    assert found.verdict is FAIL
    assert [(repair.id, repair.grade) for repair in found.fixes] == [("install-torch", "ask")]
    assert commands(found) == [command]


@pytest.mark.parametrize(
    ("installed", "torch", "vision"),
    [
        ("2.9.1+cpu", "2.9.1", "0.24.1"),
        ("2.12.0+cpu", "2.12.0", "0.27.0"),
        ("2.8.0+cpu", "2.14.1", "0.29.1"),  # never built for CUDA 13
        ("2.15.0+cpu", "2.14.1", "0.29.1"),  # not named: see the table
        ("9.9.9+cpu", "2.14.1", "0.29.1"),
    ],
)
def test_the_number_is_kept_where_it_exists(installed: str, torch: str, vision: str) -> None:
    found = judge_one("torch-cpu-only", c.machine(installed, "0.1+cpu", None, ()))
    assert commands(found) == [
        f"{PIP} torch=={torch}+cu130 torchvision=={vision}+cu130 {CU130_INDEX}"
    ]


def test_the_portable_windows_build_uses_its_own_python() -> None:
    found = judge_one("torch-cpu-only", c._windows_cpu())
    python = r"~\ComfyUI_windows_portable\python_embeded\python.exe"
    assert commands(found) == [f"{python} -m pip install {NEWEST} {CU130_INDEX}"]


def test_an_older_card_keeps_the_last_build_for_its_driver() -> None:
    cpu = on(CPU, (8, 6), "535.183")
    assert commands(judge_one("torch-cpu-only", cpu)) == [
        f"{PIP} torch==2.14.1+cu126 torchvision==0.29.1+cu126 {CU126_INDEX}"
    ]


def test_a_broken_torch_is_installed_over() -> None:
    twice = Distribution("2.6.0", "pip", False, plain("x"))
    facts = torch_with(c.machine(), distributions=(twice, twice))
    forced = f"--force-reinstall {NEWEST} {CU130_INDEX}"
    assert commands(judge_one("torch-broken", facts)) == [f"{PIP} {forced}"]
    uv = python_with(facts, kind="uv venv", has_pip=False)
    assert commands(judge_one("torch-broken", uv)) == [
        f"uv pip install --python ~/ComfyUI/.venv/bin/python --reinstall {NEWEST} {CU130_INDEX}"
    ]


def test_conda_is_told_apart() -> None:
    conda = Distribution("2.6.0", "conda", False, plain("x"))
    found = judge_one("torch-lacks-arch", torch_with(old(), distributions=(conda,)))
    assert "remove it there first" in found.fixes[0].summary


@pytest.mark.parametrize(
    ("facts", "repair", "word"),
    [
        (on(old(), (12, 0), "569.99"), "update-driver", "driver 580 or newer"),
        (on(CPU, (8, 6), "524.9"), "update-driver", "driver 580 or newer"),
        (old(version=Known((3, 9))), "choose-python", "Python 3.10 to 3.14"),
        (old(version=Known((3, 15))), "choose-python", "Python 3.10 to 3.14"),
        (on(old(), (13, 0)), "choose-python", "pytorch.org"),
    ],
)
def test_what_must_happen_before(facts: Facts, repair: str, word: str) -> None:
    name = "torch-cpu-only" if facts.torch == CPU.torch else "torch-lacks-arch"
    (found,) = judge_one(name, facts).fixes
    assert (found.id, found.grade) == (repair, "manual")
    assert word in found.summary and not found.commands


def test_an_unknown_python_is_left_to_the_user() -> None:
    (found,) = judge_one("torch-lacks-arch", old()._replace(interpreter=NOT_READ)).fixes
    assert (found.id, found.grade, found.commands) == ("install-torch", "manual", ())
    assert f"pip install {NEWEST} {CU130_INDEX}" in found.summary


def test_an_unknown_card_leaves_the_choice_open() -> None:
    absent = c.machine()._replace(torch=Known(c.absent("torch", "x")))
    found = judge_one("torch-missing", on(absent, NOT_READ))
    assert found.verdict is FAIL
    assert {repair.grade for repair in found.fixes} == {"manual"}
    assert not any("torch==" in line for line in commands(found))


def test_the_place_is_the_environment() -> None:
    for name, facts in (("torch-lacks-arch", old()), ("torch-cpu-only", CPU)):
        subject = judge_one(name, facts).subject
        assert subject is not None and subject.public == "~/ComfyUI/.venv"
    assert judge_one("torch-cpu-only", CPU._replace(interpreter=NOT_READ)).subject is None


def test_every_torch_check_waits_for_a_python_that_starts() -> None:
    broken = python_with(c.machine(), fault=plain("it is an empty file"))
    for name, check in catalogue().items():
        # What a proof would show is told where one was asked for, and only there.
        if check.family == "torch" and name != "kernels-fail":
            assert verdict_of(name, broken).because == "python-broken:1"
