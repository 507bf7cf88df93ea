"""Checks of the driver, with literal facts."""

from __future__ import annotations

import construct as c
import pytest
from judging import FAIL, PASS, RECIPE, SKIPPED, UNKNOWN, WARN, commands, judge_one, verdict_of

from klein_doctor.engine import first_of, judge
from klein_doctor.model import Facts, Gpu, Known, PciDisplay, Unknown
from klein_doctor.registry import catalogue

NOT_READ = Unknown("not read")


def driven(
    driver: str, cuda: str | None = "13.0", own: tuple[int, int] = (13, 0), card: Gpu | None = None
) -> Facts:
    facts = c.machine("2.14.1" + ("+cu" + cuda.replace(".", "") if cuda else "+cpu"), cuda=cuda)
    return facts._replace(nvml=Known(c.nvml(card or c.gpu(), driver=driver, cuda=own)))


@pytest.mark.parametrize(
    ("driver", "cuda", "card", "verdict"),
    [
        ("580.65.06", "13.0", None, PASS),
        ("579.99", "13.0", None, FAIL),
        ("610.43.02", "13.0", None, PASS),
        ("999.0", "13.0", None, PASS),
        ("570.26", "12.8", None, PASS),
        ("569.1", "12.8", None, FAIL),
        ("569.1", None, None, FAIL),
        ("525.60.13", "12.6", "old", PASS),
        ("524.0", "12.6", "old", FAIL),
        ("580.65.06", "14.0", "old", PASS),
    ],
)
def test_driver_floors(driver: str, cuda: str | None, card: str | None, verdict: object) -> None:
    own = (int(cuda.split(".")[0]), int(cuda.split(".")[1])) if cuda else (12, 8)
    facts = driven(driver, cuda, own, c.weaker(0) if card else None)
    assert verdict_of("driver-too-old", facts).verdict is verdict


def test_a_newer_cuda_minor_is_a_warning() -> None:
    found = verdict_of("driver-too-old", driven("580.95.05", "13.2", (13, 0)))
    assert found.verdict is WARN
    assert "595" in found.fixes[0].summary
    assert verdict_of("driver-too-old", driven("595.45", "13.2", (13, 2))).verdict is PASS


def test_an_old_driver_may_keep_its_card_with_an_older_build() -> None:
    found = verdict_of("driver-too-old", driven("573.24"))
    assert [repair.id for repair in found.fixes] == ["update-driver", "install-torch"]
    assert "torch==2.11.0+cu128 torchvision==0.26.0+cu128" in commands(found)[0]
    found = verdict_of("driver-too-old", driven("560.35"))
    assert [repair.id for repair in found.fixes] == ["update-driver"]


def test_a_driver_too_old_for_the_card_is_why_none_answers() -> None:
    """RTX 50 below 570: the driver runs, NVML shows nothing, the bus shows the card."""
    facts = c.machine()._replace(
        nvml=Known(c.nvml(driver="560.35.03", cuda=(12, 6))),
        visible=Unknown("no GPU"),
        kernel=Known(c.kernel(module="560.35.03")),
    )
    assert verdict_of("driver-too-old", facts).verdict is FAIL
    found = verdict_of("gpu-not-found", facts)
    assert found.verdict is FAIL
    everything = judge(facts, RECIPE, catalogue())
    assert first_of(everything, catalogue()) == "driver-too-old:1"
    assert next(f for f in everything if f.check == "gpu-not-found").because == "driver-too-old:1"


def test_driver_version_unknown() -> None:
    facts = c.machine()
    assert isinstance(facts.nvml, Known)
    blank = facts._replace(
        nvml=Known(facts.nvml.value._replace(driver=NOT_READ)), kernel=Unknown("no files")
    )
    found = verdict_of("driver-too-old", blank)
    assert (found.verdict, found.reason) == (UNKNOWN, "not read")
    missing = c._no_driver()
    assert verdict_of("driver-too-old", missing).verdict is SKIPPED


def test_driver_library_mismatch() -> None:
    name = "driver-library-mismatch"
    broken = c.machine()._replace(
        nvml=Known(c.silent("version-mismatch", "Driver/library version mismatch"))
    )
    found = verdict_of(name, broken)
    assert found.verdict is FAIL and "580.95.05" in found.detail
    assert verdict_of("gpu-not-found", broken).verdict is FAIL
    assert verdict_of("driver-too-old", broken).verdict is SKIPPED
    assert verdict_of(name, c.machine()).verdict is PASS
    assert verdict_of(name, c.machine()._replace(nvml=NOT_READ)).verdict is UNKNOWN


