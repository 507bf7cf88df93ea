"""A script of the user's own that makes a picture in the way of a memory plan.

Its lines are the plan's own, those the doctor's worker ran (``diffusers_ways``).
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

from klein_doctor.generate.diffusers_ways import DTYPE, Way, way
from klein_doctor.recipe_diffusers import Api, load_diffusers
from klein_doctor.recipe_memory import Plan
from klein_doctor.state import replace_file

NAME = "flux_klein.py"
_WIDTH = 96


class Wanted(NamedTuple):
    """What the script makes. folder: the diffusers folder. diffusers: its version, "" unknown."""

    folder: Path
    diffusers: str
    prompt: str
    seed: int
    width: int
    height: int
    steps: int
    guidance: str


def write_script(path: Path, plan: Plan, wanted: Wanted) -> None:
    """Write the script, whole or not at all.

    Raises:
        OSError: there is no room, or no such folder.
    """
    replace_file(path, ready_script(plan, wanted))


def ready_script(plan: Plan, wanted: Wanted, device: str = "cuda", api: Api | None = None) -> str:
    """The script's text."""
    how = way(plan.id, device)
    word = _dtype_word(wanted.diffusers, api or load_diffusers().api)
    return "\n".join(
        [
            '"""FLUX.2 [klein] 4B with diffusers; written by klein-doctor.',
            "",
            *textwrap.wrap(f"Memory plan {plan.id}: {plan.name}. {how.note}", _WIDTH),
            '"""',
            "",
            "import torch",
            "from diffusers import Flux2KleinPipeline",
            *_lines(how.imports),
            "",
            f"MODEL = {str(wanted.folder)!r}",
            f"PROMPT = {wanted.prompt!r}",
            f"SEED = {wanted.seed}",
            "",
            "pipe = Flux2KleinPipeline.from_pretrained(",
            f"    MODEL, {word}={DTYPE}, use_safetensors=True, local_files_only=True",
            ")",
            *_lines(how.prepare),
            *_read(how),
            *_lines(how.place),
            "",
            "image = pipe(",
            f"    {_asked(how, device)},",
            f"    width={wanted.width},",
            f"    height={wanted.height},",
            f"    num_inference_steps={wanted.steps},  # the distilled model is made for these",
            f"    guidance_scale={float(wanted.guidance)},",
            '    generator=torch.Generator("cpu").manual_seed(SEED),',
            ").images[0]",
            'image.save(f"klein-{SEED}.png")',
            "",
        ]
    )


def _lines(text: str) -> list[str]:
    return text.splitlines()


def _read(how: Way) -> list[str]:
    """The prompt, where another device reads it; the encoder then stays out of the way."""
    if not how.encode_on:
        return []
    return [
        "",
        "# The encoder is kept aside: with it in the pipeline, pipe.to() would move it as well.",
        "with torch.no_grad():",
        f'    prompt_embeds, _ = pipe.encode_prompt(PROMPT, device="{how.encode_on}")',
        "text_encoder, pipe.text_encoder = pipe.text_encoder, None",
    ]


def _asked(how: Way, device: str) -> str:
    return f'prompt_embeds=prompt_embeds.to("{device}")' if how.encode_on else "prompt=PROMPT"


def _dtype_word(version: str, api: Api) -> str:
    """What this diffusers calls the type; the old word, which all of them know, where unknown."""
    have, since = (re.findall(r"\d+", text)[:2] for text in (version, api.dtype_since))
    if len(have) < 2:
        return "torch_dtype"
    return "dtype" if [int(n) for n in have] >= [int(n) for n in since] else "torch_dtype"
