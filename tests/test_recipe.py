"""The tables of data: sources, days, shapes; and that no build is named which would not run."""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from klein_doctor import arguments
from klein_doctor import recipe as recipes
from klein_doctor.recipe import RECIPES, RecipeError, pair
from klein_doctor.recipe_memory import ROUTES
from klein_doctor.wheels import choose, runs

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLES = sorted(RECIPES.glob("*.toml"))
# Those that every diagnosis reads.
LOADED = (
    "driver.toml", "torch.toml", "comfyui.toml", "memory.toml", "stack.toml", "known_bad.toml",
)  # fmt: skip
RECIPE = recipes.load()
CAPABILITIES = sorted({pair(row.compute_capability) for row in recipes.gpu_rows()})
PYTHONS = [(3, minor) for minor in range(8, 16)]
INSTALLED = ["", "nonsense", "9.9.9", *(f"{row.torch}+cpu" for row in RECIPE.trios)]


def tables(path: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    data = tomllib.loads(path.read_text("utf-8"))
    yield from ((name, rows) for name, rows in data.items() if isinstance(rows, list))


# --- rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_rows_tell_where_they_come_from(path: Path) -> None:
    data = tomllib.loads(path.read_text("utf-8"))
    newest, used = datetime.date.fromisoformat(data["as_of"]), set()
    for table, rows in tables(path):
        for row in rows:
            source = row["source"]
            named = set(source if isinstance(source, list) else [source])
            assert named and named <= set(data["sources"]), (table, row)
            assert datetime.date.fromisoformat(row["as_of"]) <= newest, (table, row)
            used |= named
    assert all(text.strip() for text in data["sources"].values())
    assert used <= set(data["sources"])


def test_the_files_say_when_they_were_true() -> None:
    assert min(tomllib.loads(p.read_text("utf-8"))["as_of"] for p in TABLES) <= RECIPE.as_of


@pytest.mark.parametrize("name", LOADED)
def test_the_oldest_table_says_of_which_day_all_are(tmp_path: Path, name: str) -> None:
    for path in TABLES:
        text = path.read_text("utf-8")
        if path.name == name:
            text = re.sub(r"^as_of = .*", 'as_of = "2025-01-31"', text, count=1, flags=re.MULTILINE)
        (tmp_path / path.name).write_text(text, "utf-8")
    assert recipes.load(tmp_path).as_of == "2025-01-31"


def test_the_command_line_offers_every_route() -> None:
    assert arguments.ROUTES == ("auto", *ROUTES)


def test_generations_leave_no_gap() -> None:
    rows = sorted(RECIPE.generations, key=lambda row: pair(row.min_capability))
    for row, after in pairwise(rows):
        assert row.below_capability == after.min_capability
    for capability in CAPABILITIES:
        assert RECIPE.generation(capability) is not None, capability
    assert RECIPE.generation(RECIPE.newest_capability()) is None
    assert RECIPE.generation((3, 5)) is None
    blackwell = RECIPE.generation((12, 0))
    assert blackwell is not None and blackwell.min_driver == 570 and blackwell.open_module_only
    floor = RECIPE.capability_floor
    assert (floor.fails_below, floor.fp8_from) == ("7.5", "8.9")


def test_drivers_rise_with_what_they_came_with() -> None:
    assert {row.cuda_major: row.min_driver for row in RECIPE.cuda_floors} == {12: 525, 13: 580}
    paired = [(pair(row.cuda), Version(row.driver)) for row in RECIPE.cuda_paired]
    assert paired == sorted(paired) and len({cuda for cuda, _ in paired}) == len(paired)
    assert [version for _, version in paired] == sorted(version for _, version in paired)


def test_builds() -> None:
    seen = set()
    for wheel in RECIPE.wheels:
        for torch in wheel.torch:
            assert (torch, wheel.variant) not in seen, "listed twice"
            seen.add((torch, wheel.variant))
            assert RECIPE.trio(torch) is not None
        for arch in wheel.archs:
            assert re.fullmatch(r"(sm|compute)_\d{2,3}[af]?", arch)
        numbers = [int(re.sub(r"\D", "", arch)) for arch in wheel.archs]
        assert numbers == sorted(set(numbers))
        cuda = int(wheel.variant.removeprefix("cu"))
        # RTX 50 code begins with CUDA 12.8; CUDA 13 dropped what is older than Turing.
        assert (120 in numbers) is (cuda >= 128), wheel.variant
        assert cuda < 130 or min(numbers) >= 75
    first = RECIPE.torch_floors[0]
    carrying = [t for w in RECIPE.wheels if "sm_120" in w.archs for t in w.torch]
    assert min(carrying, key=Version) == first.torch and first.min_capability == "12.0"


def test_partners() -> None:
    numbers = [Version(row.torch) for row in RECIPE.trios]
    assert numbers == sorted(set(numbers))
    for row in RECIPE.trios:
        first, last = (pair(python) for python in row.python)
        assert pair("3.9") <= first < last
        assert RECIPE.archs_of(row.torch, row.pypi) is not None, row.torch


@pytest.mark.parametrize("row", RECIPE.installs, ids=lambda row: row.variant)
def test_what_is_installed_exists(row: recipes.Install) -> None:
    trio, archs = RECIPE.trio(row.newest), RECIPE.archs_of(row.newest, row.variant)
    assert trio is not None and archs is not None
    assert row.index_url == f"https://download.pytorch.org/whl/{row.variant}"
    for capability in CAPABILITIES:
        if pair(row.min_capability) <= capability <= pair(row.max_capability):
            assert runs(archs, capability), (row.variant, capability)


# --- the choice of a build -------------------------------------------------------------------


@settings(max_examples=500, deadline=None)
@given(
    capability=st.sampled_from(CAPABILITIES),
    driver=st.integers(400, 620),
    python=st.sampled_from(PYTHONS),
    installed=st.sampled_from(INSTALLED),
    audio=st.booleans(),
)
def test_no_build_is_named_that_would_not_run(
    capability: tuple[int, int], driver: int, python: tuple[int, int], installed: str, audio: bool
) -> None:
    choice = choose(RECIPE, capability, driver, python, installed, audio)
    if choice is None:
        return
    archs, trio = RECIPE.archs_of(choice.torch, choice.variant), RECIPE.trio(choice.torch)
    assert archs is not None and trio is not None and runs(archs, capability)
    floors = {row.cuda_major: row.min_driver for row in RECIPE.cuda_floors}
    assert driver >= floors[int(choice.variant.removeprefix("cu")) // 10]
    generation = RECIPE.generation(capability)
    assert generation is not None and driver >= generation.min_driver
    assert pair(trio.python[0]) <= python <= pair(trio.python[1])
    wanted = {"torch": trio.torch, "torchvision": trio.torchvision}
    if audio:
        wanted["torchaudio"] = trio.torchaudio
    assert choice.packages == tuple(f"{k}=={v}+{choice.variant}" for k, v in wanted.items())
    assert choice.index_url.endswith("/" + choice.variant)


def test_who_gets_no_build_and_who_does() -> None:
    """Every card from Turing on with a driver for it and a current Python gets one."""
    for capability in CAPABILITIES:
        generation = RECIPE.generation(capability)
        assert generation is not None
        for driver in (400, 524, 525, 569, 570, 579, 580, 620):
            found = choose(RECIPE, capability, driver, (3, 12))
            least = max(525, generation.min_driver)
            if capability < (9, 1):
                assert (found is not None) is (driver >= least), (capability, driver)
            else:
                assert (found is not None) is (driver >= 570), (capability, driver)


def test_codes_and_cards() -> None:
    assert runs(("sm_80",), (8, 9)) == "native" and runs(("sm_89",), (8, 0)) == ""
    assert runs(("sm_90a",), (9, 0)) == "native" and runs(("compute_90a",), (10, 0)) == ""
    assert runs(("compute_90",), (12, 0)) == "ptx" and runs(("compute_90", "sm_120"), (12, 0))
    assert runs((), (12, 0)) == runs(("sm_", "gfx90a", "sm_x", "120"), (12, 0)) == ""


# --- broken files ----------------------------------------------------------------------------

ROW = '[[cuda_floor]]\ncuda_major = 12\nmin_driver = 525\nsource = "x"\nas_of = "2026-11-22"\n'


@pytest.mark.parametrize("name", ["driver.toml", "torch.toml"])
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"= broken",
        b"\xff\xfe",
        b"[[wheel]]\nnonsense = 1\n[[generation]]\nnonsense = 1\n",
        b"wheel = 1\ngeneration = 1\n",
        b"wheel = [1]\ngeneration = [1]\n",
        b"wheel = []\ngeneration = []\n",
    ],
)
def test_a_broken_file_is_named_in_one_line(tmp_path: Path, name: str, text: bytes) -> None:
    for path in TABLES:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_bytes(text)
    with pytest.raises(RecipeError) as caught:
        recipes.load(tmp_path)
    assert str(caught.value).startswith(f"recipe {name}") and "\n" not in str(caught.value)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^recipe driver\.toml cannot be read: "):
        recipes.load(tmp_path)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("min_driver = 525", 'min_driver = "525"', "min_driver is not int"),
        ("min_driver = 525", "min_driver = 52.5", "min_driver is not int"),
        ("min_driver = 525", "min_driver = true", "min_driver is not int"),
        ("min_driver = 525", "", "min_driver"),
        ("min_driver = 525", "min_driver = 525\nmax_driver = 1", "max_driver"),
        ('source = "x"', "source = 1", "source is not str"),
    ],
)
def test_a_row_of_the_wrong_type_is_an_error_at_start_up(
    tmp_path: Path, right: str, wrong: str, said: str
) -> None:
    for path in TABLES:
        text = path.read_text("utf-8")
        if path.name == "driver.toml":
            text = re.sub(r"\[\[cuda_floor\]\]\n(?:\w+ = .*\n)+", "", text)
            text += ROW.replace(right, wrong)
        (tmp_path / path.name).write_text(text, "utf-8")
    with pytest.raises(RecipeError) as caught:
        recipes.load(tmp_path)
    message = str(caught.value)
    assert message.startswith("recipe driver.toml: [[cuda_floor]] row 1: ")
    assert said in message and "\n" not in message
