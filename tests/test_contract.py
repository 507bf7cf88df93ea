"""The documents that scripts rely on, the shape of the package, and the tables of data."""

from __future__ import annotations

import datetime
import json
import re
import sys
from pathlib import Path

import jsonschema
import pytest
import recorded
from command import doctor
from hypothesis import given, settings
from hypothesis import strategies as st

import klein_doctor
from klein_doctor import recipe as recipes
from klein_doctor.exits import Exit
from klein_doctor.wheels import choose, runs

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
INSTALLED = Path(klein_doctor.__file__).parent
SCHEMA = json.loads((ROOT / "docs" / "report.schema.json").read_text("utf-8"))
MODULES = sorted(INSTALLED.rglob("*.py"))
TABLES = sorted((INSTALLED / "recipes").glob("*.toml"))


# --- documents -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recorded.names())
def test_reports_keep_to_the_schema(name: str) -> None:
    jsonschema.validate(json.loads(recorded.golden(name, "json").read_text("utf-8")), SCHEMA)


def test_the_report_of_this_machine_keeps_to_the_schema() -> None:
    document = doctor("--format", "json").document
    jsonschema.validate(document, SCHEMA)
    assert sorted(document) == sorted(SCHEMA["required"])


def test_exit_codes_are_documented_one_by_one() -> None:
    text = (ROOT / "docs" / "exit-codes.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", text, re.MULTILINE)
    assert [(int(code), name) for code, name in rows] == [(c.value, c.name) for c in Exit]


def test_readme_has_the_two_commands_first() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert "-m venv .venv\n" in blocks[0] and blocks[0].rstrip().endswith("klein-doctor")
    assert "constraints.txt" in blocks[1] and "pytest" in blocks[1]


# --- the tables ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_every_row_has_a_source_and_a_day(path: Path) -> None:
    data = tomllib.loads(path.read_text("utf-8"))
    sources = data["sources"]
    datetime.date.fromisoformat(data["as_of"])
    for table, rows in data.items():
        if not isinstance(rows, list):
            continue
        for row in rows:
            named = [row["source"]] if isinstance(row["source"], str) else row["source"]
            assert named and set(named) <= set(sources), (table, row)
            datetime.date.fromisoformat(row["as_of"])


def test_cards() -> None:
    rows = recipes.gpu_rows()
    ids = [pci for row in rows for pci in row.pci_ids]
    assert len(ids) == len(set(ids)) and all(re.fullmatch("[0-9a-f]{4}", pci) for pci in ids)
    for row in rows:
        assert recipes.pair(row.compute_capability) >= (5, 0), row.name
        assert recipes.find_gpu(f"NVIDIA GeForce {row.name.lower()}") is not None
    reference = recipes.find_gpu("RTX 5070")
    assert reference is not None and reference.compute_capability == "12.0"
    assert reference.pci_ids == ("2f04",) and reference.memory_gib == (12,)


def test_builds_fit_their_partners() -> None:
    recipe = recipes.load()
    for wheel in recipe.wheels:
        assert all(re.fullmatch(r"sm_\d{2,3}", arch) for arch in wheel.archs)
        for torch in wheel.torch:
            assert recipe.trio(torch) is not None, torch
    for trio in recipe.trios:
        assert recipe.archs_of(trio.torch, trio.pypi), trio.torch
    for row in recipe.installs:
        assert recipe.archs_of(row.newest, row.variant) and row.variant in row.index_url


RECIPE = recipes.load()


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(sorted({recipes.pair(r.compute_capability) for r in recipes.gpu_rows()})),
    st.integers(400, 620),
    st.tuples(st.just(3), st.integers(8, 15)),
    st.sampled_from(["", "2.6.0+cu126", "2.11.0+cu128", "2.13.0+cpu", "9.9.9", "nonsense"]),
    st.booleans(),
)
def test_no_build_is_named_that_would_not_run(
    capability: tuple[int, int], driver: int, python: tuple[int, int], installed: str, audio: bool
) -> None:
    choice = choose(RECIPE, capability, driver, python, installed, audio)
    if choice is None:
        return
    torch, variant = choice.torch, choice.variant
    archs = RECIPE.archs_of(torch, variant)
    assert archs is not None and runs(archs, capability)
    cuda_major = int(variant.removeprefix("cu")) // 10
    floor = next(row for row in RECIPE.cuda_floors if row.cuda_major == cuda_major)
    assert driver >= floor.min_driver
    generation = RECIPE.generation(capability)
    assert generation is None or capability < (12, 0) or driver >= generation.min_driver
    trio = RECIPE.trio(torch)
    assert trio is not None
    assert recipes.pair(trio.python[0]) <= python <= recipes.pair(trio.python[1])
    assert choice.index_url.endswith("/" + variant)
    assert len(choice.packages) == 2 + audio
    assert all(package.endswith("+" + variant) for package in choice.packages)


@pytest.mark.parametrize(
    ("capability", "driver", "python", "installed", "packages"),
    [
        ((12, 0), 580, (3, 12), "", ("torch==2.14.1+cu130", "torchvision==0.29.1+cu130")),
        ((12, 0), 579, (3, 12), "", ("torch==2.11.0+cu128", "torchvision==0.26.0+cu128")),
        ((12, 0), 569, (3, 12), "", None),
        ((8, 6), 535, (3, 12), "", ("torch==2.14.1+cu126", "torchvision==0.29.1+cu126")),
        ((8, 6), 524, (3, 12), "", None),
        ((6, 1), 580, (3, 12), "", ("torch==2.14.1+cu126", "torchvision==0.29.1+cu126")),
        ((12, 0), 580, (3, 9), "", None),
        ((12, 0), 600, (3, 12), "2.12.0+cpu", ("torch==2.12.0+cu130", "torchvision==0.27.0+cu130")),
    ],
)
def test_choices(
    capability: tuple[int, int],
    driver: int,
    python: tuple[int, int],
    installed: str,
    packages: tuple[str, ...] | None,
) -> None:
    found = choose(RECIPE, capability, driver, python, installed)
    assert (found.packages if found else None) == packages


@pytest.mark.parametrize("text", ["", "as_of = 1\n[[wheel]]\nnonsense = 1\n", "= broken", "\xff"])
def test_a_broken_table_is_one_line(tmp_path: Path, text: str) -> None:
    for path in TABLES:
        (tmp_path / path.name).write_text(path.read_text("utf-8"), "utf-8")
    (tmp_path / "torch.toml").write_text(text, "latin-1")
    with pytest.raises(recipes.RecipeError) as caught:
        recipes.load(tmp_path)
    assert "\n" not in str(caught.value) or "torch.toml" in str(caught.value)
