"""What is planned for a torch that does not fit: here, beside, or by hand."""

from __future__ import annotations

import around
import pytest
from construct import CU126, gpu, kernel, machine, nvml, on_windows

from klein_doctor import recipe as recipes
from klein_doctor.compiled import Binary, Extension
from klein_doctor.engine import judge
from klein_doctor.environment import compiled_for_torch
from klein_doctor.fixing import fixes
from klein_doctor.model import Facts, Known, Package, Private, Unknown, known
from klein_doctor.plan import Wishes, make
from klein_doctor.registry import catalogue
from klein_doctor.steps import Step

RECIPE = recipes.load()
HERE = {"environment": "here"}
EXACT = Known("exact")
plain = Private.plain


def planned(facts: Facts, only: tuple[str, ...] = (), **answers: str) -> list[Step]:
    """The steps about torch and where it lives, of the whole plan."""
    findings = judge(facts, RECIPE, catalogue())
    plan, _ = make(findings, facts, RECIPE, fixes(), Wishes(only, answers=answers))
    return [step for step in plan.steps if step.fix in ("install-torch", "make-venv")]


def old(torch: str = "2.11.0+cu126", vision: str = "0.26.0+cu126") -> Facts:
    """A torch without code for the card."""
    return machine(torch, vision, "12.6", CU126)


def extended(facts: Facts, *, compiled: bool = True, built: Known[str] | Unknown = EXACT) -> Facts:
    """With an extension; built: what of torch it was built against."""
    binary = Binary("_C.so", Known(("sm_120",)), "abi3", (), Known(()), built)
    item = Extension("xformers", "0.0.30", plain("~/site"), (binary,) if compiled else ())
    return facts._replace(extensions=Known((item,)))


def interpreter(facts: Facts, **changes: object) -> Facts:
    return facts._replace(interpreter=Known(known(facts.interpreter)._replace(**changes)))


def wanted(step: Step) -> tuple[str, ...]:
    return tuple(step.arguments["change"]["install"])


def test_the_row_by_card_driver_and_python() -> None:
    (step,) = planned(old("2.6.0+cu126", "0.21.0+cu126"))
    assert wanted(step) == ("torch==2.14.1+cu130", "torchvision==0.29.1+cu130")
    assert step.arguments["change"]["index_url"] == "https://download.pytorch.org/whl/cu130"
    # A driver below 580 keeps to the last line of CUDA 12.
    driver = nvml(gpu(), driver="572.16", cuda=(12, 8))
    facts = old("2.6.0+cu126", "0.21.0+cu126")._replace(nvml=Known(driver))
    (step,) = planned(facts._replace(kernel=Known(kernel(module="572.16"))))
    assert wanted(step) == ("torch==2.11.0+cu128", "torchvision==0.26.0+cu128")
    # Without a build for this Python it is for its owner to choose another one.
    assert all(
        each.grade == "manual" for each in planned(interpreter(old(), version=Known((3, 9))))
    )


def test_the_number_is_kept_where_it_exists_and_audio_comes_along() -> None:
    facts = old()
    audio = Package(**{**known(facts.torchvision)._asdict(), "name": "torchaudio"})
    audio = audio._replace(version=Known("2.11.0+cu126"))
    (step,) = planned(facts._replace(torchaudio=Known(audio)))
    assert wanted(step) == (
        "torch==2.11.0+cu130", "torchvision==0.26.0+cu130", "torchaudio==2.11.0+cu130",
    )  # fmt: skip


def test_compiled_extensions_stay_with_the_old_one_by_default() -> None:
    (step,) = planned(extended(old()))
    assert (step.fix, step.grade, step.touches) == ("make-venv", "ask", ())
    assert "~/ComfyUI/.venv stays as it is, with xformers 0.0.30" in step.title
    assert (
        step.arguments["install"][0] == "torch==2.14.1+cu130"
    )  # nothing there needs the old number
    assert planned(extended(old()), environment="private") == [step]
    (here,) = planned(extended(old()), environment="here")
    assert (here.fix, here.touches) == ("install-torch", ("xformers 0.0.30",))
    # Named by the fix that was asked for.
    (only,) = planned(extended(old()), ("install-torch",))
    assert (only.fix, only.title) == (step.fix, step.title)
    # What compiles itself when it runs is not lost.
    (step,) = planned(extended(old(), compiled=False))
    assert (step.fix, step.touches) == ("install-torch", ())


def test_a_library_that_asks_nothing_of_torch_stays_where_torch_is_replaced() -> None:
    # Such as comfy-kitchen's: every complete ComfyUI has it.
    (step,) = planned(extended(old(), built=Known("")))
    assert (step.fix, step.touches) == ("install-torch", ())
    # What could not be read may be lost.
    (step,) = planned(extended(old(), built=Unknown("cut short")))
    assert step.fix == "make-venv"


