"""Workflows and the pictures ComfyUI writes them into."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

DISTILLED = "flux-2-klein-4b-fp8.safetensors"
BASE = "flux-2-klein-base-4b-fp8.safetensors"
REFUSED = "flux-2-klein-9b-fp8.safetensors"


def graph(
    unet: str = DISTILLED,
    kind: str = "flux2",
    steps: int = 4,
    cfg: float = 1.0,
    prompt: str = "a cat",
) -> dict[str, Any]:
    """A text-to-image workflow in the form the API takes."""
    nodes = {
        "1": ("UNETLoader", {"unet_name": unet, "weight_dtype": "default"}),
        "2": ("CLIPLoader", {"clip_name": "qwen_3_4b.safetensors", "type": kind}),
        "3": ("VAELoader", {"vae_name": "flux2-vae.safetensors"}),
        "4": ("CLIPTextEncode", {"text": prompt, "clip": ["2", 0]}),
        "5": ("EmptyFlux2LatentImage", {"width": 1024, "height": 1024, "batch_size": 1}),
        "6": ("Flux2Scheduler", {"steps": steps, "width": 1024, "height": 1024}),
        "7": ("CFGGuider", {"cfg": cfg, "model": ["1", 0], "positive": ["4", 0]}),
    }
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def text_chunk(name: str, text: str, form: str = "tEXt") -> bytes:
    """A text in one of the three forms the format has."""
    head, data = name.encode() + b"\0", text.encode()
    if form == "zTXt":
        return chunk(b"zTXt", head + b"\0" + zlib.compress(data))
    if form == "iTXt":
        return chunk(b"iTXt", head + b"\0\0\0\0" + data)
    if form == "iTXt packed":
        return chunk(b"iTXt", head + b"\1\0en\0\0" + zlib.compress(data))
    return chunk(b"tEXt", head + data)


def png(*texts: bytes) -> bytes:
    """A picture of one dot with text chunks before its data, as ComfyUI writes them."""
    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0\0\0\0"))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(texts) + body + chunk(b"IEND", b"")
    )


def drawn(workflow: dict[str, Any], form: str = "tEXt") -> bytes:
    """A picture drawn by a workflow."""
    return png(text_chunk("prompt", json.dumps(workflow), form))
