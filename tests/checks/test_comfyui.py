"""ComfyUI: missing, too old, its requirements, with literal facts."""

from __future__ import annotations

import around as a
import construct as c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import FAIL, PASS, RECIPE, UNKNOWN, WARN, alone, commands, judge_one, silent

from klein_doctor.installation import Checkout, Wanted
from klein_doctor.model import Facts, Known, Outcome, System, Unknown
from klein_doctor.registry import catalogue

NOT_READ = Unknown("not read")
NAMES = ("comfyui-too-old", "comfyui-requirements-stale", "custom-node-pins-torch",
         "model-paths-broken", "comfyui-exposed", "comfyui-flags-harmful",
         "comfyui-memory-engine")  # fmt: skip


def machine(root: str = a.ROOT, kind: str = "manual", **changes: object) -> Facts:
    return c.machine()._replace(comfyui=Known(a.comfyui(root, kind, **changes)))


def outcomes(name: str, facts: Facts) -> list[Outcome]:
    found = catalogue()[name].judge(facts, RECIPE)
    return [found] if isinstance(found, Outcome) else list(found)


# --- the route -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ("comfyui-missing", *NAMES))
def test_the_diffusers_route_says_nothing_of_comfyui(name: str) -> None:
    assert silent(name, machine()._replace(route=Known("diffusers")))
    without = c.machine()._replace(
        comfyui=Known(None), packages=Known(a.packages({"diffusers": "0.42.1"}))
    )
    assert silent(name, without)


@pytest.mark.parametrize("name", NAMES)
def test_the_others_are_silent_without_a_comfyui(name: str) -> None:
    assert silent(name, c.machine()._replace(comfyui=Known(None)))


# --- comfyui-missing -------------------------------------------------------------------------


def missing(**changes: object) -> Facts:
    return c.machine()._replace(comfyui=Known(None), search=Known(a.search()), **changes)


def test_a_missing_comfyui_says_where_was_looked_and_what_to_do() -> None:
    found = judge_one("comfyui-missing", missing())
    assert found.verdict is FAIL and "home folder" in found.detail
    assert [fix.id for fix in found.fixes] == ["name-comfyui", "install-comfyui"]
    clone, venv, torch, rest = commands(found)
    assert clone.startswith("git clone --branch v") and "--depth" not in clone
    assert venv == "python3 -m venv ComfyUI/.venv"
    assert torch.endswith("--index-url https://download.pytorch.org/whl/cu130")
    assert "torchvision==" in torch and "torchaudio==" in torch
    assert rest == "ComfyUI/.venv/bin/python -m pip install -r ComfyUI/requirements.txt"


def test_the_torch_that_is_named_fits_the_driver() -> None:
    card = c.weaker(0)
    old = missing(nvml=Known(c.nvml(card, driver="535.183.01", cuda=(12, 2))))
    assert "+cu126" in commands(judge_one("comfyui-missing", old))[2]


def test_on_windows_the_commands_are_those_of_windows() -> None:
    facts = missing(system=Known(System("windows", "10.0.26200", "", "AMD64", 0, "")))
    _, venv, torch, rest = commands(judge_one("comfyui-missing", facts))
    assert venv == "py -m venv ComfyUI\\.venv"
    assert torch.startswith("ComfyUI\\.venv\\Scripts\\python.exe -m pip install ")
    assert rest.endswith("-r ComfyUI\\requirements.txt")


def test_where_there_are_some_none_is_installed_beside_them() -> None:
    why = "the Python that was named belongs to none of them"
    search = a.search(a.install(), a.install("~/other"), chosen=None, why=why)
    found = judge_one("comfyui-missing", missing()._replace(search=Known(search)))
    assert found.verdict is FAIL and "No ComfyUI was found" not in found.title
    assert found.detail == f"There are 2, but none is judged: {why}."
    assert [fix.id for fix in found.fixes] == ["name-comfyui"]


