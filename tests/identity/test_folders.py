"""Folders of every kind below a models folder: nothing is waited for, nothing hides the rest."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from klein_doctor.identity.walk import EXTENSIONS, walk

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def found(folder: Path, marker: str = "") -> dict[str, str]:
    return {entry.name: entry.problem for entry in walk(folder, marker)}


@pytest.mark.parametrize("ending", EXTENSIONS)
def test_every_ending_comfyui_lists(tmp_path: Path, ending: str) -> None:
    for name in (f"a{ending}", f"b{ending.upper()}", f"{ending}", f"c{ending}.txt", f"d{ending}~"):
        touch(tmp_path / name)
    assert set(found(tmp_path)) == {f"a{ending}", f"b{ending.upper()}", ending}


def test_hidden_folders_and_no_repositorys_own(tmp_path: Path) -> None:
    touch(tmp_path / ".cache" / "a.safetensors")
    touch(tmp_path / "models" / ".git" / "lfs" / "b.safetensors")
    touch(tmp_path / ".gitmodules" / "c.safetensors")
    names = {name.replace(os.sep, "/") for name in found(tmp_path)}
    assert names == {".cache/a.safetensors", ".gitmodules/c.safetensors"}


def test_a_link_to_its_own_folder(tmp_path: Path) -> None:
    touch(tmp_path / "a.safetensors")
    (tmp_path / "self").symlink_to(".")
    (tmp_path / "up").symlink_to("..")
    problems = found(tmp_path)
    assert problems["a.safetensors"] == ""
    assert problems["self"] == "it leads back to a folder above it"


def test_two_folders_that_lead_to_each_other(tmp_path: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        touch(tmp_path / one / f"{one}.safetensors")
        (tmp_path / one / "over").symlink_to(tmp_path / other)
    problems = found(tmp_path)
    assert sum(not problem for problem in problems.values()) == 4
    assert sum("leads back" in problem for problem in problems.values()) == 2


def test_a_folder_linked_twice_is_listed_twice(tmp_path: Path) -> None:
    touch(tmp_path / "real" / "m.safetensors")
    (tmp_path / "models").mkdir()
    for name in ("a", "b"):
        (tmp_path / "models" / name).symlink_to(tmp_path / "real")
    assert len(found(tmp_path / "models")) == 2


def test_links_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "self.safetensors").symlink_to("self.safetensors")
    (tmp_path / "gone.safetensors").symlink_to("nowhere")
    (tmp_path / "gone-folder").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pipe.safetensors").symlink_to("pipe")
    problems = found(tmp_path)
    assert set(problems) == {"self.safetensors", "gone.safetensors", "pipe.safetensors"}
    assert all(problems.values())


def test_a_folder_with_an_ending_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path / "set.safetensors" / "m.safetensors")
    assert found(tmp_path) == {os.path.join("set.safetensors", "m.safetensors"): ""}


def test_names_of_any_bytes(tmp_path: Path) -> None:
    names = [b"\xff\xfe.safetensors", b"\x1b[31m.safetensors", b"a\nb.safetensors"]
    for name in names:
        touch(tmp_path / os.fsdecode(name))
    assert {os.fsencode(name) for name in found(tmp_path)} == set(names)


@pytest.mark.parametrize("kind", ["gone", "file"])
def test_what_is_no_folder_is_named(tmp_path: Path, kind: str) -> None:
    if kind == "file":
        touch(tmp_path / kind)
    (entry,) = walk(tmp_path / kind)
    assert entry.problem and entry.problem[0].islower()


@pytest.mark.parametrize("depth", [30, 31, 32, 33])
def test_how_deep_it_looks(tmp_path: Path, depth: int) -> None:
    touch(tmp_path.joinpath(*"d" * depth, "m.safetensors"))
    (problem,) = found(tmp_path).values()
    assert problem == "" if depth < 32 else "too deep" in problem


def test_a_marker_may_be_anything_of_that_name(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        touch(tmp_path / name / "m.safetensors")
    (tmp_path / "a" / "model_index.json").mkdir()
    (tmp_path / "b" / "model_index.json").symlink_to("nowhere")
    wholes = {entry.name: entry.whole for entry in walk(tmp_path, "model_index.json")}
    assert wholes == {"a": True, "b": True, os.path.join("c", "m.safetensors"): False}
