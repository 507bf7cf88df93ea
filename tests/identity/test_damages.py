"""Every kind of damage, met by the command's own way: a path, and what is said of it."""

from __future__ import annotations

import json
import os
import pickle
import struct
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import model_files
import pytest
from command import stranger

from klein_doctor.identity.digest import DigestStore, hash_files
from klein_doctor.identity.headers import open_regular, read_header
from klein_doctor.identity.identity import Identity
from klein_doctor.identity.layouts import Expected
from klein_doctor.identity.look import Looked, look
from klein_doctor.recipe_assets import load_assets

ASSETS = load_assets()
EARLIER = 1_700_000_000
EMPTY_TENSOR = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'


def looked_at(path: Path, sha256: str = "") -> Looked:
    looked = look(path, ASSETS, DigestStore(None), sha256)
    assert looked.identity.says.isprintable()
    return looked


def named(path: Path) -> Identity:
    return looked_at(path).identity


def headed(text: str | bytes, body: bytes = b"") -> bytes:
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(raw)) + raw + body


def written(folder: Path, data: bytes, name: str = "flux2-vae.safetensors") -> Identity:
    path = folder / name
    path.write_bytes(data)
    return named(path)


# --- each kind -------------------------------------------------------------------------------

SMALL = {"a.weight": Expected("F32", (4, 4))}
START, LENGTH = model_files.header(SMALL)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"b" * 64 + b"\nsize 7\n"


def _bytes(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))


def _renamed(path: Path) -> None:
    model_files.put_gguf(path, {"x": (0, (4, 4), 64)})