def test_a_search_that_failed_is_not_a_missing_comfyui() -> None:
    facts = c.machine()._replace(comfyui=NOT_READ)
    assert (judge_one("comfyui-missing", facts).verdict) is UNKNOWN
    # Packages that were not read may hold diffusers, and then nobody misses ComfyUI.
    assert alone("comfyui-missing", missing(packages=NOT_READ)) is UNKNOWN
    assert alone("comfyui-missing", missing(packages=NOT_READ, route=Known("comfyui"))) is FAIL
    assert alone("comfyui-missing", missing(route=NOT_READ)) is UNKNOWN
    unread = missing()._replace(search=NOT_READ)
    assert judge_one("comfyui-missing", unread).detail == "The comfyui route needs one."


# --- comfyui-too-old -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "shown"),
    [
        ("0.3.71", "nodes are missing"),
        ("0.3.75", "expected positional dim 64"),
        ("0.8.2", "expected positional dim 64"),
        ("0.9.0", "512x2560 and 7680x3072"),
        ("0.9.1", "512x2560 and 7680x3072"),
        ("0.33.0", "512x2560 and 7680x3072"),
        ("nonsense", "512x2560 and 7680x3072"),
    ],
)
def test_without_the_identifiers_it_is_too_old_whatever_its_number(
    version: str, shown: str
) -> None:
    found = judge_one("comfyui-too-old", machine(version=Known(version), klein=Known(False)))
    assert found.verdict is FAIL and shown in found.detail and version in found.title


def test_without_a_version_the_identifiers_decide() -> None:
    lost = Unknown("its files do not tell its version")
    found = judge_one("comfyui-too-old", machine(version=lost, klein=Known(False)))
    assert found.verdict is FAIL and found.title == "This ComfyUI does not know FLUX.2 [klein]"
    found = judge_one("comfyui-too-old", machine(version=lost))
    assert (found.verdict, found.title) == (PASS, "ComfyUI knows FLUX.2 [klein]")


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("0.9.1", WARN), ("0.9.2", WARN), ("0.10.0", PASS), ("0.33.0", PASS), ("9.0", PASS)],
)
def test_the_first_that_know_klein_are_warned_of(version: str, verdict: object) -> None:
    assert alone("comfyui-too-old", machine(version=Known(version))) is verdict


def running(version: str, port: int = 8188) -> Facts:
    found = a.search(a.install(port=8188))
    return machine()._replace(
        search=Known(found), servers=Known((a.server(port, version=version),))
    )


def test_a_server_that_was_not_started_anew_is_told_beside() -> None:
    files, server = outcomes("comfyui-too-old", running("0.9.1"))
    assert (files.verdict, server.verdict) == (PASS, WARN)
    assert "0.9.1" in server.title and "0.33.0" in server.title
    assert server.fixes[0].id == "restart-comfyui"


@pytest.mark.parametrize(
    "facts", [running("0.33.0"), running("0.34.0"), running(""), running("0.9.1", port=8000)]
)
def test_other_servers_are_no_matter(facts: Facts) -> None:
    assert len(outcomes("comfyui-too-old", facts)) == 1


def update(kind: str = "manual", **changes: object) -> Outcome:
    facts = machine(kind=kind, klein=Known(False), **changes)
    return judge_one("comfyui-too-old", facts)


def checkout(branch: str = "master", dirty: object = Known(False), **more: object) -> object:
    return Known(Checkout(a.COMMIT, branch, dirty, **more))


@pytest.mark.parametrize("kind", ["manual", "comfy-cli"])
def test_a_clean_checkout_is_moved_to_a_release_then_its_requirements(kind: str) -> None:
    found = update(kind, checkout=checkout())
    fetch, merge, install = commands(found)
    assert fetch.startswith("git -C ~/ComfyUI fetch https://") and fetch.endswith(" tag v0.33.0")
    assert merge == "git -C ~/ComfyUI merge --ff-only v0.33.0"
    assert install.endswith("-r ~/ComfyUI/requirements.txt")
    assert "torch==2.14.1+cu130 torchvision==0.29.1+cu130" in install
    assert [(fix.id, fix.grade) for fix in found.fixes] == [
        ("update-comfyui", "ask"), ("install-requirements", "ask"),
    ]  # fmt: skip


def test_one_at_a_release_goes_to_the_next() -> None:
    found = commands(update(checkout=checkout("", release="v0.9.1")))
    assert found[1] == "git -C ~/ComfyUI checkout v0.33.0"


