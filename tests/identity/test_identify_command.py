"""``klein-doctor identify`` as a process of its own: codes, keys, and what reaches a terminal."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import model_files
import pytest
from command import Ran, doctor
from model_files import put_real
from trees import put_comfyui, put_klein

from klein_doctor.identity.digest import DigestStore
from klein_doctor.recipe_assets import load_assets

KEYS = ["path", "role", "family", "variant", "quantisation", "verdict", "structure", "digest",
        "license", "belongs_in", "says"]  # fmt: skip
EARLIER_NS = 1_700_000_000_000_000_001
ASSETS = load_assets()
needs_links = pytest.mark.skipif(sys.platform == "win32", reason="no pipes and links there")


def files(ran: Ran) -> list[dict[str, str]]:
    assert ran.err == ""
    found: list[dict[str, str]] = ran.document["files"]
    assert all(list(file) == KEYS for file in found)
    return found


def identified(*arguments: str | Path, code: int) -> list[dict[str, str]]:
    ran = doctor("identify", "--format", "json", *arguments)
    assert ran.code == code, ran
    return files(ran)


@pytest.mark.parametrize("name", model_files.names())
def test_the_code_follows_the_verdict(tmp_path: Path, name: str) -> None:
    path = put_real(tmp_path / f"{name}.safetensors", name)
    ran = doctor("identify", path, "--format", "json")
    (file,) = files(ran)
    assert ran.code == (0 if file["verdict"] in ("wanted", "variant") else 1)
    assert file["path"] == str(path)


def test_the_answer_names_its_schema_and_nothing_else(tmp_path: Path) -> None:
    path = put_real(tmp_path / "v.safetensors", "flux2-vae")
    document = doctor("identify", path, "--format", "json").document
    assert list(document) == ["schema", "files"]
    assert document["schema"] == "klein-doctor/identify/1"


@pytest.mark.parametrize(
    "arguments",
    [["identify"], ["identify", "--no-such-option", "x"], ["identify", "x", "--format", "yaml"],
     ["identify", "x", "--format", "brief"]],
)  # fmt: skip
def test_wrong_usage_is_code_2(arguments: list[str]) -> None:
    ran = doctor(*arguments)
    assert (ran.code, ran.out) == (2, "") and ran.err


def test_options_stand_anywhere(tmp_path: Path) -> None:
    path = put_real(tmp_path / "v.safetensors", "flux2-vae")
    state = str(tmp_path / "state")
    orders: list[list[str | Path]] = [
        ["identify", path, "--format", "json", "--state-dir", state],
        ["identify", "--format=json", f"--state-dir={state}", path],
        ["--format", "json", "--state-dir", state, "identify", path],
    ]
    answers = [doctor(*order) for order in orders]
    assert answers[0].code == 0 and len(set(answers)) == 1
    assert not Path(state).exists()


def test_paths_in_the_order_they_were_given(tmp_path: Path) -> None:
    names = ("c.safetensors", "a.safetensors", "b.safetensors")
    paths = [put_real(tmp_path / name, "flux2-vae") for name in names]
    assert [file["path"] for file in identified(*paths, code=0)] == [str(path) for path in paths]


def test_a_relative_path_is_shown_as_it_was_given(tmp_path: Path) -> None:
    put_real(tmp_path / "v.safetensors", "flux2-vae")
    ran = doctor("identify", "v.safetensors", "--format", "json", cwd=tmp_path)
    assert files(ran)[0]["path"] == "v.safetensors"


@needs_links
def test_nothing_is_waited_for_and_all_is_named(tmp_path: Path) -> None:
    put_real(tmp_path / "m" / "good.safetensors", "flux2-vae")
    os.mkfifo(tmp_path / "m" / "pipe.safetensors")
    (tmp_path / "m" / "gone.safetensors").symlink_to("nowhere")
    (tmp_path / "m" / "back").symlink_to(".")
    (tmp_path / "m" / "old.ckpt").write_bytes(b"\x80\x02}q\x00.")
    (tmp_path / "m" / "klein").mkdir()
    os.mkfifo(tmp_path / "m" / "klein" / "model_index.json")
    found = {Path(file["path"]).name: file for file in identified(tmp_path / "m", code=1)}
    assert set(found) == {
        "back", "gone.safetensors", "good.safetensors", "klein", "old.ckpt", "pipe.safetensors",
    }  # fmt: skip
    assert [name for name, file in found.items() if file["verdict"] == "wanted"] == [
        "good.safetensors"
    ]
    (file,) = identified(tmp_path / "m" / "pipe.safetensors", "--deep", code=1)
    assert "not a regular file" in file["says"]


def test_a_comfyui_is_read_by_its_own_folders(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "portable" / "ComfyUI")
    put_klein(root)
    put_real(root / "output" / "x.safetensors", "flux1-ae")
    for place in (root, root.parent):
        found = identified(place, code=0)
        assert sorted(file["belongs_in"] for file in found) == [
            "diffusion_models", "text_encoders", "vae",
        ]  # fmt: skip


NAMES = ["\x1b[2J\x1b[31mred", "a\nwanted    b", "\x9b31m", "\u202egnp", "a\rb", "\x07", "\udcff"]


@needs_links
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_name_steers_a_terminal(tmp_path: Path, name: str, encoding: str) -> None:
    put_real(tmp_path / name / f"{name}.safetensors", "flux2-vae")
    (tmp_path / f"{name}.ckpt").write_bytes(b"<html>")
    env = {"PYTHONIOENCODING": encoding}
    ran = doctor("identify", tmp_path, env=env)
    assert (ran.code, ran.err) == (1, "")
    assert all(sign.isprintable() or sign == "\n" for sign in ran.out)
    assert len([line for line in ran.out.splitlines() if line[0] != " "]) == 3
    ran = doctor("identify", tmp_path, "--format", "json", env=env)
    assert ran.out.isascii()
    assert {Path(file["path"]).stem for file in files(ran)} == {name}


def test_no_type_steers_a_terminal(tmp_path: Path) -> None:
    entry = {"dtype": "\x1b]0;x\x07", "shape": [512, 16, 3, 3], "data_offsets": [0, 8]}
    text = json.dumps({"decoder.conv_in.weight": entry}).encode()
    path = tmp_path / "v.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    ran = doctor("identify", path)
    assert ran.code == 1
    assert all(sign.isprintable() or sign == "\n" for sign in ran.out)


def test_deep_then_from_memory(tmp_path: Path) -> None:
    path = put_real(tmp_path / "v.safetensors", "klein-4b-diffusers-vae")
    os.utime(path, ns=(EARLIER_NS, EARLIER_NS))
    state = tmp_path / "state"
    plain = identified(path, "--state-dir", state, code=0)[0]
    deep = identified(path, "--deep", "--state-dir", state, code=1)[0]
    again = identified(path, "--state-dir", state, code=1)[0]
    assert plain["digest"] == "unchecked"
    assert (deep["verdict"], deep["digest"]) == ("unknown", "mismatch")
    assert again == deep
    assert identified(path, "--state-dir", tmp_path / "other", code=0)[0] == plain


@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_digest_in_memory_makes_it_verified_until_hashed_anew(tmp_path: Path, by: str) -> None:
    path = put_real(tmp_path / "v.safetensors", "klein-4b-diffusers-vae")
    os.utime(path, ns=(EARLIER_NS, EARLIER_NS))
    row = next(row for row in ASSETS.files if row.bytes == path.stat().st_size)
    store = DigestStore(tmp_path / "state")
    store.put(path.stat(), row.sha256, time.time_ns())
    store.save()
    options = ["--state-dir", str(tmp_path / "state")] if by == "option" else []
    env = {} if options else {"KLEIN_DOCTOR_STATE_DIR": str(tmp_path / "state")}
    ran = doctor("identify", path, "--format", "json", *options, env=env)
    assert ran.code == 0 and files(ran)[0]["digest"] == "verified"
    ran = doctor("identify", path, "--format", "json", "--deep", *options, env=env)
    assert ran.code == 1 and ran.document["files"][0]["digest"] == "mismatch"


@needs_links
def test_a_memory_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = put_real(tmp_path / "v.safetensors", "flux2-vae")
    (tmp_path / "state").mkdir()
    os.mkfifo(tmp_path / "state" / "digests.json")
    assert identified(path, "--state-dir", tmp_path / "state", code=0)[0]["verdict"] == "wanted"
