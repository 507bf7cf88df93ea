"""Checks of the card, with literal facts."""

from __future__ import annotations

import construct as c
import pytest
from judging import FAIL, PASS, SKIPPED, UNKNOWN, WARN, alone, commands, judge_one, verdict_of

from klein_doctor.model import (
    Facts,
    GpuProcess,
    Known,
    MigInstance,
    PciDisplay,
    Private,
    Unknown,
    Visible,
)

NOT_READ = Unknown("not read")
LOST = c.silent("library-missing", "NVML Shared Library Not Found")
NO_GPU = Unknown("NVML shows no GPU")
plain = Private.plain


def without_gpu(answer, kernel, **system):  # type: ignore[no-untyped-def]
    return c.machine()._replace(
        nvml=Known(answer),
        visible=NO_GPU,
        kernel=kernel if isinstance(kernel, Unknown) else Known(kernel),
        system=Known(c.system(**system)),
    )


@pytest.mark.parametrize(
    ("answer", "kernel", "system", "said"),
    [
        (LOST, NOT_READ, {"os": "darwin"}, "Mac"),
        (LOST, NOT_READ, {"os": "windows"}, "No NVIDIA driver is installed"),
        (LOST, c.kernel(displays=()), {}, "no graphics card"),
        (LOST, c.kernel(displays=(PciDisplay("1002", "744c", "amdgpu", 0),)), {}, "AMD"),
        (LOST, c.kernel(displays=(PciDisplay("10de", "2f04", "", 0),)), {}, "RTX 5070"),
        (LOST, c.kernel(displays=(PciDisplay("10de", "ffff", "", 0),)), {}, "A card is plugged in"),
        (LOST, c.kernel(nodes=()), {"container": "docker"}, "started without the card"),
        (LOST, c.kernel(), {"container": "podman"}, "NVIDIA_DRIVER_CAPABILITIES is not set"),
        (LOST, c.kernel(nodes=("dxg",)), {"wsl": 1}, "WSL 1"),
        (LOST, c.kernel(nodes=("dxg",)), {"wsl": 2}, "absent"),
        (LOST, c.kernel(nodes=("dxg",), wsl_stub=True), {"wsl": 2}, "shows no card"),
        (c.silent("no-permission", "Insufficient Permissions"), c.kernel(), {}, "may not talk"),
        (c.silent("driver-not-loaded", ""), c.kernel(loaded_modules=("nouveau",)), {}, "nouveau"),
        (
            c.silent("driver-not-loaded", ""),
            c.kernel(loaded_modules=(), secure_boot=True),
            {},
            "Secure Boot",
        ),
        (c.nvml(), c.kernel(flavour="proprietary"), {}, "open kernel module"),
        (c.nvml(), c.kernel(), {}, "Above 4G"),
        (
            c.nvml(),
            c.kernel(flavour="proprietary", displays=(PciDisplay("10de", "2504", "nvidia", 0),)),
            {},
            "Above 4G",
        ),
    ],
)
def test_why_no_card_answers(answer, kernel, system, said) -> None:  # type: ignore[no-untyped-def]
    found = verdict_of("gpu-not-found", without_gpu(answer, kernel, **system))
    assert found.verdict is FAIL
    assert said in found.detail
    assert found.fixes and found.fixes[0].grade == "manual"


def test_gpu_not_found_passes_and_does_not_guess() -> None:
    assert verdict_of("gpu-not-found", c.machine()).verdict is PASS
    unread = verdict_of("gpu-not-found", c.machine()._replace(nvml=NOT_READ))
    assert (unread.verdict, unread.reason) == (UNKNOWN, "not read")


def test_gpu_hidden() -> None:
    hidden = c._hidden()
    assert verdict_of("gpu-hidden", hidden).verdict is FAIL
    assert verdict_of("gpu-hidden", c.machine()).verdict is PASS
    assert verdict_of("gpu-hidden", c.machine()._replace(visible=NOT_READ)).verdict is UNKNOWN
    assert commands(verdict_of("gpu-hidden", hidden)) == ["unset CUDA_VISIBLE_DEVICES"]
    windows = hidden._replace(system=Known(c.system(os="windows")))
    assert commands(verdict_of("gpu-hidden", windows)) == ["set CUDA_VISIBLE_DEVICES="]
    gone = without_gpu(LOST, c.kernel())
    assert verdict_of("gpu-hidden", gone).verdict is SKIPPED