@pytest.mark.parametrize(
    ("installed", "chosen", "lost"),
    [
        ("2.11.0+cu130", "2.14.1+cu130", False),
        ("2.11.0+cu128", "2.11.0+cu126", False),
        ("2.14.1+cu130", "2.11.0+cu130", True),
        ("2.11.0+cu126", "2.14.1+cu130", True),  # CUDA's libraries of another major
        ("2.11.0", "2.14.1+cu130", True),  # PyPI's does not say for which CUDA it is
        ("2.14.1+cu130", "2.14.1+cu130", False),
    ],
)
def test_what_keeps_to_the_stable_functions_loads_beside_a_later_torch(
    installed: str, chosen: str, lost: bool
) -> None:
    facts = extended(machine(installed), built=Known("stable"))
    assert bool(compiled_for_torch(facts, chosen)) is lost


def test_by_hand_where_a_launcher_starts_its_own() -> None:
    facts = extended(old())._replace(comfyui=Known(around.comfyui(kind="stability-matrix")))
    (step,) = planned(facts)
    assert (step.fix, step.grade) == ("install-torch", "manual")
    assert "environment = 'here'" in step.title and step.touches == ("xformers 0.0.30",)


def test_the_system_s_python_is_left_alone_marked_or_not() -> None:
    marked = known(old().surroundings)._replace(managed=plain("/usr/lib/EXTERNALLY-MANAGED"))
    found = around.search(around.install(python=None, python_from=""))
    system = interpreter(old(), kind="system", prefix=plain("/usr"))._replace(search=Known(found))
    for facts in (old()._replace(surroundings=Known(marked)), system):
        for answers in ({}, HERE):
            (step,) = planned(facts, **answers)
            assert (step.fix, step.grade) == ("make-venv", "ask")
    (step,) = planned(system._replace(route=Known("diffusers")), ("install-torch",))
    assert (step.fix, step.grade) == ("make-venv", "ask")
    (step,) = planned(system._replace(comfyui=Known(None), route=Known("diffusers")))
    assert step.grade == "manual" and "belongs to the system (it lies in /usr)" in step.title


@pytest.mark.parametrize(
    ("prefix", "grade"), [("~/miniconda3", "manual"), ("~/miniconda3/envs/comfy", "ask")]
)
def test_conda_s_base_is_conda_s(prefix: str, grade: str) -> None:
    (step,) = planned(interpreter(old(), kind="conda", prefix=plain(prefix)))
    assert (step.fix, step.grade) == ("install-torch", grade)


def test_what_conda_installed_is_conda_s() -> None:
    torch = known(old().torch)
    records = tuple(each._replace(installer="conda") for each in torch.distributions)
    (step,) = planned(old()._replace(torch=Known(torch._replace(distributions=records))))
    assert step.grade == "manual" and "it is conda's to change" in step.title


def test_the_portable_is_changed_with_s_and_uv_s_with_uv() -> None:
    facts = on_windows(machine("2.6.0+cu126", "0.21.0+cu126", "12.6", CU126, windows=True))
    (step,) = planned(facts)
    assert step.arguments["change"]["isolated"] is True
    (step,) = planned(interpreter(old(), kind="uv venv", has_pip=False, has_uv=True))
    assert step.arguments["change"]["tool"] == "uv"
    (step,) = planned(interpreter(old(), kind="uv venv", has_pip=True, has_uv=True))
    assert step.arguments["change"]["tool"] == "pip"


def test_without_pip_it_is_uv_or_the_exact_words() -> None:
    facts = interpreter(old(), has_pip=False)
    around_it = known(facts.surroundings)
    (step,) = planned(facts._replace(surroundings=Known(around_it._replace(path_uv=True))))
    assert (step.grade, step.arguments["change"]["tool"]) == ("ask", "uv")
    (step,) = planned(facts._replace(surroundings=Known(around_it._replace(path_uv=False))))
    assert step.grade == "manual" and "has no pip: first give it one" in step.title
    first, second = (
        [part if isinstance(part, str) else part.real for part in command]
        for command in step.commands
    )
    assert first == ["~/ComfyUI/.venv/bin/python", "-m", "ensurepip", "--upgrade"]
    assert second == ["klein-doctor", "--fix", "--only", "install-torch"]


def test_nothing_is_put_into_the_doctors_own_environment() -> None:
    """Where no Python of ComfyUI's was found, the doctor's own is what was looked at."""
    facts = machine()
    there, absent = known(facts.surroundings), known(facts.torch)
    assert there is not None and absent is not None
    gone = absent._replace(present=False, distributions=(), version=Unknown("not installed"))
    facts = facts._replace(
        surroundings=Known(there._replace(doctor_inside=True)), torch=Known(gone)
    )
    (step,) = planned(facts)
    assert (step.grade, step.commands[0][:2]) == ("manual", ("klein-doctor", "--python"))
    # Installed beside a torch that is there, it mends that one.
    (step,) = planned(old()._replace(surroundings=Known(there._replace(doctor_inside=True))))
    assert step.grade == "ask"
