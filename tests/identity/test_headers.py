"""What is no sound model file is named for what it is, from its first bytes and its header."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import model_files
import pytest

from klein_doctor.identity.digest import DigestStore
from klein_doctor.identity.headers import LONGEST_HEADER, read_header
from klein_doctor.identity.layouts import Expected
from klein_doctor.identity.look import Looked, look
from klein_doctor.recipe_assets import load_assets

ASSETS = load_assets()
SMALL = {"a.weight": Expected("F32", (4, 4)), "b.weight": Expected("BF16", (8,))}


def written(folder: Path, data: bytes, name: str = "model.safetensors") -> Looked:
    path = folder / name
    path.write_bytes(data)
    return look(path, ASSETS, DigestStore(None))


def headed(entries: object, body: bytes = b"") -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + body


def tensor(begin: int, end: int, dtype: str = "U8", shape: object = None) -> dict[str, object]:
    sides = [end - begin] if shape is None else shape
    return {"dtype": dtype, "shape": sides, "data_offsets": [begin, end]}


LFS = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 4070624520\n"
)
INSTEAD = {
    "lfs-pointer": LFS,
    "html": b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "json": b'{"error":"Repository not found"}',
    "text": b"Access to this repository is restricted.\n" * 3,
    "archive": b"7z\xbc\xaf\x27\x1c" + bytes(range(60)),
    "zeros": bytes(4096),
    "empty": b"",
    "truncated": b"\x10\0\0",
    "other": os.urandom(0) + b"\x93\x01\x02" + bytes(range(200)),
}


@pytest.mark.parametrize(("kind", "data"), INSTEAD.items())
def test_what_stands_in_a_models_place(tmp_path: Path, kind: str, data: bytes) -> None:
    identity = written(tmp_path, data).identity
    assert (identity.verdict, identity.damage) == ("damaged", kind)
    assert identity.says.startswith("not a model file: ")


def test_a_pointer_tells_the_size_it_stands_for(tmp_path: Path) -> None:
    assert "4,070,624,520 bytes" in written(tmp_path, LFS).identity.says


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(("name", "verdict"), [("m.safetensors", "damaged"), ("m.pt", "unknown")])
def test_pickles_are_known_without_being_loaded(
    tmp_path: Path, protocol: int, name: str, verdict: str
) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    identity = written(tmp_path, pickle.dumps(Trap(), protocol), name).identity
    assert (identity.verdict, identity.damage) == (verdict, "pickle")
    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_in_a_zip_under_a_models_name(tmp_path: Path) -> None:
    path = tmp_path / "flux2-vae.safetensors"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
    identity = look(path, ASSETS, DigestStore(None)).identity
    assert (identity.verdict, identity.damage) == ("damaged", "pickle")


def test_a_text_with_an_ending_that_texts_have_too_is_no_damage(tmp_path: Path) -> None:
    assert written(tmp_path, b"import site\n", "distutils.pth").identity.verdict == "unknown"


BROKEN = {
    "overlap": {"a": tensor(0, 8), "b": tensor(4, 12)},
    "gap": {"a": tensor(0, 8), "b": tensor(9, 12)},
    "late": {"a": tensor(4, 8)},
    "backwards": {"a": {"dtype": "U8", "shape": [0], "data_offsets": [8, 0]}},
    "negative": {"a": {"dtype": "U8", "shape": [8], "data_offsets": [-8, 0]}},
    "shape": {"a": tensor(0, 8, "F32")},
    "far": {"a": tensor(0, 1 << 64, "U8", [1 << 64])},
}
HEADERS = {
    "no tensor": {"a": 3},
    "no shape": {"a": {"dtype": "U8", "data_offsets": [0, 0]}},
    "text for a shape": {"a": tensor(0, 8, "U8", "8")},
    "negative side": {"a": tensor(0, 8, "U8", [-8])},
    "float side": {"a": tensor(0, 8, "U8", [8.0])},
    "bool side": {"a": tensor(0, 1, "U8", [True])},
    "dtype": {"a": {"dtype": ["U8"], "shape": [8], "data_offsets": [0, 8]}},
    "metadata": {"__metadata__": {"a": 1}, "a": tensor(0, 8)},
    "list": b'{"a"]}' + b" " * 20,
    "list at the top": b"{}".ljust(20) + b"x",
    "not a number": b'{"a": NaN}',
    "not utf-8": b'{"\xff\xfe": 1}',
    "twice": b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":'
    b'{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
    "key twice": b'{"a":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}',
    "deep": b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "long number": b'{"a":' + b"9" * 9000 + b"}",
    "utf-16": json.dumps({"a": tensor(0, 8)}).encode("utf-16-le"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_tables_that_break_the_formats_promises(tmp_path: Path, name: str) -> None:
    identity = written(tmp_path, headed(BROKEN[name], bytes(64))).identity
    assert (identity.verdict, identity.damage) == ("damaged", "tensors")


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_are_none(tmp_path: Path, name: str) -> None:
    identity = written(tmp_path, headed(HEADERS[name], bytes(64))).identity
    assert identity.verdict == "damaged"
    assert identity.damage in ("header", "other")


def test_a_header_that_breaks_off_into_zeros(tmp_path: Path) -> None:
    start, _ = model_files.header(model_files.table("flux2-vae"))
    data = start[: len(start) // 2] + bytes(len(start))
    assert written(tmp_path, data).identity.damage == "zeros"


@pytest.mark.parametrize("share", [0.0004, 0.3, 0.99, 0.9999999])
def test_a_download_that_broke_off_is_still_named(tmp_path: Path, share: float) -> None:
    path = model_files.put_real(tmp_path / "m.safetensors", "flux-2-klein-4b-fp8")
    os.truncate(path, int(path.stat().st_size * share))
    identity = look(path, ASSETS, DigestStore(None)).identity
    assert (identity.verdict, identity.damage) == ("damaged", "truncated")
    assert identity.family == "flux2-klein-4b"
    assert "of 4,070,624,520 bytes" in identity.says


@pytest.mark.parametrize("length", [9, 100, 4000, 36_000])
def test_one_that_broke_off_within_its_header(tmp_path: Path, length: int) -> None:
    start, _ = model_files.header(model_files.table("flux-2-klein-4b-fp8"))
    assert written(tmp_path, start[:length]).identity.damage == "truncated"


def test_what_follows_the_last_tensor(tmp_path: Path) -> None:
    start, length = model_files.header(SMALL)
    identity = written(tmp_path, start + bytes(length + 7)).identity
    assert identity.damage == "trailing" and "7 bytes" in identity.says


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, 100_000_001])
def test_lengths_beyond_the_format(tmp_path: Path, length: int) -> None:
    data = struct.pack("<Q", length) + b'{"a":1}'
    assert written(tmp_path, data).identity.verdict == "damaged"


def test_a_header_beyond_any_known_is_not_looked_into(tmp_path: Path) -> None:
    size = LONGEST_HEADER + 8
    path = model_files.sparse(tmp_path / "m.safetensors", struct.pack("<Q", size) + b"{", size * 2)
    identity = look(path, ASSETS, DigestStore(None)).identity
    assert identity.verdict == "unknown" and "not looked into" in identity.says


def test_more_objects_than_any_model_has(tmp_path: Path) -> None:
    text = b"{" + b",".join(b'"%d":{}' % number for number in range(70_000)) + b"}"
    assert written(tmp_path, headed(text)).identity.verdict == "unknown"


def test_duplicates_are_not_seen_where_there_are_none(tmp_path: Path) -> None:
    names = ['"dtype"', '"shape"', '"data_offsets"', '"__metadata__"']
    entries = {name: tensor(8 * n, 8 * n + 8) for n, name in enumerate(names)}
    data = headed({"__metadata__": {"k": 'a "dtype" of "shape"'}, **entries}, bytes(32))
    assert written(tmp_path, data).identity.verdict == "unknown"


def test_an_ending_that_misleads_programs(tmp_path: Path) -> None:
    gguf = model_files.put_gguf(tmp_path / "a.safetensors", {"x": (0, (4, 4), 64)})
    identity = look(gguf, ASSETS, DigestStore(None)).identity
    assert (identity.verdict, identity.damage) == ("damaged", "renamed")
    other = model_files.put_real(tmp_path / "flux2-vae.ckpt", "flux2-vae")
    identity = look(other, ASSETS, DigestStore(None)).identity
    assert (identity.verdict, identity.family) == ("damaged", "flux2-vae")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    looked = look(tmp_path / "pipe.safetensors", ASSETS, DigestStore(None))
    assert "not a regular file" in looked.problem


def test_folders_links_to_nothing_and_names_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "link.safetensors").symlink_to("gone")
    for path in (
        tmp_path,
        tmp_path / "link.safetensors",
        tmp_path / "nul\0",
        tmp_path / ("x" * 999),
    ):
        looked = look(path, ASSETS, DigestStore(None))
        assert looked.problem and looked.identity.verdict == "unknown"


def test_every_damage_has_its_row_and_words() -> None:
    reached = {
        *INSTEAD,
        "pickle",
        "tensors",
        "header",
        "trailing",
        "renamed",
        "digest",
        "zero-tail",
    }
    assert reached == set(ASSETS.damages)


# The words of safetensors for each file, old and new: run against versions 0.5.3 and 0.8.0.
@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("truncated", "MetadataIncompleteBuffer", "incomplete metadata, file not fully covered"),
        ("trailing", "MetadataIncompleteBuffer", "incomplete metadata, file not fully covered"),
        ("lfs-pointer", "HeaderTooLarge", "header too large"),
        ("html", "HeaderTooLarge", "header too large"),
        ("json", "HeaderTooLarge", "header too large"),
        ("text", "HeaderTooLarge", "header too large"),
        ("renamed", "HeaderTooLarge", "header too large"),
        ("pickle", "InvalidHeaderLength", "invalid header length"),
        ("zeros", "InvalidHeaderDeserialization", "invalid JSON in header: EOF"),
        ("empty", "HeaderTooSmall", "header too small"),
    ],
)
def test_the_messages_users_see_are_in_the_rows(kind: str, old: str, new: str) -> None:
    assert ASSETS.damages[kind].messages == (old, new)


def test_reading_takes_the_header_alone(tmp_path: Path) -> None:
    path = model_files.put_real(tmp_path / "m.safetensors", "flux2-dev")
    reading, status = read_header(path)
    assert status.st_size == 64_446_596_128
    assert reading.header is not None and len(reading.header.entries) == 299
