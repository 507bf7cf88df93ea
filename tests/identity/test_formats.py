"""GGUF files and LoRAs: told by their own marks."""

from __future__ import annotations

import struct
from pathlib import Path

import model_files
import pytest

from klein_doctor.identity.digest import DigestStore
from klein_doctor.identity.identity import Identity
from klein_doctor.identity.layouts import Expected
from klein_doctor.identity.look import look
from klein_doctor.recipe_assets import load_assets

ASSETS = load_assets()
Q4_K, Q8_0, F32 = 12, 8, 0


def named(path: Path) -> Identity:
    return look(path, ASSETS, DigestStore(None)).identity


def quantised(
    table: str, kind: int, prefix: str = ""
) -> dict[str, tuple[int, tuple[int, ...], int]]:
    found = {}
    for name, tensor in model_files.table(table).items():
        count = 1
        for side in tensor.shape:
            count *= side
        flat = len(tensor.shape) < 2
        size = count * 4 if flat else count * 144 // 256 if kind == Q4_K else count * 34 // 32
        found[prefix + name] = (F32 if flat else kind, tensor.shape, size)
    return found


def texts(*pairs: tuple[str, str]) -> list[tuple[str, int, bytes]]:
    return [(k, 8, struct.pack("<Q", len(v)) + v.encode()) for k, v in pairs]


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_klein_in_gguf(tmp_path: Path, prefix: str) -> None:
    tensors = quantised("flux2-klein-4b", Q4_K, prefix)
    metadata = [*texts(("general.architecture", "flux")),
                ("general.file_type", 4, struct.pack("<I", 15))]  # fmt: skip
    identity = named(model_files.put_gguf(tmp_path / "k.gguf", tensors, metadata))
    assert (identity.verdict, identity.family) == ("variant", "flux2-klein-4b")
    assert identity.quantisation == "Q4_K_M" and identity.complete
    assert "ComfyUI-GGUF" in identity.says


def test_the_type_that_takes_most_names_a_gguf_without_a_file_type(tmp_path: Path) -> None:
    path = model_files.put_gguf(tmp_path / "k.gguf", quantised("flux2-klein-4b", Q8_0))
    assert named(path).quantisation == "Q8_0"


@pytest.mark.parametrize(
    ("width", "family"), [(2560, "qwen3-4b"), (4096, "qwen3-8b"), (1024, "qwen3-other")]
)
def test_encoders_in_gguf(tmp_path: Path, width: int, family: str) -> None:
    tensors = {
        "token_embd.weight": (Q8_0, (151936, width), 151936 * width * 34 // 32),
        "blk.0.attn_q_norm.weight": (F32, (128,), 512),
    }
    words = b"".join(struct.pack("<Q", 4) + b"word" for _ in range(50_000))
    vocabulary = ("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 50_000) + words)
    path = model_files.put_gguf(tmp_path / "q.gguf", tensors, [vocabulary])
    assert named(path).family == family


def test_a_gguf_that_broke_off(tmp_path: Path) -> None:
    path = model_files.put_gguf(tmp_path / "k.gguf", quantised("flux2-klein-4b", Q4_K))
    with path.open("r+b") as stream:
        stream.truncate(1_000_000_000)
    identity = named(path)
    assert (identity.damage, identity.family) == ("truncated", "flux2-klein-4b")


@pytest.mark.parametrize("version", [1, 4])
def test_versions_of_gguf_that_are_not_read(tmp_path: Path, version: int) -> None:
    path = model_files.put_gguf(tmp_path / "k.gguf", {"x": (0, (4,), 16)}, version=version)
    assert named(path).damage == "header"


def lora(pairs: dict[str, tuple[int, int]], down: str, up: str) -> dict[str, Expected]:
    found = {}
    for module, (outputs, inputs) in pairs.items():
        found[module + down] = Expected("BF16", (16, inputs))
        found[module + up] = Expected("BF16", (outputs, 16))
    return found


SPELLINGS = [
    ("diffusion_model.", ".lora_A.weight", ".lora_B.weight", "."),
    ("lora_unet_", ".lora_down.weight", ".lora_up.weight", "_"),
    ("base_model.model.", ".lora_A.default.weight", ".lora_B.default.weight", "."),
]
MODULES = [
    ("single_blocks.3.linear1", (27648, 3072), "flux2-klein-4b", "variant"),
    ("single_blocks.3.linear1", (36864, 4096), "flux2-klein-9b", "other"),
    ("single_blocks.3.linear1", (55296, 6144), "flux2-dev", "other"),
    ("single_blocks.3.linear1", (21504, 3072), "flux1", "other"),
    ("double_blocks.4.img_attn.qkv", (9216, 3072), "flux2-klein-4b", "variant"),
    ("double_blocks.12.img_attn.qkv", (9216, 3072), "flux1", "other"),
    ("transformer_blocks.2.ff.linear_in", (18432, 3072), "flux2-klein-4b", "variant"),
    ("input_blocks.4.1.proj_in", (640, 640), "", "other"),
]


@pytest.mark.parametrize(("module", "sides", "family", "verdict"), MODULES)
@pytest.mark.parametrize(("before", "down", "up", "dot"), SPELLINGS)
def test_loras_by_their_widths(
    tmp_path: Path, module: str, sides: tuple[int, int], family: str, verdict: str,
    before: str, down: str, up: str, dot: str,
) -> None:  # fmt: skip
    tensors = lora({before + module.replace(".", dot): sides}, down, up)
    identity = named(model_files.put(tmp_path / "l.safetensors", tensors))
    assert (identity.role, identity.family, identity.verdict) == ("lora", family, verdict)


def test_the_trainers_own_spelling_of_diffusers(tmp_path: Path) -> None:
    module = "transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj"
    tensors = lora({module: (27648, 3072)}, ".lora_A.weight", ".lora_B.weight")
    identity = named(model_files.put(tmp_path / "l.safetensors", tensors))
    assert (identity.family, identity.verdict) == ("flux2-klein-4b", "variant")
