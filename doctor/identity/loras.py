"""LoRAs: small files that change a model. Their widths tell the model they were made for."""

from __future__ import annotations

import itertools
import re
from functools import lru_cache
from typing import NamedTuple

from klein_doctor.identity.tensors import Header
from klein_doctor.recipe_assets import AssetRules, Family, LoraRow

# Programs' endings of the two matrices: down to the rank, up from it.
_DOWN = re.compile(r"[._](?:lora_down|lora_A|lora\.down)(?:\.default)?(?:\.weight)?$")
_UP = re.compile(r"[._](?:lora_up|lora_B|lora\.up)(?:\.default)?(?:\.weight)?$")
_OTHER = re.compile(r"\.(?:lokr_w[12](?:_[ab])?|hada_w[12]_[ab]|dora_scale|oft_blocks)$")
_ANY = re.compile(r"lora|lokr|hada_|oft_")
_LOOKED_AT = 12
_BEFORE = re.compile(
    r"^(?:base_model_model_)?(?:lora_unet_|lora_transformer_|lycoris_|diffusion_model_|"
    r"transformer_(?=(?:single_)?transformer_blocks_))?"
)
_NUMBER = re.compile(r"_(\d+)_")


class Lora(NamedTuple):
    """What a LoRA is for: family None where no row fits; fits: Klein 4B takes it."""

    family: Family | None
    fits: bool


class _Module(NamedTuple):
    inputs: int
    outputs: int


def read_lora(header: Header, assets: AssetRules) -> Lora | None:
    """What a LoRA was made for, by the widths of its modules; None where the file is none."""
    # A LoRA is one throughout: a few names tell, and most files are none.
    if not any(_ANY.search(name) for name in itertools.islice(header.entries, _LOOKED_AT)):
        return None
    modules: dict[str, list[int]] = {}
    other = 0
    for name, entry in header.entries.items():
        shape = entry["shape"]
        down, up = _DOWN.search(name), _UP.search(name)
        if down and len(shape) >= 2:
            modules.setdefault(_plain(name[: down.start()]), [0, 0])[0] = shape[1]
        elif up and len(shape) >= 2:
            modules.setdefault(_plain(name[: up.start()]), [0, 0])[1] = shape[0]
        elif _OTHER.search(name):
            other += 1
    if not modules:
        return Lora(None, False) if other else None
    family = _family({name: _Module(*sides) for name, sides in modules.items()}, assets)
    return Lora(family, family is not None and family.verdict == "wanted")


def _plain(module: str) -> str:
    """A module's name as every trainer's spelling of it reads without dots and prefixes."""
    text = module.replace(".", "_")
    return _BEFORE.sub("", text)


def _family(modules: dict[str, _Module], assets: AssetRules) -> Family | None:
    """The family whose rows the modules fit: by widths of its own, else by block numbers."""
    doubtful: set[str] = set()
    for name, module in modules.items():
        for row in _rows(assets.loras, _shape(name)):
            if (row.inputs, row.outputs) == (module.inputs, module.outputs):
                if not row.blocks:
                    return assets.families[row.family]
                doubtful.add(row.family)
    highest = _highest(modules)
    for row in assets.loras:
        if (
            row.family in doubtful
            and row.blocks
            and all(number < bound for number, bound in zip(highest, row.blocks, strict=True))
        ):
            return assets.families[row.family]
    return None


def _highest(modules: dict[str, _Module]) -> tuple[int, int]:
    """The highest numbers of double and of single blocks, -1 for none."""
    double = single = -1
    for name in modules:
        found = _NUMBER.search(name)
        if found is None:
            continue
        if name.startswith("single_"):
            single = max(single, int(found.group(1)))
        elif name.startswith(("double_blocks_", "transformer_blocks_")):
            double = max(double, int(found.group(1)))
    return double, single


def _shape(name: str) -> str:
    """The name with its block number as ``*``."""
    return _NUMBER.sub("_*_", name, count=1)


def _rows(loras: tuple[LoraRow, ...], module: str) -> tuple[LoraRow, ...]:
    return _by_module(loras).get(module, ())


@lru_cache(maxsize=4)
def _by_module(loras: tuple[LoraRow, ...]) -> dict[str, tuple[LoraRow, ...]]:
    found: dict[str, tuple[LoraRow, ...]] = {}
    for row in loras:
        found[row.module] = (*found.get(row.module, ()), row)
    return found
