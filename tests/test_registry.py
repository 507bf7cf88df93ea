"""The catalogue: every check of the tree is in it, once, in an order that respects its edges."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from command import clean_environment

from klein_doctor import checks
from klein_doctor.model import Facts, Harm, Outcome, Verdict
from klein_doctor.recipe import Recipe
from klein_doctor.registry import (
    Check,
    RegistryError,
    catalogue,
    check,
    ordered,
    unknown_check,
)
from klein_doctor.report.words import FAMILIES

TREE = Path(__file__).parent.parent / "checks"


def declared_in(path: Path) -> list[str]:
    """The names given to @check in a file, read from its source."""
    return [
        decorator.args[0].value
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Name)
        and decorator.func.id == "check"
        and isinstance(decorator.args[0], ast.Constant)
    ]


def fine(facts: Facts, recipe: Recipe) -> Outcome:
    return Outcome(Verdict.PASS, "fine")


def a_check(name: str, **more: tuple[str, ...]) -> Check:
    return Check(name, "torch", "title", Harm.STOPS, fine, "reads", "why", "by hand", **more)


def together(*found: Check) -> dict[str, Check]:
    return ordered({item.name: item for item in found})


def test_every_check_of_the_tree_is_discovered_once() -> None:
    names = [name for path in TREE.glob("*.py") for name in declared_in(path)]
    assert len(names) > 15
    assert sorted(names) == sorted(catalogue())
    assert all(name == item.name for name, item in catalogue().items())


def test_discovery_looks_where_the_package_is() -> None:
    folders = [Path(folder) for folder in checks.__path__]
    found = {path.name for folder in folders for path in folder.glob("*.py")}
    assert found == {path.name for path in TREE.glob("*.py")}


@pytest.mark.parametrize("name", list(catalogue()))
def test_a_check_explains_itself(name: str) -> None:
    item = catalogue()[name]
    assert name == name.lower() and " " not in name
    assert item.family in FAMILIES
    for text in (item.title, item.reads, item.why, item.by_hand):
        assert text.strip() == text != "" and "!" not in text
    for text in (item.reads, item.why, item.by_hand):
        assert text.endswith(".")
    assert not item.title.endswith(".")


def test_what_is_required_or_followed_comes_before() -> None:
    place = {name: number for number, name in enumerate(catalogue())}
    for item in catalogue().values():
        assert all(place[name] < place[item.name] for name in (*item.requires, *item.follows))


def test_edges_stand_for_something() -> None:
    for item in catalogue().values():
        assert len(set(item.requires)) == len(item.requires)
        assert len(set(item.follows)) == len(item.follows)
        assert not set(item.requires) & set(item.follows)
    assert {"driver-broken", "driver-too-old"} <= set(catalogue()["gpu-not-found"].follows)


def test_the_declared_order_is_kept_where_edges_allow() -> None:
    found = together(a_check("c"), a_check("b", requires=("a",)), a_check("a"), a_check("d"))
    assert list(found) == ["c", "a", "b", "d"]


@pytest.mark.parametrize("edge", ["requires", "follows"])
def test_an_edge_to_nowhere_is_an_error(edge: str) -> None:
    with pytest.raises(RegistryError, match="check a names an unknown check: nowhere"):
        together(a_check("a", **{edge: ("nowhere",)}))


@pytest.mark.parametrize("edge", ["requires", "follows"])
def test_a_circle_is_an_error(edge: str) -> None:
    with pytest.raises(RegistryError, match=r"in a circle: a$"):
        together(a_check("a", **{edge: ("a",)}))
    with pytest.raises(RegistryError, match=r"in a circle: a, b, c$"):
        together(
            a_check("a", **{edge: ("b",)}), a_check("b", follows=("c",)),
            a_check("c", requires=("a",)), a_check("alone"),
        )  # fmt: skip


def test_a_name_is_taken_once() -> None:
    taken = catalogue()["gpu-hidden"]
    with pytest.raises(RegistryError, match="gpu-hidden is declared twice"):
        check("gpu-hidden", family="gpu", title="t", harm=Harm.NOTE, reads="r", why="w",
              by_hand="b")(fine)  # fmt: skip
    assert catalogue()["gpu-hidden"] is taken


def test_the_nearest_name_is_offered() -> None:
    assert unknown_check("torch-lack-arch", catalogue()).endswith("did you mean torch-lacks-arch?")
    assert "explain lists them" in unknown_check("zzz", catalogue())


@pytest.mark.parametrize("first", ["workflow", "comfyui_folders", "memory"])
def test_the_order_does_not_hang_on_who_was_imported_first(first: str) -> None:
    script = (
        f"import klein_doctor.checks.{first}\n"
        "from klein_doctor.registry import catalogue\n"
        "print(*catalogue())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=clean_environment(), capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout.split() == list(catalogue())
