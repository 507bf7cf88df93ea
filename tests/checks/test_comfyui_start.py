"""How ComfyUI is started: who reaches it, arguments that do harm, its memory engine."""

from __future__ import annotations

import around as a
import construct as c
import pytest
from judging import FAIL, PASS, RECIPE, SKIPPED, UNKNOWN, WARN, alone, commands, judge_one

from klein_doctor.installation import Launcher
from klein_doctor.model import Facts, Gpu, Known, Outcome, Unknown, Visible
from klein_doctor.registry import catalogue

NOT_READ = Unknown("not read")
ROOT = "~/ComfyUI"


def started(*ways: Launcher, **changes: object) -> Facts:
    return c.machine()._replace(comfyui=Known(a.comfyui(launchers=ways, **changes)))


def script(*names: str, line: int = 3, listen: str = "", kind: str = "sh") -> Launcher:
    flags = tuple(a.flag(*name.split(" ", 1)) for name in names)
    return a.launcher(kind, f"~/ComfyUI/run{line}.{kind}", *flags, listen=listen, line=line)


def runs(*names: str, listen: str = "") -> Launcher:
    return script(*names, listen=listen, kind="server", line=0)


def outcomes(name: str, facts: Facts) -> list[Outcome]:
    found = catalogue()[name].judge(facts, RECIPE)
    return [found] if isinstance(found, Outcome) else list(found)


# --- comfyui-exposed -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listen", "verdict"),
    [("", PASS), ("loopback", PASS), ("private", WARN), ("any", WARN), ("public", FAIL)],
)
@pytest.mark.parametrize("way", [script, runs])
def test_who_reaches_it_decides(way: object, listen: str, verdict: object) -> None:
    assert callable(way)
    found = judge_one("comfyui-exposed", started(way("--listen", listen=listen)))
    assert found.verdict is verdict
    if verdict is not PASS:
        assert "no login" in found.detail and found.detail.endswith(".") and found.fixes


def test_a_file_is_told_with_its_line() -> None:
    found = judge_one("comfyui-exposed", started(script(), script(listen="any", line=7)))
    assert found.title == "ComfyUI would be open to others"
    assert found.subject is not None and found.subject.public == "~/ComfyUI/run7.sh"
    assert "line 7" in found.detail and found.fixes[0].grade == "ask"
    assert "127.0.0.1" in found.fixes[0].summary


def test_the_widest_of_several_is_told_and_all_are_listed() -> None:
    ways = (script(listen="private", line=1), script(listen="public", line=2))
    found = judge_one("comfyui-exposed", started(*ways))
    assert found.verdict is FAIL and found.evidence["line"] == 2
    assert found.evidence["places"] == tuple(way.path for way in ways)


def test_what_runs_comes_before_what_would_start_it() -> None:
    found = judge_one("comfyui-exposed", started(runs(listen="any"), script()))
    assert found.title == "ComfyUI is open to others" and found.fixes[0].grade == "manual"


def test_in_a_container_the_port_is_published_to_the_host_alone() -> None:
    facts = started(runs(listen="any"))._replace(system=Known(c.system(container="docker")))
    found = judge_one("comfyui-exposed", facts)
    assert found.verdict is WARN and "published" in found.detail
    assert commands(found) == ["docker run -p 127.0.0.1:8188:8188 ..."]


def test_in_wsl_it_is_said_that_windows_needs_none_of_it() -> None:
    facts = started(script(listen="any"))._replace(system=Known(c.system(wsl=2)))
    found = judge_one("comfyui-exposed", facts)
    assert found.verdict is WARN and "localhost" in found.detail


def test_another_server_that_is_open_is_told_too() -> None:
    facts = started(runs())._replace(
        search=Known(a.search(a.install(port=8188))),
        servers=Known(
            (a.server(8188), a.server(8000, listen="any"), a.server(8189, outcome="other"))
        ),
    )
    found = outcomes("comfyui-exposed", facts)
    assert [each.verdict for each in found] == [WARN] and "port 8000" in found[0].title


def test_the_judged_server_is_told_once() -> None:
    facts = started(runs(listen="any"))._replace(
        search=Known(a.search(a.install(port=8188))),
        servers=Known((a.server(8188, listen="any"),)),
    )
    assert len(outcomes("comfyui-exposed", facts)) == 1


def test_unread_servers_leave_it_open() -> None:
    assert alone("comfyui-exposed", started()._replace(servers=NOT_READ)) is UNKNOWN
    wide = started(script(listen="any"))._replace(servers=NOT_READ)
    assert alone("comfyui-exposed", wide) is WARN


