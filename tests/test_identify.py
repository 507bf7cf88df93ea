"""``klein-doctor identify``, as users and scripts run it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import model_files
import pytest
from command import doctor
from jsonschema import Draft202012Validator
from model_files import put_real
from test_pipelines import put_pipeline
from trees import put_comfyui, put_klein

SCHEMA = json.loads(
    (Path(__file__).parent.parent / "docs" / "identify.schema.json").read_text("utf-8")
)


def identified(*arguments: object, code: int = 0) -> list[dict[str, str]]:
    """The files of a JSON answer that fits its schema."""
    ran = doctor("identify", *arguments, "--format", "json")
    assert ran.code == code, ran
    Draft202012Validator(SCHEMA).validate(ran.document)
    files: list[dict[str, str]] = ran.document["files"]
    return files


def test_the_three_files(tmp_path: Path) -> None:
    put_klein(tmp_path)
    files = identified(tmp_path)
    assert [file["verdict"] for file in files] == ["wanted"] * 3
    assert {file["belongs_in"] for file in files} == {"diffusion_models", "text_encoders", "vae"}
    assert files[0]["path"].startswith(str(tmp_path))  # real paths: they are acted on


def test_one_wrong_file_is_exit_code_1(tmp_path: Path) -> None:
    put_klein(tmp_path)
    wrong = put_real(tmp_path / "flux2-vae.safetensors", "flux1-ae")
    assert identified(wrong, code=1)[0]["verdict"] == "impostor"
    ran = doctor("identify", tmp_path)
    assert ran.code == 1
    assert "the FLUX.1 VAE" in ran.out and "4 files: 1 impostor, 3 wanted" in ran.out


def test_options_may_stand_after_the_command(tmp_path: Path) -> None:
    path = put_real(tmp_path / "a.safetensors", "flux2-vae")
    before = doctor("--format", "json", "identify", path)
    after = doctor("identify", path, "--format=json")
    assert before == after


@pytest.mark.parametrize("format", ["brief", "markdown"])
def test_formats_it_does_not_write_are_wrong_usage(tmp_path: Path, format: str) -> None:
    ran = doctor("identify", tmp_path, "--format", format)
    assert ran.code == 2 and "text or json" in ran.err


def test_without_a_path_it_is_wrong_usage() -> None:
    assert doctor("identify").code == 2


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = put_real(tmp_path / "good.safetensors", "flux2-vae")
    (tmp_path / "empty").mkdir()
    files = identified(tmp_path / "gone", tmp_path / "empty", good, code=1)
    assert [file["verdict"] for file in files] == ["unknown", "unknown", "wanted"]
    assert "no such file" in files[0]["says"] and "no model files" in files[1]["says"]


def test_a_comfyui_is_searched_as_it_searches_itself(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    put_klein(root)
    shared = put_real(tmp_path / "shared" / "vae" / "other.safetensors", "flux2-vae-diffusers")
    put_real(tmp_path / "ComfyUI" / "custom_nodes" / "x.safetensors", "flux1-ae")
    text = f"shared:\n  base_path: {tmp_path / 'shared'}\n  vae: vae\n"
    (root / "extra_model_paths.yaml").write_text(text)
    files = identified(root)
    assert len(files) == 4 and str(shared) in [file["path"] for file in files]


def test_a_diffusers_folder_is_one_thing(tmp_path: Path) -> None:
    folder = put_pipeline(tmp_path / "hub" / "klein")
    for path in (folder, tmp_path):
        (file,) = identified(path)
        assert (file["path"], file["role"]) == (str(folder), "pipeline")


def test_deep_hashes_and_remembers(tmp_path: Path) -> None:
    path = model_files.sparse(tmp_path / "m.safetensors", *_small())
    os.utime(path, (1_700_000_000, 1_700_000_000))
    state = tmp_path / "state"
    before = identified(path, "--state-dir", state, code=1)[0]
    assert not state.exists()  # without --deep nothing is written
    assert before["digest"] == "unchecked"
    identified(path, "--state-dir", state, "--deep", code=1)
    assert (state / "digests.json").is_file()
    assert doctor("identify", path, env={"KLEIN_DOCTOR_STATE_DIR": str(state)}).code == 1


def _small() -> tuple[bytes, int]:
    start, length = model_files.header(model_files.table("taef2-decoder"))
    return start, len(start) + length


def test_a_store_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    path = model_files.sparse(tmp_path / "m.safetensors", *_small())
    os.utime(path, (1_700_000_000, 1_700_000_000))
    (tmp_path / "state").write_text("a file")
    ran = doctor("identify", path, "--deep", "--state-dir", tmp_path / "state")
    assert ran.code == 1 and "could not be remembered" in ran.err


def test_nothing_of_a_file_steers_the_terminal(tmp_path: Path) -> None:
    tensors = dict(model_files.table("flux2-vae"))
    del tensors["bn.running_var"]
    tensors["\x1b]0;owned\x07\u202e"] = model_files.Expected("F32", (2,))
    path = model_files.put(tmp_path / "a\x1b[31mb.safetensors", tensors)
    ran = doctor("identify", path)
    assert ran.code == 1
    assert all(sign.isprintable() or sign == "\n" for sign in ran.out)


def test_the_answer_may_go_into_a_file(tmp_path: Path) -> None:
    path = put_real(tmp_path / "a.safetensors", "flux2-vae")
    ran = doctor("identify", path, "--format", "json", "--output", tmp_path / "out.json")
    assert (ran.code, ran.out) == (0, "")
    assert json.loads((tmp_path / "out.json").read_text())["files"][0]["verdict"] == "wanted"
