"""From a path to its verdict: any file gets one, and a sound file is known for what it is."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import model_files
import pytest
from disk_strategies import ENDINGS, FILES, NOWHERE, SIZES, hold, respelt, tables
from header_strategies import ASSETS
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.identity.headers import read_header
from klein_doctor.identity.layouts import Expected
from klein_doctor.identity.look import look

EXAMPLES = 2_000
DIGESTS = st.sampled_from(["", "0" * 64, *ASSETS.digests])


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


@settings(max_examples=EXAMPLES, deadline=None)
@given(FILES, SIZES, st.sampled_from(ENDINGS), DIGESTS)
def test_any_file_gets_a_verdict(
    folder: Path, data: bytes, more: int, ending: str, digest: str
) -> None:
    hold(folder / f"m{ending}", data, more, digest)


@settings(max_examples=100, deadline=None)
@given(tables(), st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3))
def test_a_sound_file_is_read_as_it_was_written(
    folder: Path, table: dict[str, Expected], metadata: dict[str, str]
) -> None:
    path = model_files.put(folder / "sound.safetensors", table, metadata)
    reading, status = read_header(path)
    assert reading.damage is None and reading.header is not None
    assert {
        name: Expected(entry["dtype"], tuple(entry["shape"]))
        for name, entry in reading.header.entries.items()
    } == table
    assert reading.header.metadata == metadata and reading.header.end == status.st_size


@settings(max_examples=100, deadline=None)
@given(respelt())
def test_a_real_table_in_any_spelling_is_known(folder: Path, spelt: tuple[str, bytes]) -> None:
    name, start = spelt
    path = folder / "respelt.safetensors"
    _, length = model_files.header(model_files.table(name))
    model_files.sparse(path, start, len(start) + length, model_files.END)
    identity = look(path, ASSETS, NOWHERE).identity
    plain = model_files.put_real(folder / "plain.safetensors", name)
    expected = look(plain, ASSETS, NOWHERE).identity
    assert identity.damage == "" and identity.family == expected.family
    assert (identity.structure, identity.complete) == (expected.structure, expected.complete)


@settings(max_examples=70, deadline=None)
@given(st.sampled_from(["flux2-vae", "qwen3-4b", "flux-2-klein-4b-fp8"]), st.data())
def test_a_real_file_cut_anywhere_is_cut_short(
    folder: Path, name: str, data: st.DataObject
) -> None:
    path = model_files.put_real(folder / "cut.safetensors", name)
    length = data.draw(st.integers(9, path.stat().st_size - 1))
    os.truncate(path, length)
    identity = look(path, ASSETS, NOWHERE).identity
    assert (identity.verdict, identity.damage) == ("damaged", "truncated")
