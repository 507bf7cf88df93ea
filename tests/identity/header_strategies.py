"""Headers nobody wrote by hand: random ones, and real ones with something changed."""

from __future__ import annotations

import io
import json
import struct

import model_files
from hypothesis import strategies as st

from klein_doctor.identity.headers import parse
from klein_doctor.identity.identity import Evidence, judge_file
from klein_doctor.recipe_assets import load_assets

ASSETS = load_assets()
VERDICTS = {"wanted", "variant", "refused", "impostor", "other", "damaged", "unknown"}
REAL = [
    model_files.header(model_files.table(name))[0]
    for name in ("flux-2-klein-4b-fp8", "qwen3-4b", "flux2-vae", "sdxl-vae", "taef2-decoder")
]

NAMES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["a\0b", "\x1b[31mred", "\ud800", "__metadata__", "txt_in.weight", "\u202e"]),
    st.sampled_from(sorted(model_files.table("flux-2-klein-4b-fp8"))),
)
NUMBERS = st.one_of(
    st.integers(-4, 40), st.integers(-(1 << 70), 1 << 70), st.floats(), st.booleans(), st.none()
)
ENTRIES = st.one_of(
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["U8", "BF16", "F8_E4M3", "Q9", "", 3, None, ["U8"]]),
            "shape": st.lists(NUMBERS, max_size=20) | NUMBERS,
            "data_offsets": st.lists(NUMBERS, max_size=3) | NUMBERS,
        }
    ),
    st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=3), max_leaves=8),
)


@st.composite
def random_headers(draw: st.DrawFn) -> bytes:
    """A length, right or not, and a text that may be a header."""
    entries = draw(st.lists(st.tuples(NAMES, ENTRIES), max_size=6))
    pieces = [f"{json.dumps(name)}:{json.dumps(entry)}" for name, entry in entries]
    text = ("{" + ",".join(pieces) + "}").encode("utf-8", "surrogatepass")
    if draw(st.booleans()):
        text = b'{"a":' * draw(st.integers(0, 3000)) + text
    lengths = st.one_of(st.just(len(text)), st.integers(0, (1 << 64) - 1))
    return struct.pack("<Q", draw(lengths)) + text + bytes(draw(st.integers(0, 64)))


@st.composite
def mutated_headers(draw: st.DrawFn) -> bytes:
    """A real header with bytes changed, cut off or added."""
    data = bytearray(draw(st.sampled_from(REAL)))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) + draw(st.binary(max_size=16))


@st.composite
def gguf_headers(draw: st.DrawFn) -> bytes:
    """GGUF with counts, types and texts that may be anything."""
    numbers = st.one_of(st.integers(0, 12), st.integers(0, (1 << 64) - 1))
    data = b"GGUF" + struct.pack("<I", draw(st.sampled_from([1, 2, 3, 1 << 31])))
    for _ in range(draw(st.integers(0, 12))):
        data += struct.pack("<Q", draw(numbers)) + draw(st.binary(max_size=24))
    return data


HEADERS = st.one_of(random_headers(), mutated_headers(), gguf_headers(), st.binary(max_size=64))
SIZES = st.one_of(st.just(0), st.integers(0, 1 << 40))


def hold(data: bytes, more: int) -> None:
    """Whatever the bytes: a verdict of the list, in words a terminal can show."""
    size = len(data) + more
    reading = parse(io.BytesIO(data), size)
    evidence = Evidence("model.safetensors", "vae", size, sha256="")
    identity = judge_file(reading, evidence, ASSETS)
    assert identity.verdict in VERDICTS
    assert identity.says and identity.says.isprintable() and len(identity.says) < 1000
    if reading.header is None or reading.damage is not None:
        assert identity.verdict in ("damaged", "unknown")
    json.dumps(identity._asdict())
