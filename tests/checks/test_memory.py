"""Memory of the card and beside it."""

from __future__ import annotations

import around as a
import construct as c
import constructed
import pytest
from judging import FAIL, PASS, SKIPPED, UNKNOWN, WARN, alone, judge_one, verdict_of

from klein_doctor.model import Facts, GpuProcess, Known, Unknown, Verdict

GIB = 1 << 30
GONE = Unknown("not read")


def on(free: float, total: float = 11.94, facts: Facts | None = None, **card: object) -> Facts:
    told = {
        "free_bytes": Known(int(free * GIB)),
        "total_bytes": Known(int(total * GIB)),
        "processes": Known(()),
        **card,
    }
    return (facts or c.machine())._replace(nvml=Known(c.nvml(c.gpu(**told))))


def holding(**mib: int) -> Known[tuple[GpuProcess, ...]]:
    return Known(tuple(GpuProcess(n, name, Known(size << 20)) for n, (name, size) in
                       enumerate(mib.items())))  # fmt: skip


@pytest.mark.parametrize(("total", "verdict"), [(2.0, FAIL), (4.0, PASS), (11.9, PASS)])
def test_the_card_in_all(total: float, verdict: Verdict) -> None:
    assert alone("vram-too-small", on(1, total)) is verdict
    if verdict is FAIL:
        assert verdict_of("vram-busy", on(1, total)).verdict is SKIPPED


@pytest.mark.parametrize(("free", "verdict"), [(10.6, PASS), (3.0, PASS), (2.9, FAIL)])
def test_what_is_free_for_comfyui(free: float, verdict: Verdict) -> None:
    assert alone("vram-busy", on(free)) is verdict


def test_who_holds_it_is_named() -> None:
    held = holding(obs=2600, chrome=1400, Xorg=300)
    found = judge_one("vram-busy", on(2.3, 8.0, processes=held))
    assert found.verdict is FAIL and "obs (2.5 GiB), chrome (1.4 GiB)" in found.detail
    assert found.fixes[0].summary == "close obs, chrome"


def test_windows_does_not_tell_who_holds_it() -> None:
    facts = c.on_windows(c.machine(windows=True), card=c.gpu(free_bytes=Known(2 * GIB)))
    found = judge_one("vram-busy", facts)
    assert found.verdict is FAIL and "does not tell" in found.detail


def test_wsl_and_containers_do_not_list_other_programs() -> None:
    for around in ({"wsl": 2}, {"container": "docker"}):
        facts = on(2.0)._replace(system=Known(c.system(**around)))
        assert "does not tell" in judge_one("vram-busy", facts).detail


