"""Files nobody wrote by hand, for the way from a path to its verdict; and sound ones."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import model_files
from header_strategies import ASSETS, NAMES, REAL, VERDICTS
from hypothesis import strategies as st

from klein_doctor.identity.digest import DigestStore
from klein_doctor.identity.headers import read_header
from klein_doctor.identity.layouts import Expected
from klein_doctor.identity.look import look

NOWHERE = DigestStore(None)
LONGEST = 600
ENDINGS = (".safetensors", ".gguf", ".ckpt", ".sft", "")
SIGNS = st.text(alphabet=st.characters(), max_size=16)
SAMPLES = ["\x1b[2J", "\x1b]0;x\x07", "a\0b", "\ud800", "\u202e", "\u2028", "\x9b31m", "²", "٣"]
TEXTS = st.one_of(SIGNS, st.sampled_from(SAMPLES))
_BITS = {"U8": 8, "BF16": 16, "F32": 32, "F8_E4M3": 8, "I64": 64}


@st.composite
def tempting(draw: st.DrawFn) -> bytes:
    """A header that fits a rule of the tables, with a stranger's texts wherever one may be."""
    rule = draw(st.sampled_from(ASSETS.rules))
    entries: dict[str, object] = {}
    if draw(st.booleans()):
        entries["__metadata__"] = {draw(TEXTS): draw(TEXTS)}
    here = 0
    for mark in rule.has:
        name, _, sides = mark.replace("*.", "0.").partition(" ")
        shape = [7 if side == "*" else int(side) for side in sides.split("x")] if sides else [7]
        dtype = draw(st.one_of(st.sampled_from(["U8", "F9", "bf16"]), TEXTS))
        size = 8
        if dtype == "U8":
            size = 1
            for side in shape:
                size *= side
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [here, here + size]}
        here += size
    for name in draw(st.lists(st.one_of(TEXTS, NAMES), max_size=3)):
        entries[name] = {"dtype": "U8", "shape": [0], "data_offsets": [here, here]}
    text = json.dumps(entries, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text


@st.composite
def moved(draw: st.DrawFn) -> bytes:
    """A real header of which pieces were cut out, doubled or put elsewhere."""
    data = draw(st.sampled_from(REAL))
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.integers(0, 200)))
        place = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["cut", "double", "put"]))
        if kind == "cut":
            data = data[:begin] + data[end:]
        elif kind == "double":
            data = data[:end] + data[begin:]
        else:
            data = data[:place] + data[begin:end] + data[place:]
    return data


@st.composite
def gguf_files(draw: st.DrawFn) -> bytes:
    """GGUF whose pieces are of the right kinds, with texts and numbers that need not be."""
    big = st.one_of(st.integers(0, 64), st.integers(0, (1 << 64) - 1))

    def text(value: str) -> bytes:
        raw = value.encode("utf-8", "surrogatepass")
        return struct.pack("<Q", len(raw)) + raw

    keys = st.one_of(st.just("general.alignment"), st.just("general.file_type"), TEXTS)
    pairs = b""
    count = draw(st.integers(0, 4))
    for _ in range(count):
        kind = draw(st.sampled_from([4, 8, 9, 10, 11, 12, 13, 255]))
        value = struct.pack("<Q", draw(big))
        if kind == 4:
            value = value[:4]
        elif kind == 8:
            value = text(draw(TEXTS))
        elif kind == 9:
            value = struct.pack("<IQ", draw(st.integers(0, 13)), draw(big))
        pairs += text(draw(keys)) + struct.pack("<I", kind) + value
    tensors = b""
    number = draw(st.integers(0, 4))
    for _ in range(number):
        shape = draw(st.lists(big, max_size=10))
        tensors += text(draw(st.one_of(TEXTS, NAMES))) + struct.pack("<I", len(shape))
        tensors += b"".join(struct.pack("<Q", side) for side in shape)
        tensors += struct.pack("<IQ", draw(st.integers(0, 60)), draw(big))
    counts = draw(st.one_of(st.just((number, count)), st.tuples(big, big)))
    return b"GGUF" + struct.pack("<IQQ", 3, *counts) + pairs + tensors


FILES = st.one_of(tempting(), moved(), gguf_files())
SIZES = st.one_of(st.just(0), st.integers(0, 4096), st.integers(0, 1 << 36))


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Expected]:
    """Sound tables of tensors of any names and shapes."""
    shapes = st.lists(st.integers(0, 40), max_size=4).map(tuple)
    types = st.sampled_from(sorted(_BITS))
    names = st.text(max_size=20).filter(lambda name: name != "__metadata__")
    usable = names.filter(lambda name: name.isprintable() or name.isascii())
    return draw(st.dictionaries(usable, st.builds(Expected, types, shapes), max_size=12))


@st.composite
def respelt(draw: st.DrawFn) -> tuple[str, bytes]:
    """A table's name, and its header in another order and another spelling of JSON."""
    name = draw(st.sampled_from(["flux2-vae", "sdxl-vae", "taef2-decoder"]))
    entries = json.loads(model_files.header(model_files.table(name))[0][8:])
    order = draw(st.randoms(use_true_random=False))
    items = list(entries.items())
    order.shuffle(items)
    indent = draw(st.sampled_from([None, 0, 1, "\t"]))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\r\n")]))
    text = json.dumps(dict(items), indent=indent, separators=separators).encode()
    text += b" " * draw(st.integers(0, 40))
    return name, struct.pack("<Q", len(text)) + text


def hold(path: Path, data: bytes, more: int, sha256: str) -> None:
    """Whatever the file: a verdict of the list, in words a terminal can show."""
    path.write_bytes(data)
    os.truncate(path, len(data) + more)
    read_header(path)
    looked = look(path, ASSETS, NOWHERE, sha256)
    identity = looked.identity
    assert looked.problem == "" and looked.size == len(data) + more
    assert identity.verdict in VERDICTS
    assert identity.structure in ("exact", "family", "none")
    assert identity.digest in ("verified", "mismatch", "unchecked")
    assert 0 < len(identity.says) < LONGEST
    for text in identity:
        assert not isinstance(text, str) or text.isprintable()
    assert identity.family == "" or identity.family in ASSETS.families
