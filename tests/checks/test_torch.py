"""Checks of torch and its partners, and of the target's Python, with literal facts."""

from __future__ import annotations

import construct as c
import pytest
from judging import FAIL, PASS, SKIPPED, UNKNOWN, WARN, alone, commands, verdict_of

from klein_doctor.model import (
    Distribution,
    Facts,
    Known,
    Library,
    Package,
    Private,
    TorchBinary,
    Unknown,
)

NOT_READ = Unknown("not read")
SITE = "~/ComfyUI/.venv/lib/python3.12/site-packages"
ALL = [
    "torch-missing",
    "torch-broken",
    "torch-cpu-only",
    "torch-lacks-arch",
    "torch-too-old",
    "torch-cuda-below-13",
    "torch-trio-mismatch",
]
plain = Private.plain


def changed(facts: Facts, **changes: object) -> Facts:
    assert isinstance(facts.torch, Known)
    return facts._replace(torch=Known(facts.torch.value._replace(**changes)))


@pytest.mark.parametrize("name", ALL)
def test_an_unread_torch_is_unknown(name: str) -> None:
    found = verdict_of(name, c.machine()._replace(torch=NOT_READ))
    assert (found.verdict, found.reason) == (UNKNOWN, "not read")


@pytest.mark.parametrize("name", ALL)
def test_a_healthy_torch_passes(name: str) -> None:
    assert verdict_of(name, c.machine()).verdict is PASS


def test_torch_missing() -> None:
    facts = c.machine()._replace(torch=Known(c.absent("torch", SITE)))
    found = verdict_of("torch-missing", facts)
    assert found.verdict is FAIL
    assert commands(found)[-1].startswith("~/ComfyUI/.venv/bin/python -m pip install torch==2.14.1")
    for name in ALL[1:]:
        assert verdict_of(name, facts).because == "torch-missing:1"


def test_records_and_files_that_disagree() -> None:
    healthy = c.machine()
    record = Distribution("2.6.0", "pip", False, plain(f"{SITE}/torch-2.6.0.dist-info"))
    assert isinstance(healthy.torch, Known)
    mine = healthy.torch.value.distributions
    for change, word in (
        ({"present": False}, "its files are not"),
        ({"distributions": ()}, "its record is not"),
        ({"distributions": (*mine, record)}, "twice"),
    ):
        found = verdict_of("torch-broken", changed(healthy, **change))
        assert found.verdict is FAIL and word in found.title
        assert "--force-reinstall" in commands(found)[0]
    unread = verdict_of("torch-broken", changed(healthy, version=NOT_READ))
    assert (unread.verdict, unread.reason) == (UNKNOWN, "not read")
    editable = record._replace(editable=True)
    facts = changed(healthy, present=False, distributions=(editable,))
    assert alone("torch-broken", facts) is PASS


def test_libraries_that_are_damaged_or_missing() -> None:
    def having(*damaged: Library, missing: tuple[str, ...] = ()) -> Facts:
        return c.machine()._replace(
            torch_binary=Known(TorchBinary(Known(c.CU130), damaged, missing))
        )

    gone = verdict_of("torch-broken", having(Library("torch/lib/libc10.so", 100, -1)))
    assert gone.verdict is FAIL and "libc10.so is absent" in gone.detail
    short = having(Library("torch/lib/libc10.so", 1000, 10), Library("torch/lib/x.so", 1, 2))
    assert "has 10 bytes instead of 1,000, and 1 more" in verdict_of("torch-broken", short).detail
    lost = verdict_of("torch-broken", having(missing=("libcublas.so.13",)))
    assert lost.verdict is FAIL and "libcublas.so.13" in lost.detail
    unread = c.machine()._replace(torch_binary=NOT_READ)
    assert verdict_of("torch-broken", unread).verdict is UNKNOWN


def test_torch_cpu_only() -> None:
    cpu = c.machine("2.15.0+cpu", "0.29.2+cpu", None, ())
    found = verdict_of("torch-cpu-only", cpu)
    assert found.verdict is FAIL and "the CPU only" in found.title
    rocm = changed(c.machine("2.14.1+rocm6.4", cuda=None, archs=()), hip="6.4")
    assert "AMD" in verdict_of("torch-cpu-only", rocm).title
    no_card = cpu._replace(
        nvml=Known(c.silent("library-missing", "")),
        visible=Unknown("no GPU"),
        kernel=Known(c.kernel(displays=())),
    )
    assert verdict_of("torch-cpu-only", no_card).because == "gpu-not-found:1"
    assert verdict_of("torch-cpu-only", changed(cpu, cuda=NOT_READ)).verdict is UNKNOWN
    assert verdict_of("torch-lacks-arch", cpu).verdict is SKIPPED
    assert verdict_of("torch-cuda-below-13", cpu).verdict is SKIPPED


