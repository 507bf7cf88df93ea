"""Folders as ComfyUI lists them, and what the Hub's client leaves beside a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from klein_doctor.identity.hints import promised_digest
from klein_doctor.identity.walk import walk

SHA = "ab" * 32


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_files_of_every_depth_in_order(tmp_path: Path) -> None:
    for name in ("b/c.safetensors", "a.GGUF", "b/d.ckpt", ".hidden/e.sft", ".git/f.bin", "g.txt"):
        touch(tmp_path / name)
    assert [entry.name for entry in walk(tmp_path)] == [
        os.path.join(".hidden", "e.sft"), "a.GGUF",
        os.path.join("b", "c.safetensors"), os.path.join("b", "d.ckpt"),
    ]  # fmt: skip


def test_links_are_followed_and_loops_named(tmp_path: Path) -> None:
    touch(tmp_path / "real" / "m.safetensors")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "shared").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "back").symlink_to(tmp_path / "models")
    (tmp_path / "models" / "gone.safetensors").symlink_to("nowhere")
    found = {entry.name: entry.problem for entry in walk(tmp_path / "models")}
    assert found[os.path.join("shared", "m.safetensors")] == ""
    assert "leads back" in found[os.path.join("shared", "back")]
    assert found["gone.safetensors"] == "it is a link to nothing"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    touch(tmp_path / "b.safetensors")
    problems = [entry.problem for entry in walk(tmp_path)]
    assert problems == ["it is not a regular file", ""]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_closed_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    touch(tmp_path / "open.safetensors")
    assert [bool(entry.problem) for entry in walk(tmp_path)] == [True, False]


def test_folders_without_end_are_left_in_time(tmp_path: Path) -> None:
    place = tmp_path
    for _ in range(40):
        place = place / "d"
    touch(place / "m.safetensors")
    (last,) = walk(tmp_path)
    assert "too deep" in last.problem


def test_a_marked_folder_is_one_thing(tmp_path: Path) -> None:
    touch(tmp_path / "klein" / "model_index.json")
    touch(tmp_path / "klein" / "vae" / "m.safetensors")
    (found,) = walk(tmp_path, "model_index.json")
    assert found.whole and found.name == "klein"


def test_the_hubs_cache_names_a_file_by_its_digest(tmp_path: Path) -> None:
    blob = touch(tmp_path / "blobs" / SHA)
    link = tmp_path / "snapshots" / "c0ffee" / "m.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    assert promised_digest(link, link.stat()) == SHA
    assert promised_digest(blob, blob.stat()) == SHA
    small = touch(tmp_path / "blobs" / ("cd" * 20))
    assert promised_digest(small, small.stat()) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"c0ffee\n{SHA}\n9999999999\n", SHA),
        (f'c0ffee\n"{SHA}"\n9999999999\n', SHA),
        (f"c0ffee\n{SHA}\n1.5\n", ""),  # the file was changed after that
        ("c0ffee\nd41d8cd98f00b204e9800998ecf8427e\n9999999999\n", ""),
        (f"c0ffee\n{SHA}\nsoon\n", ""),
        ("", ""),
    ],
)
def test_the_record_of_a_local_download(tmp_path: Path, text: str, expected: str) -> None:
    path = touch(tmp_path / "split_files" / "vae" / "m.safetensors")
    record = tmp_path / ".cache/huggingface/download/split_files/vae/m.safetensors.metadata"
    record.parent.mkdir(parents=True)
    record.write_text(text)
    assert promised_digest(path, path.stat()) == expected


@pytest.mark.parametrize("sign", ["pyvenv.cfg", "conda-meta/history"])
def test_an_environment_is_not_looked_through(tmp_path: Path, sign: str) -> None:
    (tmp_path / "a.safetensors").touch()
    (tmp_path / "env" / sign).parent.mkdir(parents=True)
    (tmp_path / "env" / sign).touch()
    (tmp_path / "env" / "distutils-precedence.pth").touch()
    assert [entry.name for entry in walk(tmp_path)] == ["a.safetensors"]
