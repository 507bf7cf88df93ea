"""Test generations as facts: one that went well on a card, and what can be wrong with one."""

from __future__ import annotations

import math

from klein_doctor.generation import Generation, Phase, Picture, Proof, Sample, Texture
from klein_doctor.model import Private

TEXTURE = Texture(120.0, 55.0, 210.0, 0.96, 14.0, 1.4, 22.0)
# Name, picture, from, to.
_PHASES = (
    ("start", 0, 0.0, 6.2), ("load", 1, 6.2, 13.9), ("encode", 1, 13.9, 15.1),
    ("denoise", 1, 15.1, 17.4), ("decode", 1, 17.4, 18.3), ("save", 1, 18.3, 18.5),
    ("load", 2, 18.5, 18.6), ("encode", 2, 18.6, 18.7), ("denoise", 2, 18.7, 20.6),
    ("decode", 2, 20.6, 21.1), ("save", 2, 21.1, 21.3), ("load", 3, 21.3, 21.4),
    ("encode", 3, 21.4, 21.5), ("denoise", 3, 21.5, 23.4), ("decode", 3, 23.4, 23.9),
    ("save", 3, 23.9, 24.1),
)  # fmt: skip


def picture(seed: int, path: str = "~/pictures/x.png", **changes: object) -> Picture:
    """A picture as the texture of one measures."""
    found = Picture(
        seed=seed, path=Private.plain(path), width=1024, height=1024, pixels=f"{seed:064x}",
        seconds=2.6, cached=False, not_finite="", texture=TEXTURE,
    )  # fmt: skip
    return found._replace(**changes)  # type: ignore[arg-type]


def samples(count: int = 160, end: float = 24.1) -> tuple[Sample, ...]:
    """Memory that rises while the model loads, and stays."""
    found = []
    for number in range(count):
        at = end * number / (count - 1)
        loaded = min(1.0, max(0.0, (at - 6.2) / 7.7))
        ours = round(300 * (at > 2) + 8200 * loaded + 380 * loaded * math.sin(3 * at))
        ram = round(600 + 4000 * math.exp(-(((at - 10) / 4) ** 2)) + 900 * loaded)
        found.append(Sample(round(at, 3), ours, 1092, 12228 - 1092 - ours, ram))
    return tuple(found)


def generation(**changes: object) -> Generation:
    """Three pictures over ComfyUI on an RTX 5070, as they should be."""
    found = Generation(
        route="comfyui", outcome="done", stage="", kind="", says="", explained=(),
        plan="comfyui-fp8", expectation="picture", width=1024, height=1024, steps=4,
        guidance="1.0", prompt="a lighthouse on a rocky coast at dawn, light fog over the water",
        pictures=(picture(42), picture(43), picture(42)), repeated=0.0, differed=48.2,
        remarks=(), phases=tuple(Phase(*row) for row in _PHASES), samples=samples(),
        free_mib=10808, predicted_mib=9800, peak_mib=8871, ram_mib=4950, cold_s=18.5, warm_s=2.8,
        versions=(("comfyui", "0.33.0"), ("torch", "2.14.1+cu130")),
    )  # fmt: skip
    return found._replace(**changes)  # type: ignore[arg-type]


def failed(**changes: object) -> Generation:
    """A run that ran out of the card's memory while it denoised the first picture."""
    found = generation(
        outcome="failed", stage="denoise", kind="out-of-memory", pictures=(), repeated=None,
        differed=None, says="CUDA out of memory. Tried to allocate 512.00 MiB.", cold_s=0.0,
        explained=("vram-busy",), warm_s=0.0,
    )  # fmt: skip
    return found._replace(**changes)  # type: ignore[arg-type]


def proof(**changes: object) -> Proof:
    """Kernels that do what they should."""
    found = Proof(
        "ok", "sdpa", "", 0, "2.14.1+cu130", "NVIDIA GeForce RTX 5070", (12, 0), "flash", (), 900,
        7.5,
    )  # fmt: skip
    return found._replace(**changes)  # type: ignore[arg-type]