def on_card(facts: Facts, capability: tuple[int, int], driver: str = "580.95.05") -> Facts:
    card = c.gpu(compute_capability=Known(capability))
    return facts._replace(nvml=Known(c.nvml(card, driver=driver)))


@pytest.mark.parametrize(
    ("archs", "capability", "verdict"),
    [
        (("sm_90", "sm_120"), (12, 0), PASS),
        (("sm_120",), (12, 1), PASS),
        (("sm_121",), (12, 0), FAIL),
        (("sm_120a",), (12, 0), PASS),
        (("sm_120a",), (12, 1), FAIL),
        (("sm_90", "compute_90"), (12, 0), PASS),
        (("sm_90", "compute_121"), (12, 0), FAIL),
        (c.CU126, (12, 0), FAIL),
        (c.CU126, (8, 9), PASS),
        (c.CU130, (7, 0), FAIL),
        (c.CU130, (13, 0), FAIL),
    ],
)
def test_torch_lacks_arch(archs: tuple[str, ...], capability: tuple[int, int], verdict) -> None:  # type: ignore[no-untyped-def]
    facts = on_card(c.machine(archs=archs), capability)
    assert verdict_of("torch-lacks-arch", facts).verdict is verdict


def test_archs_from_the_table_where_the_library_does_not_tell() -> None:
    old = c.machine("2.6.0+cu126", "0.21.0+cu126", "12.6", ())
    found = verdict_of("torch-lacks-arch", old)
    assert found.verdict is FAIL and "table" in str(found.evidence["read_from"])
    conda = c.machine("2.6.0", "0.21.0", "12.6", ())
    assert verdict_of("torch-lacks-arch", conda).verdict is FAIL
    newer = verdict_of("torch-lacks-arch", c.machine("3.1.0+cu140", "1.2.0+cu140", "14.0", ()))
    assert newer.verdict is UNKNOWN and "newer than the doctor's tables" in str(newer.reason)


@pytest.mark.parametrize(
    ("version", "capability", "verdict"),
    [
        ("2.6.0+cu126", (12, 0), FAIL),
        ("2.7.0+cu126", (12, 0), PASS),
        ("2.7.0a0+git1234", (12, 0), FAIL),
        ("2.7.0a0+git1234", (9, 0), PASS),
        ("2.6.0+cu126", (8, 9), WARN),  # ComfyUI 0.33 asks for 2.7
        ("9.0.0+cu150", (12, 0), PASS),
        ("nonsense", (12, 0), UNKNOWN),
    ],
)
def test_torch_too_old(version: str, capability: tuple[int, int], verdict) -> None:  # type: ignore[no-untyped-def]
    facts = on_card(c.machine(version, archs=c.CU126), capability)
    assert alone("torch-too-old", facts) is verdict


@pytest.mark.parametrize(
    ("cuda", "capability", "driver", "verdict"),
    [
        ("12.8", (12, 0), "580.95", WARN),
        ("12.8", (12, 0), "579.99", PASS),
        ("12.8", (7, 0), "580.95", PASS),
        ("13.0", (12, 0), "580.95", PASS),
        ("13.2", (7, 5), "595.1", PASS),
        ("14.1", (12, 0), "700.1", PASS),
    ],
)
def test_torch_cuda_below_13(cuda: str, capability, driver: str, verdict) -> None:  # type: ignore[no-untyped-def]
    facts = on_card(c.machine("2.11.0+cu128", cuda=cuda), capability, driver)
    assert verdict_of("torch-cuda-below-13", facts).verdict is verdict


def trio(torch: str, vision: str | None, audio: str | None = None) -> Facts:
    from klein_doctor.probes.torch_files import cuda_of_tag

    def built(name: str, version: str | None) -> Package:
        if version is None:
            return c.absent(name, SITE)
        cuda = cuda_of_tag(version.partition("+")[2])
        return c.package(name, version, None, SITE)._replace(cuda=cuda)

    return c.machine()._replace(
        torch=Known(built("torch", torch)),
        torchvision=Known(built("torchvision", vision)),
        torchaudio=Known(built("torchaudio", audio)),
    )


