"""GGUF: metadata of every kind is stepped over, and what cannot be is said, not guessed."""

from __future__ import annotations

import struct
from pathlib import Path

import model_files
import pytest

from klein_doctor.identity.digest import DigestStore
from klein_doctor.identity.headers import read_header
from klein_doctor.identity.identity import Identity
from klein_doctor.identity.look import look
from klein_doctor.identity.tensors import Reading
from klein_doctor.recipe_assets import load_assets

ASSETS = load_assets()
F32, Q4_0, Q4_K, NEWER = 0, 2, 12, 250
Tensors = dict[str, tuple[int, tuple[int, ...], int]]
ONE: Tensors = {"x": (F32, (4, 4), 64)}
FIXED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def read(path: Path) -> Reading:
    return read_header(path)[0]


def named(path: Path) -> Identity:
    identity = look(path, ASSETS, DigestStore(None)).identity
    assert identity.says.isprintable()
    return identity


def klein(kind: int, per: int, size: int, lost: str = "", prefix: str = "") -> Tensors:
    """Klein 4B with its matrices in blocks of per elements and size bytes."""
    found: Tensors = {}
    for name, tensor in model_files.table("flux2-klein-4b").items():
        count = 1
        for side in tensor.shape:
            count *= side
        flat = len(tensor.shape) < 2
        length = count * 4 if flat else count // per * size
        if name != lost:
            found[prefix + name] = (F32 if flat else kind, tensor.shape, length)
    return found


def test_values_of_every_kind_are_stepped_over(tmp_path: Path) -> None:
    pairs = [(f"k{kind}", kind, struct.pack(f"<{form}", 1)) for kind, form in FIXED.items()]
    for kind, form in FIXED.items():
        values = struct.pack(f"<IQ3{form}", kind, 3, *[1] * 3)
        pairs.append((f"list{kind}", 9, values))
    pairs.append(("words", 9, struct.pack("<IQ", 8, 3) + text("a") + text("") + text("b" * 99)))
    pairs.append(("template", 8, text("x" * 3_000_000)))  # longer than any window
    pairs.append(("last", 8, text("here")))
    reading = read(model_files.put_gguf(tmp_path / "m.gguf", ONE, pairs))
    assert reading.damage is None and reading.header is not None
    assert reading.header.metadata["last"] == "here"
    assert reading.header.metadata["k4"] == reading.header.metadata["k11"] == "1"
    assert reading.header.shape("x") == (4, 4)


@pytest.mark.parametrize("value", ["32", "0", "-1", "", "²", "٣", "9" * 4000, "x", "1.5"])
@pytest.mark.parametrize("kind", [4, 8])
def test_an_alignment_that_may_be_anything(tmp_path: Path, value: str, kind: int) -> None:
    number = int(value) & 0xFFFFFFFF if value in ("32", "0", "-1") else 7
    raw = struct.pack("<I", number) if kind == 4 else text(value)
    path = model_files.put_gguf(tmp_path / "m.gguf", ONE, [("general.alignment", kind, raw)])
    reading = read(path)
    assert reading.header is not None and reading.header.shape("x") == (4, 4)


@pytest.mark.parametrize("kind", [13, 99, (1 << 32) - 1])
def test_values_of_unknown_kinds(tmp_path: Path, kind: int) -> None:
    path = model_files.put_gguf(tmp_path / "m.gguf", ONE, [("k", kind, b"")])
    assert named(path).damage == "header"
    nested = struct.pack("<IQ", kind, 1)
    path = model_files.put_gguf(tmp_path / "m.gguf", ONE, [("k", 9, nested)])
    assert named(path).damage == "header"


def test_a_list_of_lists(tmp_path: Path) -> None:
    path = model_files.put_gguf(tmp_path / "m.gguf", ONE, [("k", 9, struct.pack("<IQ", 9, 1))])
    assert "list of lists" in named(path).says


@pytest.mark.parametrize("count", [1 << 22, 1 << 62, (1 << 64) - 1])
@pytest.mark.parametrize("kind", [0, 8, 12])
def test_lists_beyond_any_model(tmp_path: Path, count: int, kind: int) -> None:
    pairs = [("k", 9, struct.pack("<IQ", kind, count))]
    path = model_files.put_gguf(tmp_path / "m.gguf", ONE, pairs)
    assert named(path).damage in ("header", "truncated")


