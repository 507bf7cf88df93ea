"""What gpu-not-found says of each way in which no card answers, with literal facts."""

from __future__ import annotations

import construct as c
import pytest
from judging import FAIL, PASS, RECIPE, UNKNOWN, judge_one

from klein_doctor.engine import first_of, judge
from klein_doctor.model import (
    Environment,
    Facts,
    KernelDriver,
    Known,
    Nvml,
    Outcome,
    PciDisplay,
    System,
    Unknown,
)
from klein_doctor.registry import catalogue

NAME = "gpu-not-found"
NOT_READ = Unknown("not read")
ABSENT = c.silent("library-missing", "NVML Shared Library Not Found")


def without(
    answer: Nvml = ABSENT,
    kernel: KernelDriver | Unknown = NOT_READ,
    system: System | Unknown = NOT_READ,
    environment: Environment | Unknown = NOT_READ,
) -> Facts:
    """A machine that shows no card, as far as is told."""

    def told(fact: object) -> object:
        return fact if isinstance(fact, Unknown) else Known(fact)

    return c.machine()._replace(
        nvml=Known(answer),
        visible=Unknown("NVML shows no GPU"),
        kernel=told(kernel),
        system=told(system),
        environment=told(environment),
    )


def lines(found: Outcome) -> list[str]:
    return [
        " ".join(part if isinstance(part, str) else part.public for part in command)
        for repair in found.fixes
        for command in repair.commands
    ]


def test_an_unread_nvml_is_unknown() -> None:
    found = judge_one(NAME, c.machine()._replace(nvml=NOT_READ))
    assert (found.verdict, found.reason) == (UNKNOWN, "not read")


def test_a_card_that_answers() -> None:
    found = judge_one(NAME, c.machine())
    assert (found.verdict, found.title) == (PASS, "RTX 5070, 11.9 GiB, 10.6 GiB free now")
    nameless = c.gpu(name="")._replace(
        name=NOT_READ, total_bytes=NOT_READ, free_bytes=NOT_READ, compute_capability=NOT_READ
    )
    found = judge_one(NAME, c.machine()._replace(nvml=Known(c.nvml(nameless))))
    assert (found.verdict, found.title) == (PASS, "GPU 0")
    assert judge_one(NAME, c.machine()._replace(visible=NOT_READ)).verdict is PASS


@pytest.mark.parametrize("outcome", ["hung", "crashed", "error", "version-mismatch"])
def test_a_driver_that_does_not_answer_is_not_said_to_find_no_card(outcome: str) -> None:
    facts = without(c.silent(outcome, "boom"), c.kernel(), c.system())
    found = judge_one(NAME, facts)
    assert found.verdict is FAIL
    assert "finds no card" not in found.title and "4G" not in found.detail
    whole = judge(facts, RECIPE, catalogue())
    cause = "driver-library-mismatch:1" if outcome == "version-mismatch" else "driver-broken:1"
    assert next(f for f in whole if f.check == NAME).because == cause
    assert first_of(whole, catalogue()) == cause


@pytest.mark.parametrize("listed", ["", "void", "none"])
def test_a_container_that_withholds_the_cards(listed: str) -> None:
    environment = c.environment(nvidia_visible_devices=c.plain(listed))
    for kernel in (c.kernel(), NOT_READ):
        facts = without(ABSENT, kernel, c.system(container="docker"), environment)
        found = judge_one(NAME, facts)
        assert "withholds every card" in found.detail and f"'{listed}'" in found.detail
        assert lines(found) == [
            "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility ..."
        ]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (c.environment(), "is not set"),
        (c.environment(nvidia_driver_capabilities="compute"), "is compute"),
        (c.environment(nvidia_driver_capabilities="all"), "is all"),
        (NOT_READ, "is not known"),
    ],
)
def test_what_a_container_was_given(environment: Environment | Unknown, said: str) -> None:
    facts = without(ABSENT, c.kernel(), c.system(container="docker"), environment)
    found = judge_one(NAME, facts)
    assert found.verdict is FAIL
    assert f"NVIDIA_DRIVER_CAPABILITIES {said}" in found.detail