def test_a_running_comfyui_is_not_blamed_for_its_own_memory() -> None:
    card = c.gpu(free_bytes=Known(GIB // 2))
    facts = c.on_windows(c.machine(windows=True), card=card)
    assert alone("vram-busy", facts) is FAIL
    found = judge_one("vram-busy", facts._replace(servers=Known((a.server(),))))
    assert found.verdict is UNKNOWN and "a ComfyUI is running" in (found.reason or "")
    enough = c.on_windows(c.machine(windows=True))._replace(servers=Known((a.server(),)))
    assert alone("vram-busy", enough) is PASS


def test_what_a_card_without_fused_attention_needs() -> None:
    turing = {"compute_capability": Known((7, 5))}
    found = judge_one("vram-busy", on(5.2, 6.0, constructed.diffusers(), **turing))
    assert found.verdict is FAIL and "diffusers route needs 6.8" in found.detail
    assert "too small for this route" in found.detail
    assert alone("vram-busy", on(10.5, 11.0, constructed.diffusers(), **turing)) is PASS


def test_a_desktop_is_silent_a_game_is_not() -> None:
    assert alone("vram-busy", on(8.0, processes=holding(firefox=900))) is PASS
    game = judge_one("vram-busy", on(5.0, processes=holding(game=5200)))
    assert game.verdict is WARN and "game" in game.detail
    assert alone("vram-busy", on(5.0, 8.0, processes=holding(firefox=900))) is PASS


def test_the_diffusers_route() -> None:
    facts = constructed.diffusers(memory=Known(a.memory(32, 13)))
    assert alone("vram-busy", on(10.6, facts=facts)) is PASS
    assert alone("vram-busy", on(2.4, facts=facts)) is FAIL
    slower = judge_one("vram-busy", on(7.6, facts=facts, processes=holding(game=3800)))
    assert slower.verdict is WARN and "With these closed" in slower.detail


def test_ram_for_comfyui() -> None:
    def ram(available: float, **more: object) -> Facts:
        memory = a.memory(16, **more)._replace(available=int(available * GIB))
        return c.machine()._replace(memory=Known(memory))

    assert alone("ram-too-small", ram(5.1)) is PASS
    assert alone("ram-too-small", ram(3.5)) is PASS  # with the swap on disk
    assert alone("swap-misleading", ram(3.5)) is WARN
    short = judge_one("ram-too-small", ram(2.5))
    assert short.verdict is FAIL and "2.5 GiB of 16.0 GiB are available" in short.detail
    zram = ram(3.5, swap_total=0, swap_free=0, zram_total=8 * GIB, zram_free=8 * GIB)
    assert alone("ram-too-small", zram) is FAIL
    found = verdict_of("swap-misleading", zram)
    assert found.verdict is WARN and "zram" in found.detail and found.because is not None


def test_what_binds_is_named() -> None:
    limited = a.memory(64, 50, limit=4 * GIB, limit_free=3 * GIB, limited_by="cgroup v2")
    found = judge_one("ram-too-small", c.machine()._replace(memory=Known(limited)))
    assert found.verdict is FAIL and "limit of 4.0 GiB (cgroup v2)" in found.detail
    commit = a.memory(16, 9, commit_limit=17 * GIB, commit_free=2 * GIB)
    windows = c.on_windows(c.machine(windows=True))._replace(memory=Known(commit))
    found = judge_one("ram-too-small", windows)
    assert found.verdict is FAIL and "os error 1455" in found.detail
    wsl = c.machine()._replace(
        system=Known(c.system(wsl=2)), memory=Known(a.memory(8, 2, swap_free=0))
    )
    found = judge_one("ram-too-small", wsl)
    assert found.verdict is FAIL and ".wslconfig" in found.fixes[0].summary


def test_offload_dies_at_decode_but_another_way_fits() -> None:
    found = judge_one("ram-too-small", constructed.diffusers(memory=Known(a.memory(16, 13))))
    assert found.verdict is WARN and "decoded" in found.detail
    assert alone("ram-too-small", constructed.diffusers()) is PASS
    # Smaller cards end it before RAM does; with more swap it is slow, not ended.
    leaner = constructed.diffusers(memory=Known(a.memory(16, 13)))
    assert alone("ram-too-small", on(7.6, facts=leaner)) is PASS
    assert alone("ram-too-small", on(5.2, 6.0, leaner)) is PASS
    swapping = constructed.diffusers(memory=Known(a.memory(16, 13, swap_free=8 * GIB)))
    assert "live on swap" in judge_one("ram-too-small", swapping).title
    assert "ended at decode" in found.title
    none = judge_one(
        "ram-too-small", constructed.diffusers(memory=Known(a.memory(4, 1, swap_free=0)))
    )
    assert none.verdict is FAIL


def test_ignorance() -> None:
    for name in ("ram-too-small", "swap-misleading"):
        assert alone(name, c.machine()._replace(memory=GONE)) is UNKNOWN
    for name in ("vram-too-small", "vram-busy"):
        assert alone(name, c.machine()._replace(nvml=GONE)) is UNKNOWN
        assert alone(name, c.MADE["no-driver-at-all"][0]()) is SKIPPED
    assert alone("vram-busy", on(1, free_bytes=GONE)) is UNKNOWN


def test_an_assumed_card_is_empty() -> None:
    facts = on(1, free_bytes=GONE)
    assert isinstance(facts.nvml, Known)
    assumed = facts._replace(nvml=Known(facts.nvml.value._replace(stage="assumed")))
    assert alone("vram-busy", assumed) is PASS