@pytest.mark.parametrize("outcome", ["hung", "crashed", "error"])
def test_a_silent_driver(outcome: str) -> None:
    facts = c.machine()._replace(nvml=Known(c.silent(outcome, "SIGSEGV")))
    found = verdict_of("driver-broken", facts)
    assert found.verdict is FAIL and "nvmlInit" in found.detail


def around(**changes: object) -> Facts:
    facts = c.machine()
    assert isinstance(facts.nvml, Known)
    return facts._replace(nvml=Known(facts.nvml.value._replace(**changes)))


def test_libcuda_must_load() -> None:
    absent = around(cuda_library=Known("libcuda.so.1: cannot open shared object file"))
    assert verdict_of("driver-broken", absent).verdict is FAIL
    inside = absent._replace(system=Known(c.system(container="docker")))
    found = verdict_of("driver-broken", inside)
    assert "compute" in found.detail and commands(found)[0].startswith("docker run --gpus all")
    assert verdict_of("driver-broken", around(cuda_library=NOT_READ)).verdict is UNKNOWN
    assert verdict_of("driver-broken", c.machine()).verdict is PASS


def test_a_lost_card() -> None:
    found = verdict_of("driver-broken", around(gpus=(c.gpu(fault="GPU is lost"),)))
    assert found.verdict is FAIL and "GPU is lost" in found.detail


@pytest.mark.parametrize(
    ("kernel", "system", "verdict"),
    [
        ({}, {}, PASS),
        ({"nodes": ("nvidia0", "nvidiactl")}, {}, PASS),
        ({"nodes": ("nvidia0", "nvidiactl"), "modprobe": False}, {}, FAIL),
        ({"nodes": ("nvidia0", "nvidiactl")}, {"container": "docker"}, FAIL),
        ({"nodes": ("dxg",), "modprobe": False}, {"wsl": 2}, PASS),
        ({"nodes": (), "modprobe": False}, {}, PASS),
    ],
)
def test_a_missing_uvm_node(kernel: dict, system: dict, verdict: object) -> None:  # type: ignore[type-arg]
    facts = c.machine()._replace(kernel=Known(c.kernel(**kernel)), system=Known(c.system(**system)))
    assert verdict_of("driver-broken", facts).verdict is verdict


def test_unknown_nvml() -> None:
    facts = c.machine()._replace(nvml=NOT_READ, kernel=NOT_READ)
    assert verdict_of("driver-broken", facts).verdict is UNKNOWN
    assert verdict_of("driver-too-old", facts).verdict is UNKNOWN


def test_a_card_known_from_the_bus_alone_is_judged() -> None:
    facts = c._no_driver()._replace(
        kernel=Known(c.kernel(module="", displays=(PciDisplay("10de", "1b81", "", 0),)))
    )
    assert verdict_of("gpu-too-old", facts).verdict is FAIL


# --- what is not known -----------------------------------------------------------------------


def blank(name: str, facts: Facts, **fields: object) -> Facts:
    """The facts with some fields of one of them unread."""
    fact = getattr(facts, name)
    assert isinstance(fact, Known)
    return facts._replace(**{name: Known(fact.value._replace(**fields))})


UNREAD_CARD = c.gpu(compute_capability=NOT_READ)


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (driven("580.95")._replace(torch=NOT_READ), UNKNOWN),
        (blank("torch", driven("580.95"), cuda=NOT_READ), UNKNOWN),
        (blank("torch", driven("580.95"), cuda=NOT_READ, present=False), PASS),
        (driven("580.95", card=UNREAD_CARD), UNKNOWN),
        (driven("580.95", None, card=UNREAD_CARD), UNKNOWN),
        # What is known is enough to fail.
        (driven("569.9")._replace(torch=NOT_READ), FAIL),
        (driven("579.9", card=UNREAD_CARD), FAIL),
        (driven("569.9")._replace(kernel=NOT_READ, system=NOT_READ), FAIL),
    ],
)
def test_driver_too_old_and_unread_facts(facts: Facts, verdict: object) -> None:
    found = judge_one("driver-too-old", facts)
    assert found.verdict is verdict
    if verdict is UNKNOWN:
        assert str(found.reason).endswith("not read")