# --- comfyui-flags-harmful -------------------------------------------------------------------


def card(facts: Facts, **changes: object) -> Facts:
    one: Gpu = c.gpu(**changes)
    return facts._replace(nvml=Known(c.nvml(one)))


@pytest.mark.parametrize(
    ("flag", "verdict"),
    [
        ("--gpu-only", WARN),
        ("--highvram", WARN),
        ("--novram", WARN),
        ("--cpu-vae", WARN),
        ("--force-fp32", WARN),
        ("--fp32-unet", WARN),
        ("--fp32-text-enc", WARN),
        ("--normalvram", WARN),
        ("--use-flash-attention", PASS),
        ("--use-sage-attention", WARN),
        ("--lowvram", PASS),
        ("--fast", PASS),
        ("--reserve-vram", PASS),
        ("--disable-all-custom-nodes", PASS),
        ("--windows-standalone-build", PASS),
    ],
)
def test_flags_on_a_card_of_12_gb(flag: str, verdict: object) -> None:
    found = judge_one("comfyui-flags-harmful", started(script(flag)))
    assert found.verdict is verdict
    if verdict is WARN:
        assert flag in found.title and flag in found.detail and "line 3" in found.detail
        assert found.fixes[0].id == "release-flags"


@pytest.mark.parametrize("flag", ["--gpu-only", "--highvram"])
def test_a_card_that_holds_it_all_may_keep_it_all(flag: str) -> None:
    facts = card(started(script(flag)), total_bytes=Known(24 << 30))
    assert alone("comfyui-flags-harmful", facts) is PASS
    unread = card(started(script(flag)), total_bytes=NOT_READ)
    assert judge_one("comfyui-flags-harmful", unread).reason == "not read"


def test_without_a_card_there_is_nothing_to_compare() -> None:
    facts = started(script("--highvram"))._replace(
        nvml=Known(c.silent("library-missing", "no")), visible=NOT_READ
    )
    assert alone("comfyui-flags-harmful", facts) is SKIPPED


def test_a_package_that_is_there_may_be_asked_for() -> None:
    facts = started(script("--use-sage-attention"))
    there = facts._replace(packages=Known(a.packages({"sageattention": "2.2.0"})))
    assert alone("comfyui-flags-harmful", there) is PASS
    assert alone("comfyui-flags-harmful", facts._replace(packages=NOT_READ)) is UNKNOWN
    assert "does not start" in judge_one("comfyui-flags-harmful", facts).title


@pytest.mark.parametrize(("version", "verdict"), [("0.21.1", PASS), ("0.22.0", WARN)])
def test_normalvram_is_gone_from_a_version_on(version: str, verdict: object) -> None:
    facts = started(script("--normalvram"), version=Known(version))
    assert alone("comfyui-flags-harmful", facts) is verdict


def test_a_server_that_runs_did_start() -> None:
    assert alone("comfyui-flags-harmful", started(runs("--use-sage-attention"))) is PASS
    assert alone("comfyui-flags-harmful", started(runs("--novram"))) is WARN


def test_what_starts_it_the_next_time_counts_beside_a_server() -> None:
    facts = started(runs(), script("--use-sage-attention", line=4))
    found = judge_one("comfyui-flags-harmful", facts)
    assert found.verdict is WARN and "line 4" in found.detail
    assert "started without it" in found.detail
    # It runs with it, so the file alone is what is told.
    facts = started(runs("--use-sage-attention"), script("--use-sage-attention"))
    found = judge_one("comfyui-flags-harmful", facts)
    assert found.verdict is WARN and "started without it" not in found.detail
    assert alone("comfyui-flags-harmful", started(runs(), script("--cpu"))) is PASS
    found = judge_one("comfyui-exposed", started(runs(), script(listen="any")))
    assert found.verdict is WARN and found.title == "ComfyUI would be open to others"


def test_the_portables_file_for_the_processor_is_no_fault() -> None:
    assert alone("comfyui-flags-harmful", started(script("--cpu"), script())) is PASS
    assert alone("comfyui-flags-harmful", started(script("--cpu"))) is WARN
    assert alone("comfyui-flags-harmful", started(runs("--cpu"), script())) is WARN


def test_each_flag_is_an_outcome_with_all_its_places() -> None:
    facts = started(script("--novram", line=1), script("--novram", "--gpu-only", line=2))
    found = outcomes("comfyui-flags-harmful", facts)
    assert {each.evidence["flag"] for each in found} == {"--novram", "--gpu-only"}
    twice = next(each for each in found if each.evidence["flag"] == "--novram")
    assert "in 1 more." in twice.detail and len(twice.evidence["places"]) == 2


