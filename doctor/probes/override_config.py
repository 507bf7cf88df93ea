"""Keys of a model's config.json that ask for an attention implementation.

transformers reads them when it loads the model: ``attn_implementation`` (5.x),
``_attn_implementation`` (4.x and 5.x), ``_attn_implementation_internal`` (4.x), each a text or a
table per sub-config. diffusers knows none of them, so that its own components cannot ask this way.
``_flash_attn_2_enabled`` and ``use_flash_attention_2`` are read by nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from klein_doctor.probes.override_source import Found, Hit
from klein_doctor.probes.override_words import KEYS, asks_for_other, names_klein

_MOST_TABLES = 200  # in one file
_MOST_HITS = 50


def read_config(data: bytes) -> Found | None:
    """What a config asks for, None where it is no JSON."""
    try:
        text = data.decode("utf-8-sig")
        config = json.loads(text)
    except (ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(config, dict) or _is_diffusers(config):
        return Found((), False)
    names = config.get("architectures")
    first = names[0] if isinstance(names, list) and names else config.get("model_type")
    owner = first if isinstance(first, str) else ""
    hits = [
        Hit(_line(text, key, value), key, value, owner, "")
        for key, value in _asked(config)
        if asks_for_other(value)
    ]
    return Found(tuple(dict.fromkeys(hits))[:_MOST_HITS], bool(hits) and names_klein(text))


def _is_diffusers(config: dict[str, Any]) -> bool:
    return "_class_name" in config and "model_type" not in config


def _asked(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every key with its text, sub-configs such as text_config included."""
    waiting, left = [config], _MOST_TABLES
    while waiting and left:
        table = waiting.pop(0)
        left -= 1
        for key, value in table.items():
            if key in KEYS:
                for text in value.values() if isinstance(value, dict) else (value,):
                    if isinstance(text, str):
                        yield key, text
            elif isinstance(value, dict):
                waiting.append(value)


def _line(text: str, key: str, value: str) -> int:
    """The line of a key's value, 0 where it is written in a way of its own."""
    between = r"\s*:\s*(?:\{[^{}]*?:\s*)?"
    found = re.search(f'"{re.escape(key)}"{between}("{re.escape(value)}")', text)
    return text.count("\n", 0, found.start(1)) + 1 if found else 0