KINDS: dict[str, Callable[[Path], None]] = {
    "truncated": _bytes(START + bytes(LENGTH - 1)),
    "trailing": _bytes(START + bytes(LENGTH + 1)),
    "lfs-pointer": _bytes(LFS),
    "html": _bytes(b"\r\n\t<HTML lang=en><title>Sign in</title>"),
    "json": _bytes(b'[{"error": "Invalid credentials in Authorization header"}]'),
    "text": _bytes(b"Entry not found"),
    "pickle": _zip,
    "archive": _bytes(b"Rar!\x1a\x07\x01\x00" + bytes(20)),
    "zeros": _bytes(bytes(9999)),
    "empty": _bytes(b""),
    "header": _bytes(headed("{,}".ljust(16))),
    "tensors": _bytes(headed('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,4]}}', bytes(4))),
    "renamed": _renamed,
    "other": _bytes(b"\x89PNG\r\n\x1a\n" + bytes(20)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_reached_from_a_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "flux2-vae.safetensors"
    KINDS[kind](path)
    identity = named(path)
    assert (identity.verdict, identity.damage) == ("damaged", kind)
    hashed = looked_at(path, "0" * 64).identity
    assert (hashed.verdict, hashed.damage) == ("damaged", kind)


@pytest.mark.parametrize("kind", ["zero-tail", "digest"])
def test_what_a_digest_speaks_against(tmp_path: Path, kind: str) -> None:
    end = b"" if kind == "zero-tail" else model_files.END
    path = tmp_path / "vae" / "v.safetensors"
    model_files.put_real(path, "klein-4b-diffusers-vae", end)
    if kind == "digest":
        record = tmp_path / "vae" / ".cache/huggingface/download/v.safetensors.metadata"
        record.parent.mkdir(parents=True)
        record.write_text(f"c0ffee\n{'a' * 64}\n99999999999\n")
    identity = looked_at(path, "0" * 64).identity
    assert (identity.verdict, identity.damage, identity.digest) == ("damaged", kind, "mismatch")
    assert identity.family == "flux2-vae"


def test_no_kind_is_left_out() -> None:
    assert {*KINDS, "zero-tail", "digest"} == set(ASSETS.damages)


# --- cut short -------------------------------------------------------------------------------

CUTS = [*range(3, 18), 100, 4095, 4096, 4097, 4104, 40_000]


@pytest.mark.parametrize("length", CUTS)
def test_a_transformer_cut_within_its_header(tmp_path: Path, length: int) -> None:
    start, _ = model_files.header(model_files.table("flux-2-klein-4b-nvfp4"))
    identity = written(tmp_path, start[:length])
    assert (identity.verdict, identity.damage) == ("damaged", "truncated")


@pytest.mark.parametrize("missing", [1, 7, 4096, 1 << 20, 1 << 27])
@pytest.mark.parametrize("table", ["flux2-vae", "flux2-klein-4b", "qwen3-4b"])
def test_a_file_cut_within_its_data_says_of_what(tmp_path: Path, table: str, missing: int) -> None:
    path = model_files.put_real(tmp_path / "m.safetensors", table)
    whole = path.stat().st_size
    os.truncate(path, whole - missing)
    identity = named(path)
    assert (identity.damage, identity.family) == ("truncated", table)
    assert f"{whole - missing:,} of {whole:,} bytes" in identity.says


def test_one_cut_right_after_its_header(tmp_path: Path) -> None:
    start, _ = model_files.header(model_files.table("flux2-vae"))
    assert "(0 %)" in written(tmp_path, start).says


@pytest.mark.parametrize("length", range(1, 9))
@pytest.mark.parametrize("data", [b"\x10" + bytes(7), b"\x07" * 8, b"\0\x0b" * 4])
def test_files_of_a_few_bytes(tmp_path: Path, length: int, data: bytes) -> None:
    identity = written(tmp_path, data[:length])
    zeros = not data[:length].strip(b"\0")
    assert identity.damage == ("zeros" if zeros else "truncated")


@pytest.mark.parametrize("length", range(4, 24))
def test_gguf_of_a_few_bytes(tmp_path: Path, length: int) -> None:
    data = b"GGUF" + struct.pack("<IQQ", 3, 1, 1)
    assert written(tmp_path, data[:length], "m.gguf").damage == "truncated"


@pytest.mark.parametrize("more", [1, 8, 1 << 33])
def test_what_was_written_behind_the_end(tmp_path: Path, more: int) -> None:
    path = model_files.put_real(tmp_path / "m.safetensors", "qwen3-4b")
    os.truncate(path, path.stat().st_size + more)
    identity = named(path)
    assert (identity.damage, identity.family) == ("trailing", "qwen3-4b")
    assert f"{more:,} bytes after" in identity.says


# --- headers that deceive ----------------------------------------------------------------------

TWICE = [
    f'{{"a":{EMPTY_TENSOR},"a":{EMPTY_TENSOR}}}',
    f'{{"a":3,"a":{EMPTY_TENSOR}}}',
    f'{{"a" :3,"a":{EMPTY_TENSOR}}}',
    f'{{"a":{EMPTY_TENSOR},"\\u0061":{EMPTY_TENSOR}}}',
    f'{{"__metadata__":{{"k":"1","k":"2"}},"a":{EMPTY_TENSOR}}}',
    f'{{"__metadata__":{{}},"__metadata__":{{}},"a":{EMPTY_TENSOR}}}',
    f'{{"a":{EMPTY_TENSOR},"b\\\\":3,"b\\\\":{EMPTY_TENSOR}}}',
    '{"a":{"dtype":"U8","dtyp\\u0065":"I8","shape":[0],"data_offsets":[0,0]}}',
    '{"a":{"dtype":"U8","shape":[9],"shape"\n:[0],"data_offsets":[0,0]}}',
]


@pytest.mark.parametrize("text", TWICE)
def test_nothing_may_be_named_twice(tmp_path: Path, text: str) -> None:
    identity = written(tmp_path, headed(text))
    assert (identity.damage, "twice" in identity.says) == ("header", True)


@pytest.mark.parametrize("indent", [None, 1, "\t"])
@pytest.mark.parametrize("text", ['a "b": c', " :", '":', "\\"])
def test_any_spelling_of_json_is_read(tmp_path: Path, indent: int | None, text: str) -> None:
    entries = {"__metadata__": {text: text}, text: json.loads(EMPTY_TENSOR)}
    path = tmp_path / "m.safetensors"
    path.write_bytes(headed(json.dumps(entries, indent=indent)))
    reading, _ = read_header(path)
    assert reading.damage is None and reading.header is not None
    assert (set(reading.header.entries), reading.header.metadata) == ({text}, {text: text})


@pytest.mark.parametrize(
    "dtype", ["\x1b[31mred", "\x1b]0;owned\x07", "a\nb", "\u202e", "", "9", "bf 16", "X" * 25]
)
def test_a_type_that_is_no_name_of_one(tmp_path: Path, dtype: str) -> None:
    entry = {"dtype": dtype, "shape": [512, 16, 3, 3], "data_offsets": [0, 8]}
    identity = written(tmp_path, headed(json.dumps({"decoder.conv_in.weight": entry}), bytes(8)))
    assert (identity.verdict, identity.damage) == ("damaged", "header")


def test_a_type_newer_than_the_table_is_no_damage(tmp_path: Path) -> None:
    entry = {"dtype": "F2_E1M0", "shape": [512, 16, 3, 3], "data_offsets": [0, 8]}
    identity = written(tmp_path, headed(json.dumps({"decoder.conv_in.weight": entry}), bytes(8)))
    assert (identity.family, identity.quantisation) == ("flux1-vae", "f2_e1m0")


def _entry(shape: str, begin: str = "0", end: str = "8") -> str:
    return f'{{"a":{{"dtype":"U8","shape":{shape},"data_offsets":[{begin},{end}]}}}}'


NO_HEADERS: dict[str, str | bytes] = {
    "Infinity": _entry("[Infinity]"),
    "minus Infinity": _entry("[8]", "-Infinity"),
    "NaN in an offset": _entry("[8]", "NaN"),
    "a float offset": _entry("[8]", "0.0", "8.0"),
    "a huge side": _entry(f"[{'9' * 30}]"),
    "endless digits": _entry(f"[{'9' * 5000}]"),
    "a huge offset": _entry("[8]", "0", "9" * 30),
    "2^63": _entry(f"[{1 << 63}]", "0", str(1 << 63)),
    "many sides": _entry(f"[{'1,' * 40}8]"),
    "sides beyond any product": _entry(f"[{','.join(['9' * 300] * 16)}]"),
    "three offsets": '{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,4,8]}}',
    "lists without end": '{"a":' * 900 + "[" * 90_000,
    "closed lists": '{"a":' + "[" * 90_000 + "]" * 90_000 + "}",
    "a long name": json.dumps({"n" * 1025: json.loads(EMPTY_TENSOR)}),
    "metadata in a list": f'{{"__metadata__":["pt"],"a":{EMPTY_TENSOR}}}',
    "metadata within metadata": f'{{"__metadata__":{{"a":{{}}}},"a":{EMPTY_TENSOR}}}',
    "a control sign": '{"a\n":1}',
    "a byte order mark": "{\ufeff}",
    "half a sign": b'{"\xc3":1}',
    "a surrogate in bytes": '{"\ud800":1}',
    "two texts": "{}{}",
    "Latin-1": '{"é":1}'.encode("latin-1"),
    "UTF-16": json.dumps({"a": 1}).encode("utf-16-le"),
}


@pytest.mark.parametrize("name", NO_HEADERS)
def test_headers_no_program_should_take(tmp_path: Path, name: str) -> None:
    identity = written(tmp_path, headed(NO_HEADERS[name], bytes(8)))
    assert identity.verdict == "damaged" and identity.damage in ("header", "tensors")


@pytest.mark.parametrize("length", [0, 1, (1 << 48) - 1, 1 << 48, 1 << 63, (1 << 64) - 1])
def test_declared_lengths_at_the_edges(tmp_path: Path, length: int) -> None:
    path = tmp_path / "m.safetensors"
    model_files.sparse(path, struct.pack("<Q", length) + b'{"a":1}', 1 << 33)
    assert (named(path).verdict, named(path).damage) == ("damaged", "other")


# --- endings ---------------------------------------------------------------------------------

PICKLED = [".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pt2", ".CKPT"]


@pytest.mark.parametrize("ending", PICKLED)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5, None])
def test_a_checkpoint_is_not_looked_into(tmp_path: Path, ending: str, protocol: int | None) -> None:
    path = tmp_path / f"model{ending}"
    if protocol is None:
        _zip(path)
    else:
        path.write_bytes(pickle.dumps({"a": 1}, protocol))
    identity = named(path)
    assert (identity.verdict, identity.damage, identity.structure) == ("unknown", "pickle", "none")
    assert "can run code" in identity.says