def two(order: tuple[int, ...], certain: bool, chosen: int, first_is_best: bool = True):  # type: ignore[no-untyped-def]
    cards = (c.gpu(0), c.weaker(1))
    if not first_is_best:
        cards = (c.weaker(0), c.gpu(1))
    return c.machine()._replace(
        nvml=Known(c.nvml(*cards)),
        visible=Known(Visible(order, certain, "", chosen, "first", None)),
    )


def test_gpu_not_the_best() -> None:
    assert verdict_of("gpu-not-the-best", two((0, 1), True, 0)).verdict is PASS
    weaker = verdict_of("gpu-not-the-best", two((1,), True, 1))
    assert weaker.verdict is WARN and "RTX 3060" in weaker.title and "RTX 5070" in weaker.detail
    differs = verdict_of("gpu-not-the-best", two((1, 0), False, 1, first_is_best=False))
    assert differs.verdict is WARN and "number these cards differently" in differs.title
    assert "CUDA_VISIBLE_DEVICES=1" in differs.fixes[0].summary
    sure = verdict_of("gpu-not-the-best", two((1, 0), True, 1, first_is_best=False))
    assert sure.verdict is PASS


def with_capability(major: int, minor: int):  # type: ignore[no-untyped-def]
    return c.machine()._replace(nvml=Known(c.nvml(c.gpu(compute_capability=Known((major, minor))))))


@pytest.mark.parametrize(
    ("capability", "verdict"),
    [
        ((5, 0), FAIL),
        ((6, 1), FAIL),
        ((7, 0), FAIL),
        ((7, 4), FAIL),
        ((7, 5), WARN),
        ((8, 0), WARN),
        ((8, 6), WARN),
        ((8, 8), WARN),
        ((8, 9), PASS),
        ((9, 0), PASS),
        ((12, 0), PASS),
        ((12, 1), PASS),
        ((13, 0), PASS),
        ((20, 0), PASS),
    ],
)
def test_gpu_too_old(capability: tuple[int, int], verdict) -> None:  # type: ignore[no-untyped-def]
    assert verdict_of("gpu-too-old", with_capability(*capability)).verdict is verdict


def test_a_card_newer_than_the_tables_says_how_old_they_are() -> None:
    assert "tables of 2026-" in verdict_of("gpu-too-old", with_capability(13, 0)).title


def test_gpu_too_old_without_a_capability() -> None:
    unread = c.machine()._replace(nvml=Known(c.nvml(c.gpu(compute_capability=NOT_READ))))
    assert verdict_of("gpu-too-old", unread).verdict is UNKNOWN
    gone = without_gpu(LOST, c.kernel(displays=()))
    assert verdict_of("gpu-too-old", gone).because == "gpu-not-found:1"


def chosen(**changes: object):  # type: ignore[no-untyped-def]
    return c.machine()._replace(nvml=Known(c.nvml(c.gpu(**changes))))


def test_gpu_mode_blocks() -> None:
    busy = Known((GpuProcess(7, "train.py", Known(1)),))
    name = "gpu-mode-blocks"
    assert verdict_of(name, chosen()).verdict is PASS
    assert verdict_of(name, chosen(compute_mode=c.NOT_SUPPORTED)).verdict is PASS
    assert verdict_of(name, chosen(compute_mode=Known("prohibited"))).verdict is FAIL
    exclusive = Known("exclusive-process")
    taken = verdict_of(name, chosen(compute_mode=exclusive, processes=busy))
    assert taken.verdict is FAIL and "train.py (pid 7)" in taken.detail
    assert verdict_of(name, chosen(compute_mode=exclusive, processes=Known(()))).verdict is PASS


def test_mig_slices() -> None:
    def sliced(*sizes: int):  # type: ignore[no-untyped-def]
        slices = tuple(MigInstance(plain(f"MIG-{n}"), Known(s << 30)) for n, s in enumerate(sizes))
        return chosen(mig_enabled=Known(True), mig_instances=slices)

    assert verdict_of("gpu-mode-blocks", sliced()).verdict is FAIL
    assert verdict_of("gpu-mode-blocks", sliced(2)).verdict is WARN
    assert verdict_of("gpu-mode-blocks", sliced(3)).verdict is PASS
    odd = chosen(mig_enabled=Known(True), mig_instances=(MigInstance(plain("MIG-0"), NOT_READ),))
    assert verdict_of("gpu-mode-blocks", odd).verdict is UNKNOWN


