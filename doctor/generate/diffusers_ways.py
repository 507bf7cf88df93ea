"""What each memory plan of the diffusers route does, as the lines of Python that do it.

The worker runs these lines and the script for the user shows them: there is no second copy. They
know ``pipe``, ``torch`` and, where the encoder stays on the processor, ``prompt``.
"""

from __future__ import annotations

from typing import NamedTuple

from klein_doctor.model import Fact, Facts, Known, Unknown
from klein_doctor.plans import fitting, need_mib, recommend, usable_plans
from klein_doctor.recipe import Recipe
from klein_doctor.recipe_memory import Plan

DTYPE = "torch.bfloat16"


class Way(NamedTuple):
    """How a plan is carried out; the words of a script, "" where there is nothing to do.

    note: what it means, for the reader of a script. imports: what the rest needs beside torch.
    prepare: once, after loading. place: puts the parts where they belong. encode_on: a device that
    reads the prompt before that, after which the encoder is put aside. by_part: a part is on the
    card only while it works, and can then go.
    """

    note: str
    prepare: str
    place: str
    imports: str = ""
    encode_on: str = ""
    by_part: bool = False


_FP8_TRANSFORMER = (
    "pipe.transformer.enable_layerwise_casting(\n"
    "    storage_dtype=torch.float8_e4m3fn, compute_dtype={dtype}\n"
    ")"
)
# The embedding is shared with the output layer, which has to stay as it is with it.
_CASTING = "from diffusers.hooks import apply_layerwise_casting"
_FP8_ENCODER = (
    "apply_layerwise_casting(\n"
    "    pipe.text_encoder, storage_dtype=torch.float8_e4m3fn, compute_dtype={dtype},\n"
    '    skip_modules_pattern=("embed_tokens", "lm_head", "norm"),\n'
    ")"
)
_FP8_BOTH = f"{_FP8_TRANSFORMER}\n{_FP8_ENCODER}"
_MATH = (
    "torch.backends.cuda.enable_flash_sdp(False)\n"
    "torch.backends.cuda.enable_mem_efficient_sdp(False)\n"
    "torch.backends.cuda.enable_cudnn_sdp(False)"
)
_RESIDENT = 'pipe.to("{device}")'
_MODEL_OFFLOAD = 'pipe.enable_model_cpu_offload(device="{device}")'
_SEQUENTIAL = 'pipe.enable_sequential_cpu_offload(device="{device}")'
_GROUPS = (
    "pipe.enable_group_offload(\n"
    '    onload_device=torch.device("{device}"), offload_device=torch.device("cpu"),\n'
    '    offload_type="leaf_level", use_stream={stream}{lean},\n'
    ")"
)
_ONE_BY_ONE = "Each part is on the card only while it works; the others wait in RAM."
_STORED_FP8 = "Stored in FP8 and computed in BF16: half the memory, a little slower."

_WAYS = {
    "resident": Way("Everything stays on the card.", "", _RESIDENT),
    "fp8-transformer-resident": Way(_STORED_FP8, _FP8_TRANSFORMER, _RESIDENT),
    "fp8-both-resident": Way(_STORED_FP8, _FP8_BOTH, _RESIDENT, _CASTING),
    "group-offload-stream": Way(
        "Layers are streamed to the card from RAM while others work.", "", _GROUPS
    ),
    "group-offload-stream-lean": Way(
        "Layers are streamed to the card from the files, with little RAM.", "", _GROUPS
    ),
    "encoder-on-cpu": Way(
        "The processor reads the prompt, so that the text encoder takes no memory of the card.",
        "",
        _RESIDENT,
        encode_on="cpu",
    ),
    "sequential-offload": Way(
        "Layers go to the card one at a time: slow, and with the least memory.", "", _SEQUENTIAL
    ),
    "model-offload": Way(_ONE_BY_ONE, "", _MODEL_OFFLOAD, by_part=True),
    "fp8-transformer-offload": Way(
        f"{_ONE_BY_ONE} {_STORED_FP8}", _FP8_TRANSFORMER, _MODEL_OFFLOAD, by_part=True
    ),
    "fp8-both-offload": Way(
        f"{_ONE_BY_ONE} {_STORED_FP8}", _FP8_BOTH, _MODEL_OFFLOAD, _CASTING, by_part=True
    ),
}
_LEAN = "group-offload-stream-lean"


def way(plan: str, device: str = "cuda", dtype: str = DTYPE) -> Way:
    """How a plan of ``recipes/memory.toml`` is carried out on a device.

    Raises:
        KeyError: no way of running the model in diffusers has this id.
    """
    base = plan.removesuffix("-math")
    found = _WAYS[base]
    words = {
        "device": device,
        "dtype": dtype,
        "stream": str(device == "cuda"),  # streams are CUDA's
        "lean": ", low_cpu_mem_usage=True" if base == _LEAN else "",
    }
    prepare = [found.prepare] if found.prepare else []
    if plan != base:
        prepare.append(_MATH)
    return found._replace(
        prepare="\n".join(prepare).format(**words), place=found.place.format(**words)
    )


def plan_for(facts: Facts, recipe: Recipe) -> Fact[Plan]:
    """The fastest plan of the diffusers route that fits now; Unknown where none does.

    Where nobody could tell how much of the card is free, it is the one that needs the least.
    """
    found = recommend(facts, recipe)
    if isinstance(found, Unknown):
        return found
    have, rules = found.value.budget, recipe.memory
    plans = usable_plans(facts, recipe, "diffusers")
    fit = fitting(plans, rules, have.free, have.ram)
    if fit:
        sure = fit[0] if have.measured else min(fit, key=lambda plan: need_mib(plan, rules))
        return Known(sure)
    if fitting(plans, rules, have.free, None):
        return Unknown("no way of running the model fits into the RAM that is free")
    least = min((need_mib(plan, rules) for plan in plans), default=0)
    return Unknown(
        f"{have.free / 1024:.1f} GiB of the card are free, and the most frugal way takes "
        f"{least / 1024:.1f} GiB"
    )
