"""Model files renamed, moved aside and stored once: real files, their bytes and names after."""

from __future__ import annotations

import os
from pathlib import Path

import model_files
import pytest
from acting import acted, tree, undone

from klein_doctor.fixing import fixes
from klein_doctor.steps import Step, StepFailed

BY_ID = fixes()


def step(fix: str, **arguments: object) -> Step:
    return Step(fix, "t", "move", "ask", dict(arguments))


@pytest.mark.parametrize("sealed", [True, False])
def test_a_renamed_file_takes_a_free_name_and_gets_its_own_back(
    tmp_path: Path, sealed: bool
) -> None:
    folder = tmp_path / "vae"
    path = model_files.put_real(folder / "flux2-vae.safetensors", "flux2-vae")
    (folder / "flux1-vae.safetensors").write_bytes(b"mine")
    size, inode = path.stat().st_size, path.stat().st_ino
    wanted = step("rename-asset", path=str(path), name="flux1-vae.safetensors")
    said, journal = acted(BY_ID["rename-asset"], wanted, tmp_path, sealed=sealed)
    there = folder / "flux1-vae-2.safetensors"
    assert there.name in said and there.stat().st_size == size and not path.exists()
    assert (folder / "flux1-vae.safetensors").read_bytes() == b"mine"
    with pytest.raises(StepFailed, match="gone by now"):
        acted(BY_ID["rename-asset"], wanted, tmp_path / "again")
    assert undone(journal) == []
    assert path.stat().st_ino == inode and not there.exists()


def test_a_damaged_file_loses_the_extension_comfyui_lists(tmp_path: Path) -> None:
    path = tmp_path / "vae" / "flux2-vae.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"<html>")
    (tmp_path / "vae" / "flux2-vae.safetensors.damaged").write_bytes(b"an earlier one")
    before = tree(path.parent)
    _, journal = acted(
        BY_ID["quarantine-asset"], step("quarantine-asset", path=str(path)), tmp_path
    )
    assert not [p for p in path.parent.iterdir() if p.suffix == ".safetensors"]
    assert undone(journal) == [] and tree(path.parent) == before


def test_copies_become_links_and_copies_again(tmp_path: Path) -> None:
    first, copy = tmp_path / "a", tmp_path / "b"
    for path in (first, copy):
        path.write_bytes(b"same" * 1000)
    os.utime(copy, ns=(10**18, 10**18))
    wanted = step("dedupe-assets", paths=[str(first), str(copy)])
    _, journal = acted(BY_ID["dedupe-assets"], wanted, tmp_path)
    assert os.path.samefile(first, copy)
    assert undone(journal) == []
    assert not os.path.samefile(first, copy) and copy.read_bytes() == first.read_bytes()
    assert copy.stat().st_mtime_ns == 10**18


def test_files_that_differ_by_now_stay_apart(tmp_path: Path) -> None:
    first, copy = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"one")
    copy.write_bytes(b"two")
    with pytest.raises(StepFailed, match="not the same any more"):
        acted(
            BY_ID["dedupe-assets"],
            step("dedupe-assets", paths=[str(first), str(copy)]),
            tmp_path,
        )
    assert copy.read_bytes() == b"two"


@pytest.mark.parametrize("sealed", [True, False])
def test_a_misplaced_file_is_linked_never_over_another(tmp_path: Path, sealed: bool) -> None:
    source, target = tmp_path / "loras" / "x.safetensors", tmp_path / "vae" / "y.safetensors"
    source.parent.mkdir()
    source.write_bytes(b"data")
    wanted = step("place-assets", source=str(source), target=str(target))
    _, journal = acted(BY_ID["place-assets"], wanted, tmp_path, sealed=sealed)
    assert os.path.samefile(source, target)
    with pytest.raises(StepFailed, match="there already"):
        acted(BY_ID["place-assets"], wanted, tmp_path / "again")
    assert undone(journal) == []
    assert source.read_bytes() == b"data" and not target.parent.exists()