@pytest.mark.parametrize(
    ("kind", "state", "says"),
    [
        ("manual", checkout(dirty=Known(True)), "git status"),
        ("manual", checkout(dirty=NOT_READ), "git status"),
        ("manual", checkout("mine"), "branch other than master"),
        ("manual", checkout(""), "no release"),
        ("manual", checkout(shallow=True), "unshallow"),
        ("manual", Known(None), "as it was installed"),
        ("manual", NOT_READ, "as it was installed"),
        ("portable", checkout(), "update_comfyui.bat"),
        ("desktop", Known(None), "Desktop"),
        ("desktop-2", Known(None), "Desktop"),
        ("stability-matrix", checkout(), "StabilityMatrix"),
        ("pinokio", checkout(), "Pinokio"),
    ],
)
def test_what_its_owner_updates_is_left_to_him(kind: str, state: object, says: str) -> None:
    (fix,) = update(kind, checkout=state).fixes
    assert (fix.grade, fix.commands) == ("manual", ()) and says in fix.summary


# --- comfyui-requirements-stale --------------------------------------------------------------


def stale(**installed: str | None) -> Facts:
    named = {name.replace("_", "-"): version for name, version in installed.items()}
    return machine(requirements=Known(a.wanted(named)))


@pytest.mark.parametrize(
    ("installed", "verdict"),
    [
        ({}, PASS),
        ({"comfy_kitchen": None}, FAIL),
        ({"comfy_kitchen": "0.2.10"}, FAIL),
        ({"comfy_kitchen": "0.2.99"}, WARN),
        ({"comfy_kitchen": "0.2.31+local"}, PASS),
        ({"comfy_aimdo": "0.2.14"}, FAIL),
        ({"comfyui_frontend_package": None}, FAIL),
        ({"comfyui_frontend_package": "1.40.0"}, WARN),
        ({"comfyui_workflow_templates": None}, WARN),
        ({"transformers": "4.40.0"}, WARN),
        ({"numpy": "1.0+%%"}, PASS),
        ({"numpy": "nonsense"}, PASS),
    ],
)
def test_what_ends_the_start_fails_and_the_rest_is_warned_of(
    installed: dict[str, str | None], verdict: object
) -> None:
    found = judge_one("comfyui-requirements-stale", stale(**installed))
    assert found.verdict is verdict
    if verdict is FAIL:
        assert found.detail.endswith("start ends.") and found.fixes


def test_all_of_them_are_one_outcome_the_worst_first() -> None:
    facts = stale(
        transformers=None, numpy=None, comfy_aimdo=None, safetensors=None, comfy_kitchen=None
    )
    (found,) = outcomes("comfyui-requirements-stale", facts)
    assert found.title == "5 of ComfyUI's requirements are not met"
    assert found.detail.startswith("It asks for comfy-kitchen==0.2.31 (here: none); comfy-aimdo")
    assert "; and 1 more. Without the first 2 its start ends." in found.detail


def test_the_command_keeps_torch_by_the_version_pip_knows() -> None:
    facts = stale(comfy_aimdo=None)
    found = judge_one("comfyui-requirements-stale", facts)
    assert commands(found) == [
        "~/ComfyUI/.venv/bin/python -m pip install torch==2.14.1+cu130 torchvision==0.29.1+cu130 "
        "-r ~/ComfyUI/requirements.txt"
    ]
    assert isinstance(facts.torch, Known)
    (record,) = facts.torch.value.distributions
    # PyPI's own builds are recorded without the tag, and pip would not find one with it.
    pypi = facts.torch.value._replace(distributions=(record._replace(version="2.14.1"),))
    found = judge_one("comfyui-requirements-stale", facts._replace(torch=Known(pypi)))
    assert " torch==2.14.1 " in commands(found)[0]


def partners(*names: str) -> Facts:
    wanted = (*a.wanted(), *(Wanted(name, name, None, True) for name in names))
    absent = Known(c.absent("torchvision", "x")) if "torchvision" in names else None
    facts = machine(requirements=Known(wanted))
    return facts if absent is None else facts._replace(torchvision=absent)


