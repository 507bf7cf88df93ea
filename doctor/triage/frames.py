"""Which package a fault came from, by the paths around its line."""

from __future__ import annotations

import re

from klein_doctor.triage.values import Seen

_BEFORE = 60
_DEEPEST = 4  # frames of a trace, counted from the error
_FRAME = re.compile(r'file "(?P<path>[^"\n]{1,400})", line \d+')

# Folder or file names of attention packages, as they stand in paths and module names.
ATTENTION = {
    "xformers": ("xformers",),
    "flash-attn": ("flash_attn", "flash-attn", "flash-attention", "flash_attention"),
    "SageAttention": ("sageattention", "sageattn", "spas_sage", "_qattn", "sage_attention"),
}
_TRIO = ("torchvision", "torchaudio")
_OTHERS = ("bitsandbytes", "comfy_kitchen", "comfy_aimdo", "nunchaku", "onnxruntime", "natten",
           "torchao", "deepspeed", "triton")  # fmt: skip


def attention_in(text: str) -> str:
    """The attention package a path or message names, "" when it names none."""
    text = text.lower()
    for name, words in ATTENTION.items():
        if any(word in text for word in words):
            return name
    return ""


def package_in(path: str) -> str:
    """Whose path this is: an attention package, torchvision, torchaudio, torch, another or ""."""
    low = path.lower().replace("\\", "/")
    named = attention_in(low)
    if named:
        return named
    for name in (*_TRIO, *_OTHERS):
        if name in low:
            return name
    if re.search(r"(?:^|/)torch/|/torch\b|libtorch|libc10|/nvidia/|libcaffe2", low):
        return "torch"
    return ""


def frames(seen: Seen) -> list[str]:
    """The paths of the deepest frames of the trace above a line, the deepest first."""
    above = seen.text.near(seen.number, _BEFORE)
    begin = above.rfind("traceback (most recent")
    found = [match["path"] for match in _FRAME.finditer(above[begin if begin >= 0 else 0 :])]
    return found[::-1][:_DEEPEST]


def raised_in(seen: Seen) -> str:
    """The attention package that raised an error: by its own line, else by the deepest frames."""
    return attention_in(seen.line) or next(filter(None, map(attention_in, frames(seen))), "")


def is_trio(package: str) -> bool:
    """Whether it is one of torch's partners."""
    return package in _TRIO