def test_nothing_is_said_of_what_was_not_read() -> None:
    """The kernel's files are unread: what is or is not below /dev or in WSL is not known."""
    inside = judge_one(NAME, without(system=c.system(container="podman")))
    assert inside.verdict is FAIL and "/dev" not in inside.detail
    wsl = judge_one(NAME, without(system=c.system(wsl=2)))
    assert wsl.verdict is FAIL and "absent" not in wsl.detail
    bare = judge_one(NAME, without(system=c.system()))
    assert bare.verdict is FAIL and "PCI" not in bare.detail
    nothing = judge_one(NAME, without())
    assert nothing.verdict is FAIL and nothing.fixes
    loaded = judge_one(NAME, without(c.silent("driver-not-loaded", "")))
    assert "nouveau" not in loaded.detail and "Secure Boot" not in loaded.detail


def test_wsl_commands() -> None:
    assert lines(judge_one(NAME, without(system=c.system(wsl=1)))) == [
        "wsl --set-version <distribution> 2"
    ]
    assert lines(judge_one(NAME, without(system=c.system(wsl=2)))) == [
        "wsl --update",
        "wsl --shutdown",
    ]


BLACKWELL = PciDisplay("10de", "2f04", "nvidia", 0)
AMPERE = PciDisplay("10de", "2504", "nvidia", 0)
INTEL = PciDisplay("8086", "a780", "i915", 0)


@pytest.mark.parametrize(
    ("displays", "flavour", "repair"),
    [
        ((BLACKWELL,), "proprietary", "open-kernel-module"),
        ((INTEL, BLACKWELL), "proprietary", "open-kernel-module"),
        ((AMPERE, BLACKWELL), "proprietary", "open-kernel-module"),
        ((BLACKWELL,), "open", "firmware-settings"),
        ((BLACKWELL,), "", "firmware-settings"),
        ((AMPERE,), "proprietary", "firmware-settings"),
        ((), "proprietary", "firmware-settings"),
    ],
)
def test_a_loaded_driver_without_devices(
    displays: tuple[PciDisplay, ...], flavour: str, repair: str
) -> None:
    facts = without(c.nvml(), c.kernel(displays=displays, flavour=flavour), c.system())
    found = judge_one(NAME, facts)
    assert (found.verdict, found.fixes[0].id) == (FAIL, repair)


@pytest.mark.parametrize(
    ("displays", "repair"),
    [
        ((), "other-machine"),
        ((INTEL,), "other-machine"),
        ((AMPERE,), "install-driver"),
        ((INTEL, AMPERE), "install-driver"),
    ],
)
def test_without_any_driver(displays: tuple[PciDisplay, ...], repair: str) -> None:
    facts = without(ABSENT, c.kernel(module="", displays=displays), c.system())
    found = judge_one(NAME, facts)
    assert (found.verdict, found.fixes[0].id) == (FAIL, repair)
    assert (lines(found) == []) is (repair == "install-driver")


@pytest.mark.parametrize(
    "facts",
    [
        without(system=c.system(os="darwin")),
        without(system=c.system(os="windows")),
        without(system=c.system(wsl=1)),
        without(system=c.system(container="docker")),
        without(c.silent("no-permission", "Insufficient Permissions"), system=c.system()),
        without(c.silent("driver-not-loaded", ""), c.kernel(secure_boot=True), c.system()),
        without(c.nvml(), c.kernel(), c.system()),
    ],
)
def test_no_repair_here_is_run_for_the_user(facts: Facts) -> None:
    found = judge_one(NAME, facts)
    assert found.verdict is FAIL and found.detail.endswith(".")
    assert {repair.grade for repair in found.fixes} == {"manual"}