@pytest.mark.parametrize("ending", PICKLED)
def test_what_is_damaged_under_any_ending(tmp_path: Path, ending: str) -> None:
    for kind in ("lfs-pointer", "html", "zeros", "empty", "truncated", "trailing"):
        path = tmp_path / f"{kind}{ending}"
        KINDS[kind](path)
        assert named(path).verdict == "damaged"


@pytest.mark.parametrize("ending", [*PICKLED, ".gguf", ".GGUF"])
def test_safetensors_under_an_ending_of_others(tmp_path: Path, ending: str) -> None:
    identity = named(model_files.put_real(tmp_path / f"flux2-vae{ending}", "flux2-vae"))
    assert (identity.damage, identity.family) == ("renamed", "flux2-vae")


@pytest.mark.parametrize("name", ["m.sft", "m.SAFETENSORS", "m", "m.download", "ab" * 32])
def test_safetensors_under_an_ending_that_misleads_nobody(tmp_path: Path, name: str) -> None:
    assert named(model_files.put_real(tmp_path / name, "flux2-vae")).verdict == "wanted"


@pytest.mark.parametrize("ending", [".safetensors", ".sft", ".ckpt", ".bin"])
def test_gguf_under_an_ending_of_others(tmp_path: Path, ending: str) -> None:
    path = model_files.put_gguf(tmp_path / f"m{ending}", {"x": (0, (4, 4), 64)})
    assert named(path).damage == "renamed"


