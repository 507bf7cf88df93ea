"""Which interpreter is judged, and the card that is assumed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import construct as c
import pytest
from judging import RECIPE
from targets import make_venv

from klein_doctor.exits import UsageError
from klein_doctor.model import Known, Target, Unknown
from klein_doctor.privacy import Redactor
from klein_doctor.probes import assume
from klein_doctor.probes.outside import Outside
from klein_doctor.target import TargetError, Wish, resolve

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX paths and links")


def machine(root: Path, own: str = "", prefix: str = "/doctor", **env: str) -> Outside:
    names = Redactor(("jane",), (str(root / "home" / "jane"),), ())
    return Outside(root, env, sys.platform, names, prefix=prefix, executable=own)


def chosen(where: Outside, python: str = "") -> Target:
    return resolve(where, Wish(python)).target


def test_the_nearest_word_wins(tmp_path: Path) -> None:
    """--python beats VIRTUAL_ENV beats CONDA_PREFIX beats the doctor's own."""
    named, venv = make_venv(tmp_path / "named"), make_venv(tmp_path / "venv")
    conda, own = make_venv(tmp_path / "conda"), make_venv(tmp_path / "own")
    env = {"VIRTUAL_ENV": str(tmp_path / "venv"), "CONDA_PREFIX": str(tmp_path / "conda")}
    steps = [
        (chosen(machine(tmp_path, str(own), **env), str(named)), named, "--python"),
        (chosen(machine(tmp_path, str(own), **env)), venv, "VIRTUAL_ENV"),
        (chosen(machine(tmp_path, str(own), CONDA_PREFIX=env["CONDA_PREFIX"])), conda,
         "CONDA_PREFIX"),
        (chosen(machine(tmp_path, str(own))), own, "doctor"),
    ]  # fmt: skip
    for target, python, source in steps:
        assert target.python_from == source
        assert Path(target.python.real).parent == python.parent


def test_empty_and_relative_variables_are_passed_over(tmp_path: Path) -> None:
    own = make_venv(tmp_path / "own")
    target = chosen(machine(tmp_path, str(own), VIRTUAL_ENV="", CONDA_PREFIX="envs/x"))
    assert (target.python.real, target.python_from) == (str(own), "doctor")


def test_a_deleted_active_environment_is_judged_not_replaced(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    target = chosen(machine(tmp_path, sys.executable, VIRTUAL_ENV=str(gone)))
    assert (target.python.real, target.python_from) == (str(gone), "VIRTUAL_ENV")


def test_a_doctor_that_does_not_know_its_own_path_looks_in_its_prefix(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "own")
    target = chosen(machine(tmp_path, "", str(tmp_path / "own")))
    assert Path(target.python.real).parent == python.parent


@pytest.mark.parametrize("name", ["plain", "with a space", "mit-ü-und-日本"])
def test_an_environment_folder_means_its_python(tmp_path: Path, name: str) -> None:
    python = make_venv(tmp_path / name)
    assert Path(chosen(machine(tmp_path), str(tmp_path / name)).python.real).parent == python.parent


@posix
def test_links_are_kept_because_they_tell_the_environment(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "env")
    assert python.is_symlink()
    assert chosen(machine(tmp_path), str(python)).python.real == str(python)
    broken = tmp_path / "broken"
    broken.symlink_to(tmp_path / "gone")
    assert chosen(machine(tmp_path), str(broken)).python.real == str(broken)


@posix
def test_relative_paths_start_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_venv(tmp_path / "env")
    monkeypatch.chdir(tmp_path)
    assert chosen(machine(tmp_path), "env/bin/python").python.real == str(
        tmp_path / "env" / "bin" / "python"
    )


@pytest.mark.parametrize("bad", ["nowhere/python", "no-such-name", "a\0b", "x" * 5000, "a/b\nc"])
def test_what_is_not_there_is_wrong_usage_in_one_line(tmp_path: Path, bad: str) -> None:
    with pytest.raises(TargetError) as error:
        chosen(machine(tmp_path, PATH=str(tmp_path)), bad)
    assert isinstance(error.value, UsageError)
    said = str(error.value)
    assert said.startswith("--python") and "\n" not in said and "\0" not in said


def test_the_public_form_names_nobody(tmp_path: Path) -> None:
    make_venv(tmp_path / "home" / "jane" / "ComfyUI" / "venv")
    target = chosen(machine(tmp_path), str(tmp_path / "home" / "jane" / "ComfyUI" / "venv"))
    assert target.python.public.replace("\\", "/").startswith("~/ComfyUI/venv/")
    gpu = resolve(machine(tmp_path, sys.executable), Wish(gpu="GPU-5a3c1f2e")).target.gpu
    assert (gpu.real, gpu.public) == ("GPU-5a3c1f2e", "GPU-1")


# --- a card that is not here -----------------------------------------------------------------


def test_an_assumed_card_takes_the_place_of_the_driver() -> None:
    wanted = assume.parse("NVIDIA GeForce RTX 5070, driver=572.16, os=windows")
    facts = assume.apply(c.machine(), wanted, RECIPE)
    assert isinstance(facts.nvml, Known) and isinstance(facts.system, Known)
    card = facts.nvml.value.gpus[0]
    assert card.name == Known("NVIDIA GeForce RTX 5070")
    assert (card.compute_capability, card.total_bytes) == (Known((12, 0)), Known(12 << 30))
    assert (facts.nvml.value.driver, facts.nvml.value.cuda) == (Known("572.16"), Known((12, 8)))
    assert facts.system.value.os == "windows" and isinstance(facts.kernel, Unknown)
    assert isinstance(card.free_bytes, Unknown)


def test_what_the_table_leaves_open_stays_unknown() -> None:
    facts = assume.apply(c.machine(), assume.parse("rtx 3060,driver=470"), RECIPE)
    assert isinstance(facts.nvml, Known)
    assert isinstance(facts.nvml.value.gpus[0].total_bytes, Unknown)
    assert isinstance(facts.nvml.value.cuda, Unknown)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("RTX 5071,driver=580", "near it: RTX 50"),
        ("", "no card called"),
        ("RTX 5070", "driver=580"),
        ("RTX 5070,driver=new", "driver=580"),
        ("RTX 5070,driver=٥٨٠", "driver=580"),
        ("RTX 5070,driver=580,os=dos", "os is one of"),
        ("RTX 5070,driver=580,memory=8", "'memory=8' is neither"),
        ("RTX 5070,driver", "driver=580"),
    ],
)
def test_wrong_assumptions_are_named(text: str, said: str) -> None:
    with pytest.raises(assume.AssumeError) as error:
        assume.parse(text)
    assert said in str(error.value) and "\n" not in str(error.value)
