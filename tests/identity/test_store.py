"""The store of digests: whom it believes, and what a file with a remembered digest is."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import model_files
import pytest

from klein_doctor.identity.digest import DigestStore, hash_files
from klein_doctor.identity.look import look
from klein_doctor.recipe_assets import load_assets

ASSETS = load_assets()
EARLIER_NS = time.time_ns() - 10_000_000_000
WANTED = next(row for row in ASSETS.of_family("flux2-vae") if row.wanted and not row.layout)


def put_vae(folder: Path, when_ns: int = EARLIER_NS) -> Path:
    path = model_files.put_real(folder / "vae" / "v.safetensors", "flux2-vae")
    os.utime(path, ns=(when_ns, when_ns))
    return path


def remembered(path: Path, state: Path, digest: str = WANTED.sha256) -> DigestStore:
    """A store on disk that knows a file by this digest."""
    store = DigestStore(state)
    store.put(path.stat(), digest, time.time_ns())
    store.save()
    return DigestStore(state)


def silent(path: Path, count: int) -> None:
    """No progress is shown."""


def test_a_remembered_digest_makes_it_verified(tmp_path: Path) -> None:
    path = put_vae(tmp_path)
    looked = look(path, ASSETS, remembered(path, tmp_path / "state"))
    assert (looked.identity.digest, looked.sha256) == ("verified", WANTED.sha256)
    assert looked.identity.known == WANTED.id


def test_a_remembered_digest_nobody_published(tmp_path: Path) -> None:
    path = put_vae(tmp_path)
    with path.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\x01")
    os.utime(path, ns=(EARLIER_NS, EARLIER_NS))
    identity = look(path, ASSETS, remembered(path, tmp_path / "state", "0" * 64)).identity
    assert (identity.verdict, identity.digest) == ("unknown", "mismatch")


def test_zeros_at_the_end_hashed_or_not(tmp_path: Path) -> None:
    path = model_files.put_real(tmp_path / "v.safetensors", "klein-4b-diffusers-vae", end=b"")
    store = DigestStore(None)
    for digest in ("unchecked", "mismatch"):
        identity = look(path, ASSETS, store).identity
        assert (identity.verdict, identity.damage) == ("damaged", "zero-tail")
        assert identity.digest == digest and "4,194,304 bytes are zeros" in identity.says
        hash_files([path], store, silent)


@pytest.mark.parametrize("table", ["flux-2-klein-4b-fp8", "qwen3-4b", "flux2-vae"])
@pytest.mark.parametrize("came", [0.0, 0.5, 0.99])
def test_a_download_with_space_set_aside_that_broke_off(
    tmp_path: Path, table: str, came: float
) -> None:
    path = model_files.put_real(tmp_path / "m.safetensors", table, end=b"")
    with path.open("r+b") as stream:
        stream.seek(int(path.stat().st_size * came) - 7 if came else 1 << 20)
        stream.write(model_files.END)
    identity = look(path, ASSETS, DigestStore(None)).identity
    assert (identity.verdict, identity.damage) == ("damaged", "zero-tail")
    assert look(model_files.put_real(path, table), ASSETS, DigestStore(None)).identity.damage == ""


def test_what_a_header_tells_is_not_lost_by_a_digest_nobody_knows(tmp_path: Path) -> None:
    path = model_files.put_real(tmp_path / "m.safetensors", "flux-2-klein-base-4b-fp8")
    identity = look(path, ASSETS, DigestStore(None), "0" * 64).identity
    assert (identity.verdict, identity.digest) == ("unknown", "mismatch")
    assert identity.variant == "base" and "(base, fp8)" in identity.says


@pytest.mark.parametrize("change", ["byte", "longer", "touched", "replaced", "cut"])
def test_a_changed_file_is_unchecked_again(tmp_path: Path, change: str) -> None:
    path = put_vae(tmp_path)
    store = remembered(path, tmp_path / "state")
    if change == "byte":
        with path.open("r+b") as stream:
            stream.seek(-1, os.SEEK_END)
            stream.write(b"\x01")
    elif change in ("longer", "cut"):
        os.truncate(path, path.stat().st_size + (1 if change == "longer" else -1))
    elif change == "touched":
        os.utime(path)
    else:
        os.replace(put_vae(tmp_path / "new"), path)
    assert look(path, ASSETS, store).identity.digest == "unchecked"


def test_another_name_of_the_same_file_needs_no_hashing(tmp_path: Path) -> None:
    path = put_vae(tmp_path)
    store = remembered(path, tmp_path / "state")
    moved = path.rename(tmp_path / "other.safetensors")
    assert look(moved, ASSETS, store).identity.digest == "verified"


@pytest.mark.parametrize(("ago_ns", "kept"), [(10_000_000, False), (3_000_000_000, True)])
def test_a_file_that_may_change_within_the_tick(tmp_path: Path, ago_ns: int, kept: bool) -> None:
    path = put_vae(tmp_path, time.time_ns() - ago_ns | 1)
    store = DigestStore(tmp_path / "state")
    store.put(path.stat(), "a" * 64, path.stat().st_mtime_ns + ago_ns)
    assert store.get(path.stat()) == "a" * 64
    store.save()
    assert bool(DigestStore(tmp_path / "state").get(path.stat())) is kept


@pytest.mark.parametrize(("ago_s", "kept"), [(1, False), (2, False), (3, True)])
def test_whole_seconds_are_taken_for_a_coarse_clock(tmp_path: Path, ago_s: int, kept: bool) -> None:
    whole = 1_700_000_000_000_000_000
    path = put_vae(tmp_path, whole)
    store = DigestStore(tmp_path / "state")
    store.put(path.stat(), "a" * 64, whole + ago_s * 1_000_000_000)
    store.save()
    assert bool(DigestStore(tmp_path / "state").get(path.stat())) is kept


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "endless", "closed"])
@pytest.mark.skipif(sys.platform == "win32", reason="no pipes and links there")
def test_a_store_that_cannot_be_read_counts_as_empty(tmp_path: Path, kind: str) -> None:
    path = put_vae(tmp_path)
    state = tmp_path / "state"
    store = state / "digests.json"
    state.mkdir()
    if kind == "pipe":
        os.mkfifo(store)
    elif kind == "folder":
        store.mkdir()
    elif kind == "loop":
        store.symlink_to(store)
    elif kind == "endless":
        model_files.sparse(store, b"{", 1 << 36)
    else:
        if os.geteuid() == 0:
            pytest.skip("root reads all")
        store.touch(mode=0)
    assert look(path, ASSETS, DigestStore(state)).identity.digest == "unchecked"


@pytest.mark.parametrize("digest", ["", "a" * 63, "a" * 65, 3, None, ["a"]])
def test_entries_that_are_no_digests_are_passed_over(tmp_path: Path, digest: object) -> None:
    path = put_vae(tmp_path)
    remembered(path, tmp_path)
    data = json.loads((tmp_path / "digests.json").read_text())
    data["entries"] = dict.fromkeys(data["entries"], digest)
    (tmp_path / "digests.json").write_text(json.dumps(data))
    assert DigestStore(tmp_path).get(path.stat()) == ""


def test_the_store_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = put_vae(tmp_path)
    remembered(path, tmp_path / "state")
    modes = {place.stat().st_mode & 0o077 for place in (tmp_path / "state").rglob("*")}
    assert sys.platform == "win32" or modes == {0}


def test_a_store_does_not_grow_without_end(tmp_path: Path) -> None:
    path = put_vae(tmp_path)
    entries = {f"1:{number}:1:1": "b" * 64 for number in range(30_000)}
    text = json.dumps({"schema": "klein-doctor/digests/1", "entries": entries})
    (tmp_path / "digests.json").write_text(text)
    store = remembered(path, tmp_path)
    assert store.get(path.stat()) == WANTED.sha256
    assert len(json.loads((tmp_path / "digests.json").read_text())["entries"]) == 20_000


def test_a_file_replaced_while_it_is_hashed_keeps_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"x" * 900_000)
    os.utime(path, ns=(EARLIER_NS, EARLIER_NS))
    store = DigestStore(tmp_path / "state")

    def touch(place: Path, count: int) -> None:
        os.utime(place)

    found = hash_files([path], store, touch)
    assert isinstance(found[path], OSError)
    store.save()
    assert not (tmp_path / "state").exists()
