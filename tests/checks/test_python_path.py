"""Is it the right Python, and may packages go into it? With literal facts."""

from __future__ import annotations

import around as a
import construct as c
import pytest
from judging import FAIL, PASS, UNKNOWN, WARN, alone, commands, judge_one, silent

from klein_doctor.installation import Setting
from klein_doctor.launched import Moved, Started
from klein_doctor.model import Facts, Interpreter, Known, Unknown

NOT_READ = Unknown("not read")
NO_TORCH = Known(c.absent("torch", "x"))


def python(facts: Facts | None = None, **changes: object) -> Facts:
    facts = facts or c.machine()
    assert isinstance(facts.interpreter, Known)
    changed: Interpreter = facts.interpreter.value._replace(**changes)
    return facts._replace(interpreter=Known(changed))


def around(facts: Facts | None = None, **changes: object) -> Facts:
    return (facts or c.machine())._replace(surroundings=Known(a.surroundings(**changes)))


# --- python-too-new --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "with_torch", "without"),
    [
        ((3, 10), PASS, PASS),
        ((3, 13, 2), PASS, PASS),
        ((3, 14, 0), PASS, PASS),
        ((3, 15), PASS, WARN),
        ((3, 16), PASS, FAIL),
        ((4, 0, 1), PASS, FAIL),
    ],
)
def test_newness_alone_is_no_fault(
    version: tuple[int, ...], with_torch: object, without: object
) -> None:
    facts = python(version=Known(version))
    assert alone("python-too-new", facts) is with_torch
    found = judge_one("python-too-new", facts._replace(torch=NO_TORCH))
    assert found.verdict is without
    if without is not PASS:
        assert "3.12" in found.fixes[0].summary and found.detail.endswith(".")
        assert f"Python {version[0]}.{version[1]}" in found.title
        assert found.title.startswith("No PyTorch") is (without is FAIL)


@pytest.mark.parametrize(
    "facts",
    [
        c.machine()._replace(interpreter=NOT_READ),
        python(version=NOT_READ),
        python(version=Known((3, 16)))._replace(torch=NOT_READ),
    ],
)
def test_an_unread_python_is_unknown(facts: Facts) -> None:
    assert judge_one("python-too-new", facts).reason == "not read"


# --- python-wrong-interpreter ----------------------------------------------------------------


def active(name: str, folder: str, facts: Facts | None = None) -> Facts:
    return (facts or c.machine())._replace(settings=Known((Setting(name, a.plain(folder)),)))


def test_an_environment_that_is_not_activated_is_ordinary() -> None:
    assert alone("python-wrong-interpreter", c.machine()) is PASS


