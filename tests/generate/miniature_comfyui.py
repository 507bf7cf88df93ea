"""A model set in Klein's shape that a real ComfyUI runs on a CPU in seconds; seeded, stdlib alone.

A transformer of one double and one single block at width 128, a CLIP-L as its text encoder (the
only one small enough that ComfyUI's CLIPLoader of type flux2 takes without being changed) and the
decoder of a FLUX.2 VAE at width 32. What they paint is noise.

    python miniature_comfyui.py FOLDER     writes them below FOLDER/models
"""

from __future__ import annotations

import array
import json
import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import model_files

from klein_doctor.klein_graph import Parts

PARTS = Parts("mini-klein.safetensors", "mini-clip-l.safetensors", "mini-flux2-vae.safetensors")
_WIDTH, _CONTEXT, _LATENT = 128, 768, 128
_BLOCK = 1 << 14  # random numbers; larger tensors repeat them
_SIZES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8}

Shapes = dict[str, tuple[str, tuple[int, ...]]]


def write(folder: Path, seed: int = 1) -> Parts:
    """Write the three files below folder/models, where ComfyUI looks for them."""
    models = folder / "models"
    places = (
        (models / "diffusion_models" / PARTS.transformer, _transformer()),
        (models / "text_encoders" / PARTS.encoder, _encoder()),
        (models / "vae" / PARTS.vae, _vae()),
    )
    for number, (path, shapes) in enumerate(places):
        path.parent.mkdir(parents=True, exist_ok=True)
        _save(path, shapes, random.Random(seed * 10 + number))
    return PARTS


def _transformer() -> Shapes:
    width = _WIDTH
    attention = {"qkv.weight": (3 * width, width), "norm.query_norm.scale": (128,),
                 "norm.key_norm.scale": (128,), "proj.weight": (width, width)}  # fmt: skip
    found: dict[str, tuple[int, ...]] = {
        "img_in.weight": (width, _LATENT),
        "txt_in.weight": (width, _CONTEXT),
        "time_in.in_layer.weight": (width, 256),
        "time_in.out_layer.weight": (width, width),
        "single_blocks.0.linear1.weight": (9 * width, width),
        "single_blocks.0.linear2.weight": (width, 4 * width),
        "single_blocks.0.norm.query_norm.scale": (128,),
        "single_blocks.0.norm.key_norm.scale": (128,),
        "final_layer.linear.weight": (_LATENT, width),
        "final_layer.adaLN_modulation.1.weight": (2 * width, width),
        "double_stream_modulation_img.lin.weight": (6 * width, width),
        "double_stream_modulation_txt.lin.weight": (6 * width, width),
        "single_stream_modulation.lin.weight": (3 * width, width),
    }
    for side in ("img", "txt"):
        block = f"double_blocks.0.{side}"
        found |= {f"{block}_attn.{name}": shape for name, shape in attention.items()}
        found[f"{block}_mlp.0.weight"] = (6 * width, width)
        found[f"{block}_mlp.2.weight"] = (width, 3 * width)
    return {name: ("BF16", shape) for name, shape in found.items()}


def _encoder() -> Shapes:
    return {name: (each.dtype, each.shape) for name, each in model_files.table("clip_l").items()}


def _vae() -> Shapes:
    """The decoder of the published small one, at a third of its width."""
    return {
        name: (each.dtype, tuple(side // 3 if side % 96 == 0 else side for side in each.shape))
        for name, each in model_files.table("full_encoder_small_decoder").items()
        if not name.startswith(("encoder.", "quant_conv."))
    }


def _save(path: Path, shapes: Shapes, chance: random.Random) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in shapes.items():
        begin, end = end, end + _SIZES[dtype] * _count(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    block = [chance.gauss(0, 1) for _ in range(_BLOCK)]
    with open(path, "wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name, (dtype, shape) in shapes.items():
            for piece in _data(name, dtype, shape, block):
                stream.write(piece)


def _data(name: str, dtype: str, shape: tuple[int, ...], block: list[float]) -> Iterator[bytes]:
    count = _count(shape)
    if dtype == "I64":
        yield bytes(8 * count)
        return
    if len(shape) < 2:
        constant = 0.0 if name.endswith(("bias", "running_mean")) else 1.0
        values = [constant] * min(count, _BLOCK)
    else:
        spread = (count // shape[0]) ** -0.5  # keeps the size of what passes through
        values = [value * spread for value in block[:count]]
    piece = _packed(dtype, values)
    size = len(piece) // len(values)
    whole, rest = divmod(count, len(values))
    for _ in range(whole):
        yield piece
    yield piece[: rest * size]


def _packed(dtype: str, values: list[float]) -> bytes:
    if dtype == "F16":
        return struct.pack(f"<{len(values)}e", *values)
    data = array.array("f", values)
    if sys.byteorder == "big":
        data.byteswap()
    if dtype == "F32":
        return data.tobytes()
    raw = data.tobytes()
    return b"".join(raw[at + 2 : at + 4] for at in range(0, len(raw), 4))


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


if __name__ == "__main__":
    write(Path(sys.argv[1]))
