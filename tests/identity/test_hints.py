"""What the Hub's client left beside a file: a hint of its digest, never a proof, never a trap."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import model_files
import pytest

from klein_doctor.identity.digest import DigestStore
from klein_doctor.identity.hints import promised_digest
from klein_doctor.identity.look import look
from klein_doctor.recipe_assets import load_assets

ASSETS = load_assets()
WANTED = next(row for row in ASSETS.of_family("flux2-vae") if row.wanted and not row.layout)
BASE = next(row for row in ASSETS.of_family("flux2-klein-4b")
            if (row.variant, row.quantisation, row.layout) == ("base", "bf16", ""))  # fmt: skip
needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")


def put_blob(cache: Path, table: str, digest: str) -> Path:
    """A file in a cache of the Hub's client; returns its name in the snapshot."""
    model_files.put_real(cache / "blobs" / digest, table)
    link = cache / "snapshots" / "c0ffee" / "split_files" / "m.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(os.path.relpath(cache / "blobs" / digest, link.parent))
    return link


def record_of(top: Path, path: Path) -> Path:
    record = top / ".cache/huggingface/download" / f"{path.relative_to(top)}.metadata"
    record.parent.mkdir(parents=True, exist_ok=True)
    return record


@needs_links
def test_a_blob_tells_base_from_distilled(tmp_path: Path) -> None:
    link = put_blob(tmp_path / "models--x", "flux2-klein-4b", BASE.sha256)
    identity = look(link, ASSETS, DigestStore(None)).identity
    assert (identity.variant, identity.known, identity.digest) == ("base", BASE.id, "unchecked")
    assert "the Hub's record beside it" in identity.says


@needs_links
def test_a_link_to_a_link_to_a_blob(tmp_path: Path) -> None:
    link = put_blob(tmp_path / "models--x", "flux2-klein-4b", BASE.sha256)
    other = tmp_path / "ComfyUI" / "m.safetensors"
    other.parent.mkdir()
    other.symlink_to(link)
    assert promised_digest(other, other.stat()) == BASE.sha256


@needs_links
@pytest.mark.parametrize("name", ["a" * 63, "A" * 64, "g" * 64, "a" * 64 + ".incomplete"])
def test_blobs_whose_name_is_no_digest(tmp_path: Path, name: str) -> None:
    link = put_blob(tmp_path / "models--x", "taef2-decoder", name)
    assert promised_digest(link, link.stat()) == ""


@needs_links
def test_a_blobs_promise_that_its_header_breaks(tmp_path: Path) -> None:
    link = put_blob(tmp_path / "models--x", "flux1-ae", WANTED.sha256)
    identity = look(link, ASSETS, DigestStore(None)).identity
    assert (identity.verdict, identity.family) == ("other", "flux1-vae")


@pytest.mark.parametrize("depth", range(7))
def test_a_record_some_folders_above(tmp_path: Path, depth: int) -> None:
    path = tmp_path.joinpath(*"abcdefg"[:depth]) / "m.safetensors"
    model_files.put_real(path, "flux2-vae")
    record_of(tmp_path, path).write_text(f"c0ffee\n{WANTED.sha256}\n99999999999.5\n")
    assert promised_digest(path, path.stat()) == (WANTED.sha256 if depth < 5 else "")
    identity = look(path, ASSETS, DigestStore(None)).identity
    assert identity.verdict == "wanted"


@pytest.mark.parametrize(("late", "expected"), [(-10, ""), (-0.5, "a" * 64), (10, "a" * 64)])
def test_a_record_older_than_its_file_is_stale(tmp_path: Path, late: float, expected: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"x")
    changed = 1_700_000_000
    os.utime(path, (changed, changed))
    record_of(tmp_path, path).write_text(f"c0ffee\n{'a' * 64}\n{changed + late}\n")
    assert promised_digest(path, path.stat()) == expected


@pytest.mark.parametrize(
    "raw",
    [b"", b"\n\n\n", b"c\n" + b"a" * 64, b"c\n" + b"a" * 64 + b"\nnan\n", b"\xff\xfe\n\xff\n9e9\n",
     b"c\n" + b"\x1b" * 64 + b"\n99999999999\n", b"c\n" + b"a" * 5000 + b"\n99999999999\n",
     b"c\n" + b"a" * 64 + b"\n-inf\n", b"\0" * 4000],
)  # fmt: skip
def test_records_nobody_vouches_for(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"x")
    record_of(tmp_path, path).write_bytes(raw)
    assert promised_digest(path, path.stat()) == ""


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "endless"])
@needs_links
def test_a_record_that_is_no_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = model_files.put_real(tmp_path / "m.safetensors", "flux2-vae")
    record = record_of(tmp_path, path)
    if kind == "pipe":
        os.mkfifo(record)
    elif kind == "folder":
        record.mkdir()
    elif kind == "loop":
        record.symlink_to(record)
    else:
        model_files.sparse(record, b"", 1 << 36)
    assert promised_digest(path, path.stat()) == ""
    assert look(path, ASSETS, DigestStore(None)).identity.verdict == "wanted"
