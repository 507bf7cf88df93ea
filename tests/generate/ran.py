"""Test generations as facts: one as it should be, and how it can be changed."""

from __future__ import annotations

import construct as c
import model_facts

from klein_doctor.generation import Generation, Picture, Texture
from klein_doctor.model import Facts, Known, Private

TEXTURE = Texture(112.0, 76.9, 220.0, 0.98, 32.2, 1.58, 16.4, 0.92, 0.0)
BLACK = Texture(0.0, 0.0, 0.0, 1.0, 0.0, 0.11, 0.0, 1.0, 1.0)
NOISE = Texture(127.5, 17.3, 79.0, 0.11, 69.5, 3.04, 5.7, 0.05, 0.0)
PALE = Texture(111.9, 14.1, 64.0, 0.99, 3.4, 0.4, 8.6, 0.91, 0.0)
CHANCE = Texture(91.3, 35.7, 161.0, 0.89, 26.5, 2.27, 42.9, 0.37, 0.0)


def picture(seed: int, **changes: object) -> Picture:
    found = Picture(
        seed, Private.plain(f"~/pictures/{seed}.png"), 1024, 1024, f"{seed:064x}", 2.6, False, "",
        TEXTURE,
    )  # fmt: skip
    return found._replace(**changes)


def pictures(**changes: object) -> tuple[Picture, ...]:
    """Three, all with the same changes."""
    return tuple(picture(seed, **changes) for seed in (42, 43, 42))


def run(**changes: object) -> Generation:
    """Three good pictures over ComfyUI."""
    found = Generation(
        route="comfyui", outcome="done", stage="", kind="", says="", explained=(),
        plan="comfyui-fp8", expectation="picture", width=1024, height=1024, steps=4,
        guidance="1.0", prompt="a lighthouse", pictures=pictures(), repeated=0.0, differed=48.2,
        remarks=(), phases=(), samples=(), free_mib=10808, predicted_mib=9800, peak_mib=8871,
        ram_mib=4950, cold_s=18.5, warm_s=2.8,
    )  # fmt: skip
    return found._replace(**changes)


def failed(**changes: object) -> Generation:
    """It ran out of the card's memory at the first step."""
    usual: dict[str, object] = {
        "outcome": "failed", "stage": "denoise", "kind": "out-of-memory", "pictures": (),
        "says": "CUDA out of memory. Tried to allocate 512.00 MiB.", "repeated": None,
        "differed": None, "explained": ("vram-busy",),
    }  # fmt: skip
    return run(**usual | changes)


def machine(ran: Generation | None) -> Facts:
    """A healthy machine on which that was run."""
    return c.machine()._replace(generation=Known(ran), models=Known(model_facts.healthy()))