@pytest.mark.parametrize("length", [1 << 20, 1 << 40, (1 << 64) - 1])
def test_texts_longer_than_the_file(tmp_path: Path, length: int) -> None:
    path = model_files.put_gguf(tmp_path / "m.gguf", ONE, [("k", 8, struct.pack("<Q", length))])
    assert named(path).damage == "truncated"


@pytest.mark.parametrize("counts", [(1 << 20, 0), (0, 1 << 20), ((1 << 64) - 1,) * 2])
def test_counts_beyond_any_model(tmp_path: Path, counts: tuple[int, int]) -> None:
    path = tmp_path / "m.gguf"
    model_files.sparse(path, b"GGUF" + struct.pack("<IQQ", 3, *counts), 1 << 30)
    assert named(path).damage == "header"


@pytest.mark.parametrize("count", [3, 30_000])
def test_counts_the_file_does_not_keep(tmp_path: Path, count: int) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, count, count) + b"\x01")
    assert named(path).damage == "truncated"


def test_a_header_longer_than_any_known_is_left(tmp_path: Path) -> None:
    start = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("k") + struct.pack("<IQ", 8, 1 << 30)
    path = model_files.sparse(tmp_path / "m.gguf", start, 1 << 31)
    identity = named(path)
    assert identity.verdict == "unknown" and "not looked into" in identity.says


@pytest.mark.parametrize("shape", [(1,) * 9, (1 << 40, 1 << 40), ((1 << 64) - 1,)])
def test_tensors_beyond_any_size(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = model_files.put_gguf(tmp_path / "m.gguf", {"x": (F32, shape, 64)})
    assert named(path).damage == "header"


def test_a_tensor_named_twice(tmp_path: Path) -> None:
    one = text("x") + struct.pack("<IQIQ", 1, 4, F32, 0)
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2, 0) + one + one + bytes(64))
    assert "named twice" in named(path).says


@pytest.mark.parametrize("name", ["\x1b[31m", "a\0b", "\u202e", "n" * 5000, b"\xff\xfe", ""])
def test_names_that_steer_terminals(tmp_path: Path, name: str | bytes) -> None:
    one = text(name) + struct.pack("<IQIQ", 1, 4, F32, 0)
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + one + bytes(64))
    assert named(path).verdict == "unknown"


@pytest.mark.parametrize(
    ("kind", "per", "size", "word"),
    [(Q4_0, 32, 18, "Q4_0"), (Q4_K, 256, 144, "Q4_K"), (14, 256, 210, "Q6_K"),
     (8, 32, 34, "Q8_0"), (13, 256, 176, "Q5_K"), (11, 256, 110, "Q3_K")],
)  # fmt: skip
def test_klein_in_every_usual_type(
    tmp_path: Path, kind: int, per: int, size: int, word: str
) -> None:
    path = model_files.put_gguf(tmp_path / "k.gguf", klein(kind, per, size))
    identity = named(path)
    assert (identity.verdict, identity.family) == ("variant", "flux2-klein-4b")
    assert identity.quantisation == word and identity.complete
    assert (identity.structure, identity.belongs_in) == ("family", "diffusion_models")


def test_klein_that_lacks_a_tensor(tmp_path: Path) -> None:
    lost = "single_blocks.19.linear1.weight"
    path = model_files.put_gguf(tmp_path / "k.gguf", klein(Q4_K, 256, 144, lost))
    identity = named(path)
    assert (identity.verdict, identity.complete) == ("unknown", False)
    assert lost in identity.says


@pytest.mark.parametrize("missing", [1, 4096, 1 << 30])
def test_klein_that_broke_off(tmp_path: Path, missing: int) -> None:
    path = model_files.put_gguf(tmp_path / "k.gguf", klein(Q4_K, 256, 144))
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - missing)
    identity = named(path)
    assert (identity.damage, identity.family) == ("truncated", "flux2-klein-4b")


def test_a_type_newer_than_the_table_leaves_the_end_open(tmp_path: Path) -> None:
    path = model_files.put_gguf(tmp_path / "k.gguf", klein(NEWER, 256, 144))
    with path.open("r+b") as stream:
        stream.truncate(1 << 20)
    reading = read(path)
    assert reading.damage is None and reading.header is not None and reading.header.end == 0


@pytest.mark.parametrize("type", ["15", "\x1b[31m", "9" * 4000])
def test_a_file_type_in_words_is_not_shown(tmp_path: Path, type: str) -> None:
    pairs = [("general.file_type", 8, text(type))]
    path = model_files.put_gguf(tmp_path / "k.gguf", klein(Q4_K, 256, 144), pairs)
    assert named(path).quantisation in ("Q4_K", "Q4_K_M")