@pytest.mark.parametrize(
    ("torch", "vision", "audio", "verdict"),
    [
        ("2.14.1+cu130", "0.29.1+cu130", None, PASS),
        ("2.14.1+cu130", None, None, PASS),
        ("2.14.1+cu130", "0.29.1+cpu", None, FAIL),
        ("2.14.1+cu130", "0.29.1+cu126", None, FAIL),
        ("2.14.1+cu130", "0.29.1", None, PASS),
        ("2.14.1+cu130", "0.28.0+cu130", None, FAIL),
        ("2.13.0+cu130", "0.29.1+cu130", None, FAIL),
        ("2.15.0+cu130", "0.29.1+cu130", None, PASS),
        ("2.14.0+cu130", "0.29.2+cu130", None, PASS),
        ("2.14.1+cu130", "0.29.1+cu130", "2.11.0+cu128", PASS),
        ("2.10.0+cu128", "0.25.0+cu128", "2.9.0+cu128", FAIL),
        ("2.10.0+cu128", "0.25.0+cu128", "2.10.0+cu126", FAIL),
        ("2.9.9+cu128", "0.24.0+cu128", None, FAIL),
        ("3.0.0+cu140", "1.0.0+cu140", None, PASS),
        ("2.12.0.dev20260101+cu130", "0.27.0.dev20260101+cu130", None, PASS),
    ],
)
def test_torch_trio(torch: str, vision: str | None, audio: str | None, verdict) -> None:  # type: ignore[no-untyped-def]
    assert alone("torch-trio-mismatch", trio(torch, vision, audio)) is verdict


def test_an_unread_partner_is_unknown() -> None:
    facts = c.machine()._replace(torchvision=NOT_READ)
    assert verdict_of("torch-trio-mismatch", facts).verdict is UNKNOWN


def test_the_repair_moves_all_of_them_with_the_targets_own_tool() -> None:
    facts = trio("2.6.0+cu126", "0.21.0+cu126", "2.6.0+cu126")._replace(
        torch_binary=Known(TorchBinary(Known(c.CU126), (), ()))
    )
    found = verdict_of("torch-lacks-arch", facts)
    assert commands(found) == [
        "~/ComfyUI/.venv/bin/python -m pip install torch==2.14.1+cu130 torchvision==0.29.1+cu130 "
        "torchaudio==2.11.0+cu130 --index-url https://download.pytorch.org/whl/cu130"
    ]
    assert isinstance(facts.interpreter, Known)
    uv = facts.interpreter.value._replace(kind="uv venv", has_pip=False, has_uv=True)
    found = verdict_of("torch-lacks-arch", facts._replace(interpreter=Known(uv)))
    assert commands(found)[0].startswith(
        "uv pip install --python ~/ComfyUI/.venv/bin/python torch=="
    )
    kept = trio("2.12.1+cu126", "0.27.1+cu126")._replace(
        torch_binary=Known(TorchBinary(Known(c.CU126), (), ()))
    )
    assert (
        "torch==2.12.1+cu130 torchvision==0.27.1+cu130"
        in commands(verdict_of("torch-lacks-arch", kept))[0]
    )
    old_driver = on_card(facts, (12, 0), "560.1")
    assert verdict_of("torch-lacks-arch", old_driver).fixes[0].id == "update-driver"


@pytest.mark.parametrize(
    ("version", "verdict"), [((3, 9), FAIL), ((2, 7, 18), FAIL), ((3, 10), PASS), ((3, 16), PASS)]
)
def test_python_too_old(version: tuple[int, ...], verdict) -> None:  # type: ignore[no-untyped-def]
    assert verdict_of("python-too-old", c.machine(python=version)).verdict is verdict


def test_python_unknown_and_broken() -> None:
    facts = c.machine()
    assert isinstance(facts.interpreter, Known)
    blank = facts._replace(interpreter=Known(facts.interpreter.value._replace(version=NOT_READ)))
    assert verdict_of("python-too-old", blank).verdict is UNKNOWN
    assert verdict_of("python-broken", facts._replace(interpreter=NOT_READ)).verdict is UNKNOWN
    fault = facts.interpreter.value._replace(fault=plain("it is an empty file"))
    broken = facts._replace(interpreter=Known(fault))
    assert verdict_of("python-broken", broken).verdict is FAIL
    assert verdict_of("torch-missing", broken).verdict is SKIPPED