def test_missing_partners_come_from_torchs_own_index_first() -> None:
    found = judge_one("comfyui-requirements-stale", partners("torchvision", "torchaudio"))
    assert found.verdict is FAIL
    first, rest = commands(found)
    assert first == (
        "~/ComfyUI/.venv/bin/python -m pip install torch==2.14.1+cu130 torchvision==0.29.1+cu130 "
        "torchaudio==2.11.0+cu130 --index-url https://download.pytorch.org/whl/cu130"
    )
    assert rest.endswith("-r ~/ComfyUI/requirements.txt")


def test_partners_of_an_unlisted_torch_are_left_to_the_user() -> None:
    facts = partners("torchvision")
    assert isinstance(facts.torch, Known)
    newer = facts.torch.value._replace(version=Known("9.9.9+cu999"))
    (fix,) = judge_one("comfyui-requirements-stale", facts._replace(torch=Known(newer))).fixes
    assert (fix.grade, fix.commands) == ("manual", ())


def test_torch_and_partners_that_are_there_are_no_matter_here() -> None:
    trio = tuple(Wanted(name, f"{name}>=99", "1.0", True) for name in ("torch", "torchvision"))
    assert alone("comfyui-requirements-stale", machine(requirements=Known(trio))) is PASS
    unrecorded = (Wanted("torchvision", "torchvision", None, True),)
    assert alone("comfyui-requirements-stale", machine(requirements=Known(unrecorded))) is PASS
    none = (Wanted("torch", "torch", None, True),)
    facts = machine(requirements=Known(none))._replace(torch=Known(c.absent("torch", "x")))
    assert alone("comfyui-requirements-stale", facts) is PASS


def test_without_torch_no_command_would_fetch_a_chance_one() -> None:
    facts = stale(comfy_aimdo=None)._replace(torch=Known(c.absent("torch", "x")))
    (fix,) = judge_one("comfyui-requirements-stale", facts).fixes
    assert (fix.grade, fix.commands) == ("manual", ()) and "PyTorch" in fix.summary


def test_a_python_that_is_hardly_comfyuis_is_not_judged_for_it() -> None:
    facts = stale(comfy_aimdo=None)._replace(search=Known(a.search(a.install(python=None))))
    assert alone("comfyui-requirements-stale", facts) is FAIL
    without = facts._replace(torch=Known(c.absent("torch", "x")))
    assert alone("comfyui-requirements-stale", without) is UNKNOWN


def test_a_marker_that_does_not_hold_is_no_demand() -> None:
    lines = (Wanted("comfy-aimdo", 'comfy-aimdo==0.4.13; sys_platform == "win32"', None, False),)
    assert alone("comfyui-requirements-stale", machine(requirements=Known(lines))) is PASS


def test_the_portables_pip_leaves_the_users_packages_out() -> None:
    facts = c.machine(windows=True)
    told = a.comfyui(a.PORTABLE, "portable", requirements=Known(a.wanted({"numpy": None})))
    found = judge_one("comfyui-requirements-stale", facts._replace(comfyui=Known(told)))
    assert "python.exe -s -m pip install " in commands(found)[0]
    assert commands(found)[0].endswith(r"ComfyUI\requirements.txt")


@pytest.mark.parametrize("name", ["comfyui-too-old", "comfyui-requirements-stale"])
def test_what_was_not_read_is_unknown(name: str) -> None:
    field = {"comfyui-too-old": "klein"}.get(name, "requirements")
    found = judge_one(name, machine(**{field: NOT_READ}))
    assert (found.verdict, found.reason) == (UNKNOWN, "not read")


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["comfy-aimdo", "comfy-kitchen", "numpy", "torchvision", "torch"]),
            st.text(max_size=20) | st.sampled_from(["x==1", "x>=1,<2", "x===1.0-foo", "x==1.*"]),
            st.none() | st.text(max_size=12) | st.sampled_from(["1", "1.0+%%", "1!2", "2.0"]),
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_no_requirement_is_too_strange(lines: list[tuple[str, str, str | None, bool]]) -> None:
    facts = machine(requirements=Known(tuple(Wanted(*line) for line in lines)))
    found = judge_one("comfyui-requirements-stale", facts)
    assert found.verdict in (PASS, WARN, FAIL)
    assert found.verdict is PASS or found.fixes
