"""Model files for the tests: the real header at the true size, as sparse files.

A file of 8 GB takes tens of kilobytes on disk, because its tensors' data is a hole but for the last
bytes: zeros there would say that a download broke off. Headers are
written as the safetensors library writes them: widest type first, then by name, compact JSON,
padded with spaces to a multiple of eight bytes.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from klein_doctor.identity.layouts import Expected, read_layout
from klein_doctor.rows import RECIPES

TABLES = Path(__file__).parent / "layouts"
_BITS = {"I64": 64, "F32": 32, "BF16": 16, "F16": 16, "F8_E4M3": 8, "U8": 8, "I8": 8}
_ORDER = ("I64", "F32", "BF16", "F16", "F8_E4M3", "I8", "U8")

END = b"weights"  # what the last tensor ends with

Table = Mapping[str, Expected]


def names() -> list[str]:
    """Every table of a real file, the packaged ones included."""
    folders = (TABLES, RECIPES / "layouts")
    return sorted(path.stem for folder in folders for path in folder.glob("*.txt"))


def path_of(name: str) -> Path:
    """The file of a table."""
    own = TABLES / f"{name}.txt"
    return own if own.exists() else RECIPES / "layouts" / f"{name}.txt"


def table(name: str) -> dict[str, Expected]:
    """The tensors of a real file."""
    return read_layout(path_of(name))


def notes(name: str) -> dict[str, str]:
    """What the table's head says: bytes, schema, metadata."""
    words = " ".join(
        line[2:] for line in path_of(name).read_text("utf-8").splitlines() if line[:2] == "# "
    ).split()
    found = dict(itertools.pairwise(words))
    return {key: found[key] for key in ("bytes", "schema", "metadata") if key in found}


def size_of(tensor: Expected) -> int:
    """The bytes of one tensor's data."""
    count = 1
    for side in tensor.shape:
        count *= side
    return (count * _BITS[tensor.dtype] + 7) // 8


def header(tensors: Table, metadata: Mapping[str, str] | None = None) -> tuple[bytes, int]:
    """The bytes before the data, and the length of the data."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    here = 0
    for name in sorted(tensors, key=lambda name: (_ORDER.index(tensors[name].dtype), name)):
        tensor = tensors[name]
        end = here + size_of(tensor)
        entries[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [here, end],
        }
        here = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, here


@cache
def real_header(name: str) -> tuple[bytes, int]:
    """The same of a published file, by the name of its table."""
    tensors = table(name)
    return header(tensors, metadata_of(tensors, notes(name).get("metadata", "")))


def put(
    path: Path, tensors: Table, metadata: Mapping[str, str] | None = None, end: bytes = END
) -> Path:
    """Write a sparse safetensors file of the true size."""
    start, length = header(tensors, metadata)
    return sparse(path, start, len(start) + length, end[:length])


def sparse(path: Path, start: bytes, size: int, end: bytes = b"") -> Path:
    """A file that begins and ends so and is size bytes long; the rest is a hole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(start)
        stream.truncate(size)
        if end:
            stream.seek(size - len(end))
            stream.write(end)
    return path


def put_real(path: Path, name: str, end: bytes = END) -> Path:
    """A published file, by the name of its table, at its true size; end b"": all zeros."""
    start, length = real_header(name)
    return sparse(path, start, len(start) + length, end[:length])


def put_gguf(
    path: Path,
    tensors: Mapping[str, tuple[int, tuple[int, ...], int]],
    metadata: Iterable[tuple[str, int, bytes]] = (),
    version: int = 3,
) -> Path:
    """A sparse GGUF file.

    tensors: name to (type number, shape outermost first, bytes). metadata: key, value type and
    the value as it stands in the file.
    """
    pairs = list(metadata)
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    for key, kind, value in pairs:
        out += _text(key) + struct.pack("<I", kind) + value
    here = 0
    for name, (kind, shape, length) in tensors.items():
        out += _text(name) + struct.pack("<I", len(shape))
        out += b"".join(struct.pack("<Q", side) for side in reversed(shape))
        out += struct.pack("<IQ", kind, here)
        here += -(-length // 32) * 32
    out += b"\0" * (-len(out) % 32)
    last = list(tensors.values())[-1][2] if tensors else 0
    size = len(out) + here - (-(-last // 32) * 32 - last)
    return sparse(path, out, size, END[: max(0, size - len(out))])


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def metadata_of(tensors: Table, kind: str) -> dict[str, str] | None:
    """The metadata a table's head speaks of: format=pt or quantised=FORMAT."""
    key, _, value = kind.partition("=")
    if key == "format":
        return {"format": value}
    if key != "quantised":
        return None
    layers = [name[: -len(".weight_scale")] for name in tensors if name.endswith(".weight_scale")]
    body = {"format_version": "1.0", "layers": {name: {"format": value} for name in layers}}
    return {"_quantization_metadata": json.dumps(body)}
