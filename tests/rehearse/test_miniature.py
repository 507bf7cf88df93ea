"""The miniature: real structure, small, the same bytes every time, and what real libraries read."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest

from klein_doctor.identity.digest import DigestStore
from klein_doctor.identity.layouts import Expected, layout
from klein_doctor.identity.look import look
from klein_doctor.identity.pipelines import read_pipeline
from klein_doctor.recipe_assets import load_assets
from klein_doctor.rehearse import miniature
from klein_doctor.rehearse.miniature import FULL, MINIATURE, write_checkout, write_single_files
from klein_doctor.rehearse.miniature_files import in_fp8, write


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    write_checkout(tmp_path / "one")
    write_checkout(tmp_path / "two")
    found = digests(tmp_path / "one")
    assert found == digests(tmp_path / "two")
    # On every machine and Python: a digest that changes makes pictures of the past incomparable.
    whole = hashlib.sha256("".join(found.values()).encode()).hexdigest()
    assert whole == "2d7245df2a30972364e151c22bf9d4e05c11fd16757d3e358f9919a2a392aa38"
    write_checkout(tmp_path / "other", seed="another")
    other = digests(tmp_path / "other")
    weights = [name for name in found if name.endswith(".safetensors")]
    assert weights and not [name for name in weights if found[name] == other[name]]


def test_it_is_small(tmp_path: Path) -> None:
    write_checkout(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 12 << 20


def test_the_checkout_is_complete_and_sound(tmp_path: Path) -> None:
    write_checkout(tmp_path)
    found = read_pipeline(tmp_path, load_assets(), DigestStore(None))
    assert (found.kind, found.distilled, found.missing) == ("Flux2KleinPipeline", True, ())
    assert not found.fault and len(found.files) == 4
    assert not [looked.path for _, looked in found.files if looked.identity.verdict == "damaged"]


def test_at_full_size_it_has_the_published_tensors() -> None:
    for table in ("flux2-klein-4b-diffusers", "flux2-klein-4b"):
        assert miniature.transformer(FULL, layout(table)) == layout(table)
    assert miniature.encoder(FULL) == layout("qwen3-4b")
    for table in ("flux2-vae", "flux2-vae-diffusers"):
        assert miniature.vae(FULL, table) == layout(table)


def test_the_fp8_file_is_quantised_as_the_published_one() -> None:
    import model_files

    table, metadata = in_fp8(layout("flux2-klein-4b"))
    assert table == model_files.table("flux-2-klein-4b-fp8")
    assert len(json.loads(metadata["_quantization_metadata"])["layers"]) == 80


def test_single_files_are_whole(tmp_path: Path) -> None:
    write_single_files(tmp_path)
    assets = load_assets()
    roles = {}
    for path in tmp_path.rglob("*.safetensors"):
        identity = look(path, assets, DigestStore(None)).identity
        assert identity.verdict != "damaged", identity.says
        roles[path.parent.name] = identity.quantisation
    assert set(roles) == {"diffusion_models", "text_encoders", "vae"}
    assert "fp8" in roles["diffusion_models"].lower()


def test_files_are_what_the_safetensors_library_reads(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    write_single_files(tmp_path)
    path = tmp_path / "diffusion_models" / "flux-2-klein-4b-fp8.safetensors"
    tensors = safetensors.load_file(path)
    weight = tensors["double_blocks.0.img_attn.qkv.weight"]
    assert weight.dtype == torch.float8_e4m3fn and weight.shape == (384, 128)
    scaled = weight.float() * tensors["double_blocks.0.img_attn.qkv.weight_scale"]
    # As large as an even distribution that keeps what goes through a layer of 128 as it is.
    assert scaled.std().item() == pytest.approx(128**-0.5, rel=0.05)
    assert tensors["img_in.weight"].dtype == torch.bfloat16
    assert tensors["img_in.weight"].float().std().item() == pytest.approx(128**-0.5, rel=0.05)
    assert set(tensors["double_blocks.0.img_attn.norm.key_norm.scale"].tolist()) == {1.0}
    # The library, given the same tensors, writes the same file.
    with path.open("rb") as stream:
        head = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
    again = tmp_path / "again.safetensors"
    safetensors.save_file(tensors, again, head["__metadata__"])
    assert again.read_bytes() == path.read_bytes()


def test_large_tensors_repeat_a_block(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    write(path, {"a.weight": Expected("BF16", (3, 1 << 19))}, "seed")
    data = path.read_bytes()[-(3 << 20) :]
    assert data[: 1 << 20] == data[2 << 20 :] and len(set(data[: 1 << 12])) > 100


def test_the_tokenizer_has_a_token_for_each_byte_and_mark(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    write_checkout(tmp_path)
    tokenizer = transformers.Qwen2TokenizerFast.from_pretrained(str(tmp_path / "tokenizer"))
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "été"}],
        tokenize=False, add_generation_prompt=True, enable_thinking=False,
    )  # fmt: skip
    assert text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    ids = tokenizer(text, padding="max_length", max_length=512, truncation=True)["input_ids"]
    assert len(ids) == 512 and max(ids) < MINIATURE.vocabulary and ids[-1] == 256
    assert tokenizer.decode([i for i in ids if i < 256]).startswith("user\nété")
