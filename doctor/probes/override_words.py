"""The words by which an attention override is known, in bytes to search and texts to judge.

transformers 4.57 and 5.23 (attn_implementation and its spellings), diffusers 0.42
(models/attention_dispatch.py), ComfyUI 0.33 (comfy/ldm/modules/attention.py).
"""

from __future__ import annotations

import re

KEYS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
VARIABLE = "DIFFUSERS_ATTN_BACKEND"
COMFY_KEY = "optimized_attention_override"
XFORMERS_CALL = "enable_xformers_memory_efficient_attention"
# Calls whose first argument, or the keyword of that name, is an implementation.
CALLS = {
    "set_attn_implementation": "attn_implementation",
    "set_attention_backend": "backend",
    "attention_backend": "backend",
}

# What all attention of a process goes through, or all of ComfyUI's.
TARGETS = frozenset(
    {
        "torch.nn.functional.scaled_dot_product_attention",
        "comfy.ldm.modules.attention.optimized_attention",
        "comfy.ldm.modules.attention.optimized_attention_masked",
        "comfy.ldm.modules.attention.attention_pytorch",
        "comfy.ldm.flux.math.optimized_attention",
    }
)
_TARGETS = b"(?:scaled_dot_product_attention|optimized_attention(?:_masked)?|attention_pytorch)"
_SET = re.compile(rb"\." + _TARGETS + rb"[\s\\]*=(?!=)")
_SET_BY_NAME = re.compile(rb"setattr\b[^\n]{0,200}[\"']" + _TARGETS + rb"[\"']")

# A file without any of these is never decoded.
TELLING = (
    b"attn_implementation",
    b"flash_attention_",
    b"flash_attn",
    b"attention_backend",
    VARIABLE.encode(),
    COMFY_KEY.encode(),
    XFORMERS_CALL.encode(),
)
# The rest is for files that have one, and for bytes in small letters. Each pattern begins with
# plain letters where it can: that is what makes a search fast.
_OLD_SWITCH = re.compile(rb"use_flash_attention_2[\s\\]*=[\s\\]*(?!=|false|none|use_)")
_ADJACENT = re.compile(rb"attn_implementation[\"']?[\s\\]*[=:,][\s\\]*[\"'][\w.-]+/")
_KEY = re.compile(rb"attn_implementation(?:_internal)?[\"']?[\s\\]*\]?[\s\\]*(?:=(?!=)|[:,])")
_PLACES = (
    b"attention_backend(", b"set_attn_implementation(", VARIABLE.lower().encode(),
    b"input_types", b"add_argument", b"combo.input", b"option(",
)  # fmt: skip
_VALUE = re.compile(
    rb"(?<![=!]= )[\"'](?:paged\|)?_?(?:flash|sage|xformers|flex|kernels|aiter|fa[234])"
)
_KERNEL_VALUE = re.compile(rb"[\"'][\w.-]{1,80}/[\w.-]*(?:attn|flash|kernel|sage)")
_OTHER = re.compile(r"_?(?:flash|sage|xformers|flex|kernels|aiter|fa[234](?!\w))", re.IGNORECASE)
_KERNEL = re.compile(r"[\w.-]+/[\w.-]+(?:[@:][\w.@:-]+)?")
_KLEIN = re.compile(r"klein|flux\.?2|qwen3", re.IGNORECASE)


def tells(data: bytes) -> bool:
    """Whether a file's bytes hold one of the telling words."""
    return any(word in data for word in TELLING)


def is_worth_parsing(data: bytes) -> bool:
    """Whether a file with a telling word also has a place for a value, and such a value.

    Most have neither: model code compares and looks up implementations all over.
    """
    data = data.lower()
    if XFORMERS_CALL.encode() in data or COMFY_KEY.encode() in data:
        return True
    if _OLD_SWITCH.search(data) or _ADJACENT.search(data):
        return True
    if not (_KEY.search(data) or any(place in data for place in _PLACES)):
        return False
    found = _VALUE.search(data) or _KERNEL_VALUE.search(data) or b"attentionbackendname" in data
    return bool(found)


def may_replace(data: bytes) -> bool:
    """Whether a file's bytes set one of the functions that all attention goes through."""
    if b"attention" not in data:
        return False
    words = (b"dot_product_attention", b"optimized_attention", b"attention_pytorch")
    if not any(word in data for word in words):
        return False
    return bool(_SET.search(data) or (b"setattr" in data and _SET_BY_NAME.search(data)))


def asks_for_other(value: str) -> bool:
    """Whether a value of attn_implementation or of a backend is none of the defaults.

    sdpa, eager, native, auto and their kin are defaults: torch's own code, for every card.
    """
    value = value.strip().removeprefix("paged|")
    return bool(_OTHER.match(value) or _KERNEL.fullmatch(value))


def names_klein(text: str) -> bool:
    """Whether an identifier or a string names Klein, FLUX.2 or Qwen3."""
    return _KLEIN.search(text) is not None