@pytest.mark.parametrize(
    ("driver", "cuda", "verdict"),
    [
        ("580.65.06", "13.0", PASS),
        ("580.65.05", "13.0", UNKNOWN),
        ("580.95.05", "12.4", PASS),
        ("580.95.05", "13.2", UNKNOWN),
        ("595.45.04", "13.2", PASS),
        ("610.43.02", "13.9", UNKNOWN),
        ("610.43.02", "14.0", UNKNOWN),
        ("579.0", "13.2", FAIL),
    ],
)
def test_a_driver_that_does_not_name_its_cuda(driver: str, cuda: str, verdict: object) -> None:
    """The table of paired drivers tells, or nobody does."""
    facts = blank("nvml", driven(driver, cuda), cuda=NOT_READ)
    found = judge_one("driver-too-old", facts)
    assert found.verdict is verdict
    assert (found.reason == "not read") is (verdict is UNKNOWN)


def test_a_cuda_newer_than_the_tables_is_no_fail() -> None:
    ahead = judge_one("driver-too-old", driven("580.95.05", "14.0", (13, 0)))
    assert ahead.verdict is UNKNOWN
    assert f"tables of {RECIPE.as_of}" in str(ahead.reason) and "13.0" in str(ahead.reason)
    assert judge_one("driver-too-old", driven("700.1", "14.0", (14, 0))).verdict is PASS
    assert judge_one("driver-too-old", driven("580.95.05", "11.8", (13, 0))).verdict is PASS


def test_a_card_newer_than_the_tables_has_no_driver_floor() -> None:
    newer = c.gpu(compute_capability=Known((13, 0)))
    assert judge_one("driver-too-old", driven("560.1", "12.6", (12, 6), newer)).verdict is PASS


@pytest.mark.parametrize("driver", ["", "unknown", "R580"])
def test_a_driver_without_a_number(driver: str) -> None:
    assert judge_one("driver-too-old", driven(driver)).verdict is UNKNOWN


@pytest.mark.parametrize("outcome", ["hung", "crashed", "error", "no-permission"])
def test_halves_that_were_never_compared(outcome: str) -> None:
    facts = c.machine()._replace(nvml=Known(c.silent(outcome, "boom")))
    found = judge_one("driver-library-mismatch", facts)
    assert found.verdict is UNKNOWN and "boom" in str(found.reason)
    later = facts._replace(nvml=Known(c.nvml(driver="580.95.05")._replace(outcome=outcome)))
    assert judge_one("driver-library-mismatch", later).verdict is PASS


NODES = ("nvidia0", "nvidiactl")


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (c.machine()._replace(kernel=NOT_READ), UNKNOWN),
        (c.machine()._replace(kernel=NOT_READ, system=NOT_READ), UNKNOWN),
        (c.machine()._replace(system=NOT_READ), PASS),
        (blank("kernel", c.machine(), nodes=NODES)._replace(system=NOT_READ), UNKNOWN),
        (c.machine()._replace(kernel=NOT_READ, system=Known(c.system(os="windows"))), PASS),
        (c.machine()._replace(kernel=NOT_READ, system=Known(c.system(wsl=2))), PASS),
        (blank("nvml", c.machine(), stage="assumed")._replace(kernel=NOT_READ), PASS),
    ],
)
def test_device_files_that_were_not_read(facts: Facts, verdict: object) -> None:
    found = judge_one("driver-broken", facts)
    assert found.verdict is verdict
    assert (found.reason == "not read") is (verdict is UNKNOWN)


def test_a_lost_card_that_may_not_be_the_chosen_one() -> None:
    cards = (c.gpu(0), c.gpu(1, fault="GPU is lost"))
    facts = c.machine()._replace(nvml=Known(c.nvml(*cards)))
    assert judge_one("driver-broken", facts).verdict is PASS
    found = judge_one("driver-broken", facts._replace(visible=NOT_READ))
    assert (found.verdict, found.reason) == (UNKNOWN, "not read")
    assert judge_one("driver-broken", c.machine()._replace(visible=NOT_READ)).verdict is PASS


def test_repairs_of_the_driver_are_by_hand() -> None:
    old = judge_one("driver-too-old", driven("569.1", "12.8", (12, 8)))
    assert [(r.id, r.grade) for r in old.fixes] == [("update-driver", "manual")]
    # One update serves the card and the builds that run at full speed.
    assert "driver 580 or newer" in old.fixes[0].summary
    gone = blank("kernel", c.machine(), nodes=NODES, modprobe=False)
    found = judge_one("driver-broken", gone)
    assert [r.grade for r in found.fixes] == ["manual"]
    assert commands(found) == ["sudo modprobe nvidia_uvm"]
