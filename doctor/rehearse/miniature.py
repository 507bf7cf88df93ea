"""A FLUX.2 [klein] 4B of a few MB with random weights: real names and structure, small widths.

Both layouts: the diffusers folder, and the three single files of ComfyUI. The same bytes every
time, made without torch. What it draws is no picture of anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from klein_doctor.identity.layouts import Expected, layout
from klein_doctor.rehearse import miniature_tokenizer
from klein_doctor.rehearse.miniature_files import Table, in_fp8, retyped, shrunk, write

_HEAD = 128  # of the transformer: the positions' four axes of 32 each
_LATENT = 32
_TAPS = 3  # layers of the encoder whose output is the conditioning


class Size(NamedTuple):
    """The widths and depths of a set of files.

    heads, double, single: of the transformer. hidden, inner, queries, keys, head, layers,
    vocabulary: of the encoder, of which layer 27 is read. channels: the VAE's narrowest, of which
    its others are multiples. groups: of its norms.
    """

    heads: int
    double: int
    single: int
    hidden: int
    inner: int
    queries: int
    keys: int
    head: int
    layers: int
    vocabulary: int
    channels: int
    groups: int


FULL = Size(24, 5, 20, 2560, 9728, 32, 8, 128, 36, 151936, 128, 32)
MINIATURE = Size(1, 2, 4, 64, 128, 2, 1, 16, 28, miniature_tokenizer.VOCABULARY, 16, 8)
SEED = "klein-doctor"


def write_checkout(folder: Path, size: Size = MINIATURE, seed: str = SEED) -> None:
    """Write a diffusers folder.

    Raises:
        OSError: no room, or the folder cannot be made.
    """
    for part, text in (
        ("model_index.json", _json(_INDEX)),
        ("scheduler/scheduler_config.json", _json(_SCHEDULER)),
        ("text_encoder/config.json", _json(_encoder_config(size))),
        ("transformer/config.json", _json(_transformer_config(size))),
        ("vae/config.json", _json(_vae_config(size))),
        *((f"tokenizer/{name}", text) for name, text in miniature_tokenizer.files().items()),
    ):
        path = folder / part
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    weights = "diffusion_pytorch_model.safetensors"
    pt = {"format": "pt"}
    _write_shards(folder / "text_encoder", encoder(size), f"{seed}/encoder")
    transformer_table = transformer(size, layout("flux2-klein-4b-diffusers"))
    write(folder / "transformer" / weights, transformer_table, f"{seed}/transformer", pt)
    write(folder / "vae" / weights, retyped(vae(size), "BF16"), f"{seed}/vae", pt)


def write_single_files(folder: Path, size: Size = MINIATURE, seed: str = SEED) -> None:
    """Write the three files below models/, as ComfyUI has them, under their published names.

    The transformer is quantised as in the published FP8 build. A real ComfyUI fixes the encoder's
    widths in its code and does not load this one.

    Raises:
        OSError: no room, or the folder cannot be made.
    """
    fp8, metadata = in_fp8(transformer(size, layout("flux2-klein-4b")))
    for name, table, part, notes in (
        ("diffusion_models/flux-2-klein-4b-fp8", fp8, "transformer", metadata),
        ("text_encoders/qwen_3_4b", encoder(size), "encoder", None),
        ("vae/flux2-vae", vae(size, "flux2-vae"), "vae", None),
    ):
        path = folder / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, table, f"{seed}/{part}", notes)


def transformer(size: Size, table: Table) -> dict[str, Expected]:
    """The transformer's tensors, in the naming of a table."""
    width = size.heads * _HEAD
    sides = {3072 * n: width * n for n in (1, 2, 3, 4, 6, 9)} | {7680: _TAPS * size.hidden}
    layers = {
        "double_blocks.": size.double,
        "single_blocks.": size.single,
        "transformer_blocks.": size.double,
        "single_transformer_blocks.": size.single,
    }
    return shrunk(table, sides, layers)


def encoder(size: Size) -> dict[str, Expected]:
    """The text encoder's tensors."""
    sides = {
        2560: size.hidden,
        9728: size.inner,
        4096: size.queries * size.head,
        1024: size.keys * size.head,
        128: size.head,
        151936: size.vocabulary,
    }
    return shrunk(layout("qwen3-4b"), sides, {"model.layers.": size.layers})


