"""Model files renamed, moved aside and stored once: real files, their bytes and names after."""

from __future__ import annotations

import os
from pathlib import Path

import construct as c
import model_files
import pytest
from acting import acted, tree, undone
from judging import RECIPE, verdict_of
from model_facts import model_file, models

from klein_doctor.fixing import fixes
from klein_doctor.model import Known, Private
from klein_doctor.steps import Case, Step, StepFailed

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


def test_every_file_that_a_finding_calls_misnamed_is_renamed() -> None:
    files = [
        model_file("flux1-ae", "vae", "flux2-vae.safetensors"),
        model_file("flux1-ae", "vae", "flux2-vae.safetensors")._replace(
            path=Private.plain("~/ComfyUI/models/vae/more/flux2-vae.safetensors"),
            name=Private.plain("more/flux2-vae.safetensors"),
        ),
        model_file("flux1-ae", "vae", "mine.safetensors"),
    ]
    facts = c.machine()._replace(models=Known(models(*files)))
    finding = verdict_of("vae-wrong", facts)
    repair = finding.fixes[0]
    assert (repair.id, "2 files" in repair.summary) == ("rename-asset", True)
    steps = BY_ID["rename-asset"].plan(Case(((finding, repair),), facts, RECIPE))
    assert [each.arguments["path"] for each in steps] == [each.path.real for each in files[:2]]
    assert {each.clears for each in steps} == {(finding.id,)}
