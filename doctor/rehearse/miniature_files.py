"""Safetensors files of seeded random weights, the same bytes every time, made without a library.

A table is that of a published file (``recipes/layouts/``), at its own size or shrunk. Files are
laid out as the safetensors library does it: widest type first, then by name, compact JSON padded
with spaces to a multiple of eight bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from klein_doctor.identity.layouts import Expected

Table = Mapping[str, Expected]

_BYTES = {"I64": 8, "F32": 4, "BF16": 2, "F8_E4M3": 1}
_ORDER = ("I64", "F32", "BF16", "F8_E4M3")
# A tensor's random bytes repeat after so many weights: what is larger takes no longer to think up.
_BLOCK = 1 << 20
_LARGEST_F8 = 448.0
_NORM = re.compile(r"norm[a-z0-9_]*\.(weight|scale)$|_norm\.scale$")
_QUANTISED = re.compile(r"(double|single)_blocks\.")


def shrunk(
    table: Table, sides: Mapping[int, int], layers: Mapping[str, int], keep: str = "\0"
) -> dict[str, Expected]:
    """A table with other sides and fewer layers.

    Args:
        sides: a side's length to the one it gets, others stay. layers: how many of the numbered
            layers after this prefix stay. keep: tensors whose names begin so stay as they are.
    """
    found = {}
    for name, tensor in table.items():
        if any(_number(name, prefix) >= count for prefix, count in layers.items()):
            continue
        shape = tensor.shape
        if not name.startswith(keep):
            shape = tuple(sides.get(side, side) for side in shape)
        found[name] = Expected(tensor.dtype, shape)
    return found


def retyped(table: Table, dtype: str) -> dict[str, Expected]:
    """A table whose floating-point tensors are all of one type."""
    return {
        name: tensor if tensor.dtype == "I64" else Expected(dtype, tensor.shape)
        for name, tensor in table.items()
    }


def in_fp8(table: Table) -> tuple[dict[str, Expected], dict[str, str]]:
    """A transformer's table as the published FP8 build stores it, and that file's metadata."""
    found, layers = dict(table), []
    for name, tensor in table.items():
        if len(tensor.shape) == 2 and _QUANTISED.match(name):
            layer = name[: -len(".weight")]
            layers.append(layer)
            found[name] = Expected("F8_E4M3", tensor.shape)
            found[f"{layer}.weight_scale"] = found[f"{layer}.input_scale"] = Expected("F32", ())
    body = {
        "format_version": "1.0",
        "layers": {layer: {"format": "float8_e4m3fn"} for layer in sorted(layers)},
    }
    return found, {"_quantization_metadata": json.dumps(body)}


def write(path: Path, table: Table, seed: str, metadata: Mapping[str, str] | None = None) -> None:
    """Write a file of these tensors; their values follow from seed, name, shape and type.

    Raises:
        OSError: no room, or no such folder.
    """
    names = sorted(table, key=lambda name: (_ORDER.index(table[name].dtype), name))
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    here = 0
    for name in names:
        tensor = table[name]
        end = here + math.prod(tensor.shape) * _BYTES[tensor.dtype]
        offsets = [here, end]
        entries[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": offsets,
        }
        here = end
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            for block in _values(name, table[name], seed, table):
                stream.write(block)


def _values(name: str, tensor: Expected, seed: str, table: Table) -> Iterator[bytes]:
    count = math.prod(tensor.shape)
    constant = _constant(name, table)
    if constant is not None:
        one = _packed(constant, tensor.dtype)
        block = one * min(count, _BLOCK)
    else:
        raw = hashlib.shake_256(f"{seed}/{name}".encode()).digest(min(count, _BLOCK))
        block = _spread(raw, tensor.dtype, _widest(tensor))
    whole, rest = divmod(count, _BLOCK)
    for _ in range(whole):
        yield block
    yield block[: rest * _BYTES[tensor.dtype]]


def _constant(name: str, table: Table) -> float | None:
    """The value of a tensor that has the same everywhere; None of one that is random."""
    if name == "bn.running_var" or _NORM.search(name):
        return 1.0
    if name.endswith(".weight_scale"):
        weight = table[name.replace(".weight_scale", ".weight")]
        return math.sqrt(3.0 / weight.shape[1]) / _LARGEST_F8
    if name.endswith(".input_scale"):
        return 1.0 / 32.0
    return 0.0 if name.endswith(".bias") or name.startswith("bn.") else None


def _widest(tensor: Expected) -> float:
    """The largest weight: with it a layer hands on about as much as it gets."""
    if tensor.dtype == "F8_E4M3":
        return _LARGEST_F8
    return math.sqrt(3.0 / math.prod(tensor.shape[1:]))


def _spread(raw: bytes, dtype: str, widest: float) -> bytes:
    """Each byte as one of 256 weights, evenly from -widest to widest."""
    tables = _tables(dtype, widest)
    out = bytearray(len(raw) * len(tables))
    for place, table in enumerate(tables):
        out[place :: len(tables)] = raw.translate(table)
    return bytes(out)


@lru_cache(maxsize=64)
def _tables(dtype: str, widest: float) -> list[bytes]:
    """For each byte of a weight as it is stored: what it is for each random byte."""
    weights = [_packed((byte - 127.5) / 127.5 * widest, dtype) for byte in range(256)]
    return [bytes(each[place] for each in weights) for place in range(len(weights[0]))]


def _packed(value: float, dtype: str) -> bytes:
    """A number as a file stores it."""
    return _PACK[dtype](value)


def _bf16(value: float) -> bytes:
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return struct.pack("<H", (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)  # to the nearest, ties even


def _f8(value: float) -> bytes:
    return bytes([min(range(256), key=lambda code: (abs(_f8_value(code) - value), code))])


def _f8_value(code: int) -> float:
    """What a byte of type float8_e4m3fn stands for; NaN is put out of reach."""
    sign, power, fraction = -1.0 if code & 128 else 1.0, code >> 3 & 15, code & 7
    if code & 127 == 127:
        return math.inf
    return sign * (math.ldexp(fraction, -9) if not power else math.ldexp(8 + fraction, power - 10))


_PACK: dict[str, Callable[[float], bytes]] = {
    "I64": lambda value: struct.pack("<q", int(value)),
    "F32": lambda value: struct.pack("<f", value),
    "BF16": _bf16,
    "F8_E4M3": _f8,
}


def _number(name: str, prefix: str) -> int:
    """The number after a prefix in a tensor's name, -1 where the name does not begin so."""
    if not name.startswith(prefix):
        return -1
    return int(name[len(prefix) :].partition(".")[0])