# --- comfyui-memory-engine -------------------------------------------------------------------


def engine(version: str, platform: str = "windows", *ways: Launcher, gpus: int = 1) -> Facts:
    facts = started(*ways, version=Known(version))
    cards = tuple(c.gpu(n) for n in range(gpus))
    system = c.system(wsl=2) if platform == "wsl" else c.system(os=platform)
    return facts._replace(
        system=Known(system),
        nvml=Known(c.nvml(*cards)),
        visible=Known(Visible(tuple(range(gpus)), True, "", 0, "first", None)),
    )


@pytest.mark.parametrize("platform", ["windows", "linux", "wsl"])
@pytest.mark.parametrize("version", ["0.9.2", "0.15.1", "0.27.0", "0.33.0", "0.99.0", "nonsense"])
def test_ordinary_machines_hear_nothing(version: str, platform: str) -> None:
    assert alone("comfyui-memory-engine", engine(version, platform)) is PASS


@pytest.mark.parametrize(
    ("version", "platform", "verdict"),
    [
        ("0.15.1", "windows", PASS),
        ("0.16.0", "windows", WARN),
        ("0.18.1", "windows", WARN),
        ("0.19.0", "windows", PASS),
        ("0.17.0", "linux", PASS),
        ("0.17.0", "wsl", PASS),
    ],
)
def test_the_first_versions_with_dynamic_vram(version: str, platform: str, verdict: object) -> None:
    found = judge_one("comfyui-memory-engine", engine(version, platform))
    assert found.verdict is verdict
    if verdict is WARN:
        assert version in found.title and "--disable-dynamic-vram" in found.fixes[0].summary


@pytest.mark.parametrize("flag", ["--disable-dynamic-vram", "--highvram", "--novram"])
def test_who_avoids_it_already_hears_nothing(flag: str) -> None:
    assert alone("comfyui-memory-engine", engine("0.17.0", "windows", script(flag))) is PASS
    both = engine("0.17.0", "windows", script(flag), script())
    assert alone("comfyui-memory-engine", both) is WARN
    running = engine("0.17.0", "windows", runs(flag), script())
    assert alone("comfyui-memory-engine", running) is PASS


@pytest.mark.parametrize(
    ("version", "flag", "verdict"),
    [
        ("0.15.1", "--fast", WARN),
        ("0.12.0", "--fast dynamic_vram", WARN),
        ("0.15.1", "--fast fp16_accumulation dynamic_vram", WARN),
        ("0.15.1", "--fast fp16_accumulation", PASS),
        ("0.15.1", "--listen", PASS),
        ("0.11.1", "--fast", PASS),
        ("0.16.0", "--fast", PASS),
    ],
)
def test_wsl_before_it_was_left_out_there(version: str, flag: str, verdict: object) -> None:
    assert alone("comfyui-memory-engine", engine(version, "wsl", script(flag))) is verdict


@pytest.mark.parametrize(
    ("version", "gpus", "flags", "verdict"),
    [
        ("0.33.0", 2, (), WARN),
        ("0.30.1", 3, (), WARN),
        ("0.33.0", 1, (), PASS),
        ("0.29.0", 2, (), PASS),
        ("0.34.0", 2, (), PASS),
        ("0.33.0", 2, ("--cuda-device 0",), PASS),
        ("0.33.0", 2, ("--disable-pinned-memory",), PASS),
    ],
)
def test_two_cards_on_windows(
    version: str, gpus: int, flags: tuple[str, ...], verdict: object
) -> None:
    facts = engine(version, "windows", script(*flags), gpus=gpus)
    assert alone("comfyui-memory-engine", facts) is verdict


@pytest.mark.parametrize(
    ("version", "mib", "verdict"),
    [("0.35.1", 6144, WARN), ("0.35.1", 8188, PASS), ("0.35.2", 6144, PASS)],
)
def test_small_cards_with_0_35(version: str, mib: int, verdict: object) -> None:
    facts = card(engine(version), total_bytes=Known(mib << 20))
    assert alone("comfyui-memory-engine", facts) is verdict


def test_ignorance_is_unknown_and_no_card_is_no_ignorance() -> None:
    assert alone("comfyui-memory-engine", started(version=NOT_READ)) is UNKNOWN
    assert alone("comfyui-memory-engine", started()._replace(system=NOT_READ)) is UNKNOWN
    dark = engine("0.33.0")._replace(visible=NOT_READ)
    assert alone("comfyui-memory-engine", dark) is UNKNOWN
    none = dark._replace(nvml=Known(c.silent("library-missing", "no")))
    assert alone("comfyui-memory-engine", none) is SKIPPED
