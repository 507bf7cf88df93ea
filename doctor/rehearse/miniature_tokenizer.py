"""A tokenizer of 261 tokens in the files of Qwen's: one token for each byte, and the marks."""

from __future__ import annotations

import json

MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
VOCABULARY = 256 + len(MARKS)
_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}"
    "{%- endif %}{%- endif %}"
)
_LONGEST = 131072


def files() -> dict[str, str]:
    """The text of each file, by name, as in the published tokenizer folder."""
    tokens = {letter: number for number, letter in enumerate(_alphabet())}
    marks = {mark: 256 + number for number, mark in enumerate(MARKS)}
    special = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    added = [
        {"id": number, "content": mark, **flags, "special": mark.startswith("<|")}
        for mark, number in marks.items()
    ]
    config = {
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(each["id"]): {key: value for key, value in each.items() if key != "id"}
            for each in added
        },
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "bos_token": None,
        "chat_template": _TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "errors": "replace",
        "model_max_length": _LONGEST,
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
        **special,
    }
    return {
        "added_tokens.json": _json(marks),
        "chat_template.jinja": _TEMPLATE,
        "merges.txt": "#version: 0.2\n",
        "special_tokens_map.json": _json(special),
        "tokenizer.json": _json(_fast(tokens, added)),
        "tokenizer_config.json": _json(config),
        "vocab.json": _json(tokens),
    }


def _fast(tokens: dict[str, int], added: list[dict[str, object]]) -> dict[str, object]:
    """The file of the tokenizers library: bytes to letters, no merges."""
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": False,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": byte_level,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": tokens,
            "merges": [],
        },
    }


def _alphabet() -> list[str]:
    """The letter that stands for each byte, as byte-level BPE has it since GPT-2."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = iter(range(256, 512))
    return [chr(byte if byte in shown else next(hidden)) for byte in range(256)]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
