"""Digests: computed once, remembered for what cannot change without showing."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from klein_doctor.identity.digest import DigestStore, hash_files, zero_tail

EARLIER_NS = time.time_ns() - 10_000_000_000


def file(folder: Path, data: bytes = b"weights" * 999, name: str = "m.safetensors") -> Path:
    path = folder / name
    path.write_bytes(data)
    os.utime(path, ns=(EARLIER_NS, EARLIER_NS))
    return path


class Ticks:
    """Counts the bytes that were read."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, path: Path, count: int) -> None:
        self.bytes += count


def test_several_files_and_their_bytes(tmp_path: Path) -> None:
    paths = [file(tmp_path, bytes([n]) * 300_000, f"{n}.bin") for n in range(5)]
    ticks = Ticks()
    found = hash_files(paths, DigestStore(None), ticks)
    assert found == {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    assert ticks.bytes == 1_500_000


def test_a_remembered_digest_costs_no_reading(tmp_path: Path) -> None:
    path, state = file(tmp_path), tmp_path / "state"
    store = DigestStore(state)
    first = hash_files([path], store, Ticks())
    store.save()
    ticks = Ticks()
    assert hash_files([path], DigestStore(state), ticks) == first
    assert ticks.bytes == 0
    assert hash_files([path], DigestStore(state), ticks, anew=True) == first
    assert ticks.bytes == path.stat().st_size


@pytest.mark.parametrize("change", ["content", "time", "other file"])
def test_what_changed_is_hashed_again(tmp_path: Path, change: str) -> None:
    path, store = file(tmp_path), DigestStore(tmp_path / "state")
    hash_files([path], store, Ticks())
    if change == "content":
        path.write_bytes(b"longer" * 2000)
    elif change == "time":
        os.utime(path, ns=(EARLIER_NS + 1, EARLIER_NS + 1))
    else:
        other = file(tmp_path, path.read_bytes(), "copy")
        os.replace(other, path)
    assert store.get(path.stat()) == ""


def test_a_file_changed_a_moment_ago_is_not_remembered(tmp_path: Path) -> None:
    path, state = tmp_path / "m", tmp_path / "state"
    path.write_bytes(b"x")
    now = time.time_ns() + 1_000_000_000
    os.utime(path, ns=(now, now))
    store = DigestStore(state)
    hash_files([path], store, Ticks())
    assert store.get(path.stat())  # for this run
    store.save()
    assert DigestStore(state).get(path.stat()) == ""


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"schema": 1}', '{"schema": "klein-doctor/digests/1"}',
     '{"schema": "klein-doctor/digests/1", "entries": [1]}',
     '{"schema": "klein-doctor/digests/1", "entries": {"k": 3}}', "[" * 100_000],
)  # fmt: skip
def test_a_damaged_store_counts_as_empty_and_is_mended(tmp_path: Path, text: str) -> None:
    (tmp_path / "digests.json").write_text(text)
    path = file(tmp_path)
    store = DigestStore(tmp_path)
    hash_files([path], store, Ticks())
    store.save()
    assert DigestStore(tmp_path).get(path.stat())


def test_two_doctors_keep_each_others_digests(tmp_path: Path) -> None:
    one, two = file(tmp_path, b"1", "1"), file(tmp_path, b"2", "2")
    stores = DigestStore(tmp_path / "s"), DigestStore(tmp_path / "s")
    for path, store in zip((one, two), stores, strict=True):
        hash_files([path], store, Ticks())
        store.save()
    store = DigestStore(tmp_path / "s")
    assert store.get(one.stat()) and store.get(two.stat())
    assert os.listdir(tmp_path / "s") == ["digests.json"]
    data = json.loads((tmp_path / "s" / "digests.json").read_text())
    assert str(tmp_path) not in json.dumps(data)  # no path is kept


def test_one_that_cannot_be_read_does_not_hold_up_the_others(tmp_path: Path) -> None:
    path = file(tmp_path)
    found = hash_files([tmp_path / "gone", tmp_path, path], DigestStore(None), Ticks())
    assert isinstance(found[tmp_path / "gone"], FileNotFoundError)
    assert isinstance(found[tmp_path], OSError)
    assert isinstance(found[path], str)


def test_a_file_that_grows_while_it_is_read_has_no_digest(tmp_path: Path) -> None:
    path = file(tmp_path, b"x" * 1_000_000)

    def grow(_: Path, count: int) -> None:
        with path.open("ab") as stream:
            stream.write(b"more")

    def once(place: Path, count: int) -> None:
        if path.stat().st_size < 1_000_100:
            grow(place, count)

    store = DigestStore(None)
    found = hash_files([path], store, once)
    assert isinstance(found[path], OSError) and "changed while" in str(found[path])
    assert store.get(path.stat()) == ""


def test_zeros_at_the_end_are_counted_from_there(tmp_path: Path) -> None:
    assert zero_tail(file(tmp_path, b"x" * 70_000 + bytes(200_000))) == 196_608
    assert zero_tail(file(tmp_path, bytes(10) + b"x")) == 0
    assert zero_tail(tmp_path / "gone") == 0
    huge = tmp_path / "huge"
    with huge.open("wb") as stream:
        stream.truncate(8 << 30)
    assert zero_tail(huge) == 4 << 20