@pytest.mark.parametrize("name", ["gpu-hidden", "gpu-not-the-best", "gpu-mode-blocks"])
def test_unknown_stays_unknown(name: str) -> None:
    assert alone(name, c.machine()._replace(visible=NOT_READ, nvml=NOT_READ)) is UNKNOWN


@pytest.mark.parametrize("name", ["gpu-hidden", "gpu-not-the-best", "gpu-mode-blocks"])
def test_the_reason_is_the_unread_facts_own(name: str) -> None:
    for facts in (
        c.machine()._replace(visible=NOT_READ),
        c.machine()._replace(visible=NOT_READ, nvml=NOT_READ),
    ):
        found = judge_one(name, facts)
        assert (found.verdict, found.reason) == (UNKNOWN, "not read")


@pytest.mark.parametrize("field", ["compute_capability", "total_bytes"])
def test_cards_that_do_not_tell_their_strength_are_not_ranked(field: str) -> None:
    for blank in (0, 1):
        cards = [c.gpu(0), c.weaker(1)]
        cards[blank] = cards[blank]._replace(**{field: NOT_READ})
        facts = two((0, 1), True, 0)._replace(nvml=Known(c.nvml(*cards)))
        found = judge_one("gpu-not-the-best", facts)
        assert (found.verdict, found.reason) == (UNKNOWN, f"GPU {blank}: not read")
    assert judge_one("gpu-not-the-best", chosen(**{field: NOT_READ})).verdict is PASS


def test_twins_are_equally_good() -> None:
    facts = c.machine()._replace(
        nvml=Known(c.nvml(c.gpu(0), c.gpu(1))),
        visible=Known(Visible((1,), True, "", 1, "CUDA_VISIBLE_DEVICES", None)),
    )
    assert judge_one("gpu-not-the-best", facts).verdict is PASS


def test_the_generation_of_an_unknown_choice() -> None:
    facts = two((0, 1), True, 0)._replace(visible=NOT_READ)
    found = judge_one("gpu-too-old", facts)
    assert (found.verdict, found.reason) == (UNKNOWN, "not read")
    twins = facts._replace(nvml=Known(c.nvml(c.gpu(0), c.gpu(1))))
    assert judge_one("gpu-too-old", twins).verdict is PASS
    # Hidden cards are judged by the strongest: it is the one to be unhidden.
    assert judge_one("gpu-too-old", c._hidden()).verdict is PASS


MIG = (MigInstance(plain("MIG-0"), Known(2 << 30)),)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"compute_mode": NOT_READ}, UNKNOWN),
        ({"mig_enabled": NOT_READ}, UNKNOWN),
        ({"processes": NOT_READ}, PASS),
        ({"compute_mode": Known("exclusive-process"), "processes": NOT_READ}, UNKNOWN),
        ({"compute_mode": Known("exclusive-thread"), "processes": NOT_READ}, UNKNOWN),
        ({"compute_mode": Known("prohibited"), "processes": NOT_READ}, FAIL),
        ({"compute_mode": Known("prohibited"), "mig_enabled": NOT_READ}, FAIL),
        ({"compute_mode": NOT_READ, "mig_enabled": Known(True)}, FAIL),
        ({"compute_mode": NOT_READ, "mig_enabled": Known(True), "mig_instances": MIG}, UNKNOWN),
        ({"mig_enabled": Known(False)}, PASS),
    ],
)
def test_modes_that_are_not_known(changes: dict[str, object], verdict: object) -> None:
    found = judge_one("gpu-mode-blocks", chosen(**changes))
    assert found.verdict is verdict
    assert (found.reason == "not read") is (verdict is UNKNOWN)


def test_the_slice_that_was_named_is_the_one_judged() -> None:
    large = MigInstance(plain("MIG-1"), Known(20 << 30))
    facts = chosen(mig_enabled=Known(True), mig_instances=(*MIG, large))
    assert judge_one("gpu-mode-blocks", facts).verdict is WARN
    named = facts._replace(visible=Known(Visible((0,), True, "", 0, "--gpu", large)))
    assert judge_one("gpu-mode-blocks", named).verdict is PASS


def hidden_facts(facts: Facts) -> Facts:
    return facts._replace(environment=NOT_READ, system=NOT_READ)


def test_a_hidden_card_needs_neither_environment_nor_system() -> None:
    found = judge_one("gpu-hidden", hidden_facts(c._hidden()))
    assert found.verdict is FAIL and found.fixes[0].grade == "manual"
    assert judge_one("gpu-hidden", hidden_facts(c.machine())).verdict is PASS