def vae(size: Size, name: str = "flux2-vae-diffusers") -> dict[str, Expected]:
    """The VAE's tensors, in the naming of a table of ``recipes/layouts/``."""
    sides = {128 * n: size.channels * n for n in (1, 2, 4)}
    return shrunk(layout(name), sides, {}, keep="bn.")


def _write_shards(folder: Path, table: Table, seed: str) -> None:
    """The encoder in two files and their list, as published."""
    half = 1 + max(int(name.split(".")[2]) for name in table if ".layers." in name)
    first = {n: t for n, t in table.items() if "embed" in n or _layer(n) < half // 2}
    second = {n: t for n, t in table.items() if n not in first}
    places = {}
    for number, shard in enumerate((first, second), 1):
        name = f"model-{number:05d}-of-00002.safetensors"
        write(folder / name, shard, seed, {"format": "pt"})
        places.update(dict.fromkeys(shard, name))
    total = sum(2 * _count(tensor.shape) for tensor in table.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    (folder / "model.safetensors.index.json").write_text(_json(index), "utf-8", newline="\n")


def _layer(name: str) -> int:
    return int(name.split(".")[2]) if ".layers." in name else 1 << 30


def _count(shape: Iterable[int]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total


# --- configuration files, with the values of the published ones where they are known ------------

_INDEX = {
    "_class_name": "Flux2KleinPipeline",
    "_diffusers_version": "0.37.0.dev0",
    "is_distilled": True,
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "Qwen3ForCausalLM"],
    "tokenizer": ["transformers", "Qwen2TokenizerFast"],
    "transformer": ["diffusers", "Flux2Transformer2DModel"],
    "vae": ["diffusers", "AutoencoderKLFlux2"],
}
_SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "_diffusers_version": "0.37.0.dev0",
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "max_image_seq_len": 4096,
    "max_shift": 1.15,
    "num_train_timesteps": 1000,
    "shift": 3.0,
    "time_shift_type": "exponential",
    "use_dynamic_shifting": True,
}


def _transformer_config(size: Size) -> dict[str, object]:
    return {
        "_class_name": "Flux2Transformer2DModel",
        "_diffusers_version": "0.37.0.dev0",
        "attention_head_dim": _HEAD,
        "axes_dims_rope": [32, 32, 32, 32],
        "eps": 1e-06,
        "guidance_embeds": False,
        "in_channels": 4 * _LATENT,
        "joint_attention_dim": _TAPS * size.hidden,
        "mlp_ratio": 3.0,
        "num_attention_heads": size.heads,
        "num_layers": size.double,
        "num_single_layers": size.single,
        "out_channels": None,
        "patch_size": 1,
        "rope_theta": 2000,
        "timestep_guidance_channels": 256,
    }


def _encoder_config(size: Size) -> dict[str, object]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 256,
        "eos_token_id": 258,
        "head_dim": size.head,
        "hidden_act": "silu",
        "hidden_size": size.hidden,
        "initializer_range": 0.02,
        "intermediate_size": size.inner,
        "max_position_embeddings": 40960,
        "max_window_layers": size.layers,
        "model_type": "qwen3",
        "num_attention_heads": size.queries,
        "num_hidden_layers": size.layers,
        "num_key_value_heads": size.keys,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": size.vocabulary,
    }


def _vae_config(size: Size) -> dict[str, object]:
    return {
        "_class_name": "AutoencoderKLFlux2",
        "_diffusers_version": "0.37.0.dev0",
        "act_fn": "silu",
        "batch_norm_eps": 0.0001,
        "batch_norm_momentum": 0.1,
        "block_out_channels": [size.channels * n for n in (1, 2, 4, 4)],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "in_channels": 3,
        "latent_channels": _LATENT,
        "layers_per_block": 2,
        "mid_block_add_attention": True,
        "norm_num_groups": size.groups,
        "out_channels": 3,
        "patch_size": [2, 2],
        "sample_size": 1024,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "use_post_quant_conv": True,
        "use_quant_conv": True,
    }


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"