@pytest.mark.parametrize("name", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_another_environment_matters_where_something_is_missing(name: str) -> None:
    other = active(name, "~/other")
    assert alone("python-wrong-interpreter", other) is PASS
    found = judge_one("python-wrong-interpreter", other._replace(torch=NO_TORCH))
    assert found.verdict is WARN and name in found.detail and "torch" in found.detail
    assert commands(found) == ["~/ComfyUI/.venv/bin/python -m pip install ..."]
    stale = a.comfyui(requirements=Known(a.wanted({"comfy-aimdo": None})))
    found = judge_one("python-wrong-interpreter", other._replace(comfyui=Known(stale)))
    assert found.verdict is WARN and "comfy-aimdo" in found.detail


@pytest.mark.parametrize("folder", ["~/ComfyUI/.venv", "~/ComfyUI/.venv/"])
def test_the_targets_own_environment_is_the_right_one(folder: str) -> None:
    facts = active("VIRTUAL_ENV", folder)._replace(torch=NO_TORCH)
    assert alone("python-wrong-interpreter", facts) is PASS
    # A venv inside an active conda: what was activated last comes first.
    both = (
        Setting("VIRTUAL_ENV", a.plain(folder)),
        Setting("CONDA_PREFIX", a.plain("~/miniconda3")),
    )
    facts = c.machine()._replace(torch=NO_TORCH, settings=Known(both))
    assert alone("python-wrong-interpreter", facts) is PASS


def test_windows_does_not_tell_case_apart() -> None:
    facts = active("VIRTUAL_ENV", "~/comfyui_windows_portable/Python_embeded",
                   c.machine(windows=True))  # fmt: skip
    assert alone("python-wrong-interpreter", facts._replace(torch=NO_TORCH)) is PASS


def test_a_pip_that_acts_on_the_target_is_the_right_one() -> None:
    facts = around(active("VIRTUAL_ENV", "~/other"), path_pip_is_target=True)
    assert alone("python-wrong-interpreter", facts._replace(torch=NO_TORCH)) is PASS


LEAK = {"user_site": a.plain("~/.local/lib/python3.12"), "user_packages": ("numpy", "torch")}


def test_the_users_own_packages_leak_in() -> None:
    found = judge_one("python-wrong-interpreter", around(**LEAK))
    assert found.verdict is WARN and "numpy, torch" in found.detail
    assert "-s" in found.fixes[0].summary
    folder = around(user_site=LEAK["user_site"])
    assert alone("python-wrong-interpreter", folder) is PASS


@pytest.mark.parametrize(("isolated", "says"), [(False, "without -s"), (True, "already satisfied")])
def test_a_portable_is_started_with_or_without_them(isolated: bool, says: str) -> None:
    way = a.launcher("bat", r"~\run.bat", isolated=isolated, line=4)
    facts = around(c.machine(windows=True), **LEAK)
    facts = facts._replace(comfyui=Known(a.comfyui(a.PORTABLE, "portable", launchers=(way,))))
    found = judge_one("python-wrong-interpreter", facts)
    assert found.verdict is WARN and says in found.detail


MOVED = Moved(a.plain("~/old"), False, a.plain("~/old/bin/python"))


def started(folder: str, **changes: object) -> Started:
    python = a.plain(f"{folder}/bin/python")
    return Started(a.plain(folder), python, 3, True, True, True)._replace(**changes)


def launched(facts: Facts, *named: Started) -> Facts:
    ways = tuple(a.launcher("sh", "~/ComfyUI/run.sh", started=each) for each in named)
    return facts._replace(comfyui=Known(a.comfyui(launchers=ways)))


def test_a_moved_environment_names_both_places_and_what_mends_it() -> None:
    found = judge_one("python-wrong-interpreter", around(moved=MOVED))
    assert found.verdict is WARN
    for place in ("~/ComfyUI/.venv", "~/old", "~/old/bin/python", "~/ComfyUI/.venv/bin/python"):
        assert place in found.detail
    assert commands(found) == [
        "~/ComfyUI/.venv/bin/python -m venv --without-pip ~/ComfyUI/.venv",
        "~/ComfyUI/.venv/bin/python -m pip install --force-reinstall --no-deps pip",
    ]
    # A pip of the old place alone.
    found = judge_one("python-wrong-interpreter", around(moved=MOVED._replace(activates=None)))
    assert found.verdict is WARN and len(commands(found)) == 1


def test_a_moved_environment_that_starts_comfyui_is_a_failure() -> None:
    facts = around(moved=MOVED)
    found = judge_one("python-wrong-interpreter", launched(facts, started("~/ComfyUI/.venv")))
    assert found.verdict is FAIL and "Line 3 of ~/ComfyUI/run.sh" in found.detail
    # Called by its full name, its Python is the right one.
    direct = started("~/ComfyUI/.venv", activated=False)
    assert alone("python-wrong-interpreter", launched(facts, direct)) is WARN
    assert alone("python-wrong-interpreter", launched(facts, started("~/x"))) is WARN


def test_a_launcher_may_name_what_is_not_there() -> None:
    gone = started("~/ComfyUI/venv", there=False)
    found = judge_one("python-wrong-interpreter", launched(c.machine(), gone, gone))
    assert found.verdict is WARN and found.subject == a.plain("~/ComfyUI/run.sh")
    assert "~/ComfyUI/venv" in found.detail and "~/ComfyUI/.venv" in found.detail
    there = launched(c.machine(), started("~/elsewhere"))
    assert alone("python-wrong-interpreter", there) is PASS


@pytest.mark.parametrize("field", ["interpreter", "surroundings", "settings"])
def test_unread_surroundings_are_unknown(field: str) -> None:
    facts = c.machine()._replace(**{field: NOT_READ})
    assert alone("python-wrong-interpreter", facts) is UNKNOWN


# --- doctor-inside-target --------------------------------------------------------------------


def test_the_doctor_beside_torch_is_warned_of() -> None:
    found = judge_one("doctor-inside-target", around(doctor_inside=True))
    assert found.verdict is WARN and found.fixes[0].grade == "manual"
    assert commands(found)[-1].endswith(" -m pip uninstall klein-doctor")
    assert alone("doctor-inside-target", c.machine()) is PASS


def test_the_doctor_where_nothing_else_is_says_nothing() -> None:
    facts = around(doctor_inside=True)
    assert silent("doctor-inside-target", facts._replace(torch=NO_TORCH))
    assert alone("doctor-inside-target", facts._replace(torch=NOT_READ)) is UNKNOWN
    assert alone("doctor-inside-target", facts._replace(surroundings=NOT_READ)) is UNKNOWN


# --- python-externally-managed ---------------------------------------------------------------

MARKER = a.plain("/usr/lib/python3.12/EXTERNALLY-MANAGED")


def managed(**changes: object) -> Facts:
    facts = around(managed=MARKER, managed_by="To install Python packages, try apt install.")
    facts = python(facts, path=a.plain("/usr/bin/python3"), kind="system", prefix=a.plain("/usr"))
    return facts._replace(**changes)


def test_a_python_of_the_system_gets_an_environment_beside_comfyui() -> None:
    found = judge_one("python-externally-managed", managed())
    assert found.verdict is WARN and "try apt install. Repairs" in found.detail
    assert commands(found) == ["/usr/bin/python3 -m venv ~/ComfyUI/.venv"]
    assert found.fixes[0].grade == "ask"
    facts = managed(route=Known("diffusers"))
    assert commands(judge_one("python-externally-managed", facts)) == [
        "/usr/bin/python3 -m venv klein-env"
    ]


def test_where_nothing_would_go_into_it_nothing_is_said() -> None:
    assert alone("python-externally-managed", c.machine()) is PASS
    assert silent("python-externally-managed", managed(comfyui=Known(None)))


@pytest.mark.parametrize("field", ["interpreter", "surroundings", "comfyui"])
def test_unread_it_is_unknown(field: str) -> None:
    assert alone("python-externally-managed", managed(**{field: NOT_READ})) is UNKNOWN


def test_in_usr_the_system_s_python_needs_no_marker() -> None:
    found = judge_one("python-externally-managed", python(kind="system", prefix=c.plain("/usr")))
    assert (found.verdict, [r.id for r in found.fixes]) == (WARN, ["make-venv"])
    facts = python(kind="system", prefix=c.plain("/usr/local"))
    assert alone("python-externally-managed", facts) is PASS
