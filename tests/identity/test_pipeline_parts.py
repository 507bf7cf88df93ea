"""Diffusers folders that are not what their index says, and indexes that say anything."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import model_files
import pytest
from test_pipelines import INDEX, SHARDS, put_pipeline

from klein_doctor.identity.digest import DigestStore
from klein_doctor.identity.identity import Identity
from klein_doctor.identity.pipelines import judge_pipeline, read_pipeline
from klein_doctor.recipe_assets import load_assets

ASSETS = load_assets()
WEIGHTS = "diffusion_pytorch_model.safetensors"


def judged(folder: Path, store: DigestStore | None = None) -> Identity:
    identity = judge_pipeline(read_pipeline(folder, ASSETS, store or DigestStore(None)))
    assert identity.role == "pipeline" and identity.says.isprintable()
    return identity


def index_of(folder: Path) -> Path:
    return folder / "text_encoder" / "model.safetensors.index.json"


def test_digests_of_all_parts_prove_the_folder(tmp_path: Path) -> None:
    folder = put_pipeline(tmp_path / "klein")
    store = DigestStore(None)
    rows = {row.path: row for row in ASSETS.files if row.repo.endswith("FLUX.2-klein-4B")}
    paths = sorted(folder.rglob("*.safetensors"))
    for count, path in enumerate(paths, 1):
        row = rows[path.relative_to(folder).as_posix()]
        assert path.stat().st_size == row.bytes
        store.put(path.stat(), row.sha256, time.time_ns())
        whole = count == len(paths)
        assert judged(folder, store).digest == ("verified" if whole else "unchecked")


def test_one_wrong_digest_spoils_it(tmp_path: Path) -> None:
    folder = put_pipeline(tmp_path / "klein")
    path = folder / "vae" / WEIGHTS
    store = DigestStore(None)
    store.put(path.stat(), "0" * 64, time.time_ns())
    identity = judged(folder, store)
    assert identity.verdict == "unknown" and "vae is not right" in identity.says


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder", "scheduler", "tokenizer"])
def test_a_part_that_is_not_there_at_all(tmp_path: Path, part: str) -> None:
    folder = put_pipeline(tmp_path / "klein")
    (folder / part).rename(tmp_path / "elsewhere")
    identity = judged(folder)
    assert (identity.verdict, identity.damage) == ("damaged", "incomplete")
    assert f"{part}/" in identity.says


@pytest.mark.parametrize(
    ("place", "table", "verdict"),
    [
        (f"vae/{WEIGHTS}", "flux1-ae", "impostor"),
        (f"vae/{WEIGHTS}", "qwen3-4b", "impostor"),
        (f"transformer/{WEIGHTS}", "flux1-dev", "impostor"),
        (f"transformer/{WEIGHTS}", "flux2-vae-diffusers", "impostor"),
        (f"transformer/{WEIGHTS}", "flux2-klein-4b", "impostor"),
        (f"transformer/{WEIGHTS}", "flux-2-klein-4b-fp8", "impostor"),
        (f"text_encoder/{SHARDS[1]}", "klein-4b-diffusers-encoder-1of2", "impostor"),
        (f"text_encoder/{SHARDS[0]}", "qwen_3_8b", "refused"),
        (f"transformer/{WEIGHTS}", "flux2-dev", "refused"),
    ],
)
def test_a_part_that_is_something_else(
    tmp_path: Path, place: str, table: str, verdict: str
) -> None:
    folder = put_pipeline(tmp_path / "klein")
    model_files.put_real(folder / place, table)
    identity = judged(folder)
    assert f"{place.partition('/')[0]} is not right" in identity.says
    assert identity.verdict == verdict


def test_a_pipeline_of_another_class(tmp_path: Path) -> None:
    folder = put_pipeline(tmp_path / "klein", _class_name="FluxPipeline")
    identity = judged(folder)
    assert identity.verdict == "impostor" and "FluxPipeline" in identity.says


def test_parts_that_are_left_out_on_purpose(tmp_path: Path) -> None:
    folder = put_pipeline(tmp_path / "klein", feature_extractor=[None, None], image_encoder=None)
    assert judged(folder).verdict == "wanted"


@pytest.mark.parametrize("value", [None, "yes", 1, [], "true"])
def test_only_true_is_distilled(tmp_path: Path, value: object) -> None:
    folder = put_pipeline(tmp_path / "klein", is_distilled=value)
    assert judged(folder).variant == "base"


@pytest.mark.parametrize(
    "data",
    [3, [], {"weight_map": 3}, {"weight_map": []}, {"weights": {}}, None],
)
def test_a_list_of_parts_that_is_none(tmp_path: Path, data: object) -> None:
    folder = put_pipeline(tmp_path / "klein")
    index_of(folder).write_text(json.dumps(data))
    identity = judged(folder)
    assert identity.verdict == "unknown" and "list of parts" in identity.says


@pytest.mark.parametrize(
    "shard",
    ["../vae/m.safetensors", "..", ".", "", "/etc/hostname", "a\\b", "C:x", "a\0b", 3, None,
     ["x"], "n" * 9999, "\ud800", "\x1b[31m.safetensors", "\u202e.safetensors"],
)  # fmt: skip
def test_parts_of_any_name(tmp_path: Path, shard: object) -> None:
    folder = put_pipeline(tmp_path / "klein")
    index = {"weight_map": {"a": shard, "b": SHARDS[0], "c": SHARDS[1]}}
    index_of(folder).write_text(json.dumps(index))
    pipeline = read_pipeline(folder, ASSETS, DigestStore(None))
    assert {looked.path.parent for _, looked in pipeline.files} == {
        folder / part for part in ("text_encoder", "transformer", "vae")
    }
    assert judged(folder).verdict in ("wanted", "damaged")


@pytest.mark.parametrize("name", ["..", "/etc", "a/b", "\ud800", "n" * 9999, "\x1b[31m", "a\0b"])
def test_part_names_lead_nowhere(tmp_path: Path, name: str) -> None:
    folder = put_pipeline(tmp_path / "klein")
    index = {**INDEX, name: ["diffusers", "X"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    assert judged(folder).verdict == "wanted"


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "endless", "nowhere", "latin"])
@pytest.mark.parametrize("which", ["model_index.json", "text_encoder"])
@pytest.mark.skipif(sys.platform == "win32", reason="no pipes and links there")
def test_an_index_that_is_no_file_is_not_waited_for(tmp_path: Path, kind: str, which: str) -> None:
    folder = put_pipeline(tmp_path / "klein")
    index = index_of(folder) if which == "text_encoder" else folder / which
    index.unlink()
    if kind == "pipe":
        os.mkfifo(index)
    elif kind == "folder":
        index.mkdir()
    elif kind == "endless":
        model_files.sparse(index, b"{", 1 << 36)
    elif kind == "latin":
        index.write_bytes('{"é": 1}'.encode("latin-1"))
    else:
        index.symlink_to(index if kind == "loop" else "nowhere")
    identity = judged(folder)
    assert identity.verdict in ("damaged", "unknown") and "cannot be read" in identity.says
