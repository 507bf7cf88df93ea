"""A diffusers folder is one thing: whole, or with what is missing named."""

from __future__ import annotations

import json
from pathlib import Path

import model_files
import pytest

from klein_doctor.identity.digest import DigestStore
from klein_doctor.identity.pipelines import judge_pipeline, read_pipeline
from klein_doctor.recipe_assets import load_assets

ASSETS = load_assets()
INDEX = {
    "_class_name": "Flux2KleinPipeline",
    "is_distilled": True,
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "Qwen3ForCausalLM"],
    "tokenizer": ["transformers", "Qwen2TokenizerFast"],
    "transformer": ["diffusers", "Flux2Transformer2DModel"],
    "vae": ["diffusers", "AutoencoderKLFlux2"],
}
SHARDS = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]


def put_pipeline(folder: Path, **changes: object) -> Path:
    """A complete diffusers folder of Klein 4B with the real headers."""
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({**INDEX, **changes}))
    configs = ("scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json",
               "tokenizer/tokenizer.json", "text_encoder/config.json", "transformer/config.json",
               "vae/config.json")  # fmt: skip
    for name in configs:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    shards = {f"tensor.{n}": shard for n, shard in enumerate(SHARDS)}
    index = json.dumps({"weight_map": shards})
    (folder / "text_encoder" / "model.safetensors.index.json").write_text(index)
    for number, shard in enumerate(SHARDS, 1):
        table = f"klein-4b-diffusers-encoder-{number}of2"
        model_files.put_real(folder / "text_encoder" / shard, table)
    weights = "diffusion_pytorch_model.safetensors"
    model_files.put_real(folder / "transformer" / weights, "flux2-klein-4b-diffusers")
    model_files.put_real(folder / "vae" / weights, "klein-4b-diffusers-vae")
    return folder


def judged(folder: Path) -> tuple[str, str]:
    identity = judge_pipeline(read_pipeline(folder, ASSETS, DigestStore(None)))
    assert identity.says.isprintable()
    return identity.verdict, identity.says


def test_a_complete_folder(tmp_path: Path) -> None:
    folder = put_pipeline(tmp_path / "klein")
    identity = judge_pipeline(read_pipeline(folder, ASSETS, DigestStore(None)))
    assert (identity.role, identity.verdict, identity.structure) == ("pipeline", "wanted", "exact")
    assert (identity.variant, identity.digest) == ("distilled", "unchecked")


def test_the_base_is_told_by_its_index(tmp_path: Path) -> None:
    folder = put_pipeline(tmp_path / "klein", is_distilled=None)
    assert judged(folder)[0] == "variant"


@pytest.mark.parametrize(
    "name",
    ["text_encoder/" + SHARDS[1], "vae/config.json", "tokenizer/tokenizer.json",
     "scheduler/scheduler_config.json"],
)  # fmt: skip
def test_what_is_missing_is_named(tmp_path: Path, name: str) -> None:
    folder = put_pipeline(tmp_path / "klein")
    (folder / name).unlink()
    verdict, says = judged(folder)
    assert verdict == "damaged" and name in says


def test_a_broken_link_of_the_cache_is_a_missing_file(tmp_path: Path) -> None:
    folder = put_pipeline(tmp_path / "klein")
    shard = folder / "text_encoder" / SHARDS[0]
    shard.unlink()
    shard.symlink_to("../../blobs/" + "0" * 64)
    assert SHARDS[0] in judged(folder)[1]


def test_a_part_that_broke_off(tmp_path: Path) -> None:
    folder = put_pipeline(tmp_path / "klein")
    with (folder / "transformer" / "diffusion_pytorch_model.safetensors").open("r+b") as stream:
        stream.truncate(1 << 30)
    verdict, says = judged(folder)
    assert verdict == "damaged" and "transformer is not right" in says


def test_the_9b_is_refused(tmp_path: Path) -> None:
    folder = put_pipeline(tmp_path / "klein")
    nine = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    model_files.put_real(nine, "flux-2-klein-9b")
    assert judged(folder)[0] == "refused"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '{"_class_name": 3, "vae": [1, 2]}', '{"../x": ["a", "b"]}',
     '{"_class_name": "\\u001b[31m", "vae": ["a", "b"]}', "[" * 50_000],
)  # fmt: skip
def test_an_index_nobody_vouches_for(tmp_path: Path, text: str) -> None:
    (tmp_path / "model_index.json").write_text(text)
    verdict, _ = judged(tmp_path)
    assert verdict in ("damaged", "impostor")


def test_a_list_of_parts_leads_nowhere_else(tmp_path: Path) -> None:
    folder = put_pipeline(tmp_path / "klein")
    index = {"weight_map": {"a": "../../secret.safetensors", "b": "/etc/passwd", "c": SHARDS[0]}}
    (folder / "text_encoder" / "model.safetensors.index.json").write_text(json.dumps(index))
    pipeline = read_pipeline(folder, ASSETS, DigestStore(None))
    encoders = [looked.path.name for part, looked in pipeline.files if part == "text_encoder"]
    assert encoders == [SHARDS[0]]