# --- what is no file, and what moves -----------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no list of open files here")
def test_a_folder_is_left_as_closed_as_it_was(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(8):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(tmp_path)
        assert looked_at(tmp_path).problem == "it is not a regular file"
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_link_to_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    link = tmp_path / "m.safetensors"
    link.symlink_to("pipe")
    assert looked_at(link).problem == "it is not a regular file"
    found = hash_files([link], DigestStore(None), lambda path, count: None)
    assert isinstance(found[link], OSError)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "gone.safetensors").symlink_to("nowhere")
    (tmp_path / "self.safetensors").symlink_to("self.safetensors")
    assert looked_at(tmp_path / "gone.safetensors").problem == "no such file or directory"
    assert "symbolic links" in looked_at(tmp_path / "self.safetensors").problem


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_closed_file_is_named(tmp_path: Path) -> None:
    path = model_files.put(tmp_path / "m.safetensors", SMALL)
    path.chmod(0)
    assert looked_at(path).problem == "permission denied"


@pytest.mark.skipif(not stranger(), reason="this system cannot run as a user without rights")
def test_a_stranger_is_told_what_is_closed(tmp_path: Path) -> None:
    from command import doctor

    path = model_files.put(tmp_path / "closed" / "m.safetensors", SMALL)
    path.parent.chmod(0)
    ran = doctor("identify", path, path.parent, "--format", "json", before=stranger())
    path.parent.chmod(0o700)
    says = [file["says"] for file in ran.document["files"]]
    assert (ran.code, says) == (1, ["not looked into: permission denied"] * 2)


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    metadata = {str(number): "x" * 200 for number in range(15_000)}  # long enough to be caught
    path = model_files.put(tmp_path / "m.safetensors", SMALL, metadata)
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as stream:
            while not stop.wait(0.0005):
                stream.write(b"x")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        problems = (looked_at(path).problem for _ in range(500))
        assert any("a download may be under way" in problem for problem in problems)
    finally:
        stop.set()
        writer.join()
    assert looked_at(path).identity.damage == "trailing"
