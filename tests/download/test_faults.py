"""Every fault a server or line can have: the right file, or a clear word and nothing else."""

from __future__ import annotations

import hashlib

import faulty as f
import pytest
from faulty import SIZE, World

HALF = SIZE // 2
# Of one read of the network, what may have to come twice.
READ = 1 << 18


GET = ("store", "GET")
HEAD = ("hub", "HEAD")
# name: the faults of the first GETs, and how many times the file's bytes may be sent in all.
HEALED: dict[str, tuple[list[f.Fault | None], float]] = {
    "none": ([], 1.0),
    "one byte flipped": ([f.flip], 2.0),
    "other content of the same size": ([f.swap], 2.0),
    "cut, then resumed with other content": ([f.cut(HALF), f.swap], 2.0),
    "cut, and the resumed part begins a byte early": ([f.cut(HALF), f.early], 1.5),
    "cut, and no resumed part begins where it should": ([f.cut(HALF), f.early, f.early], 2.5),
    "cut before the end": ([f.cut(HALF)], 1.0),
    "a shorter length that agrees with what came": ([f.short(1000)], 1.0),
    "cut every 300 kB": ([f.cut(300_000)] * 11, 1.0),
    "cut every 20 kB, for a while": ([f.cut(20_000)] * 40, 1.0),
    "reset once": ([f.cut(HALF, reset=True)], 1.0),
    "a stall": ([f.stall(HALF, 3.0)], 1.0),
    "a trickle": ([f.trickle(5_000)], 1.0),
    "503 once": ([f.status(503)], 1.0),
    "500 once": ([f.status(500)], 1.0),
    "403 once: the address has expired": ([f.status(403)], 1.0),
    "cut, then 403": ([f.cut(HALF), f.status(403)], 1.0),
    "cut, then 503": ([f.cut(HALF), f.status(503)], 1.0),
    "cut, then 416": ([f.cut(HALF), f.status(416)], 1.0),
    "429 with a short pause": ([f.status(429, Retry_After="1")], 1.0),
    "ranges ignored": ([f.cut(HALF), f.whole], 1.5),
    "ranges ignored, and cut again": ([f.cut(HALF), f.whole, f.cut(1000)], 1.5),
    "too long an answer": ([f.longer(10)], 2.0),
    "a web page": ([f.html], 1.0),
    "packed": ([f.packed], 2.0),
}


@pytest.mark.parametrize("name", HEALED)
def test_what_passes_is_outlived(world: World, name: str) -> None:
    faults, most = HEALED[name]
    world.hub.plan[GET] = list(faults)
    done = world.run()
    assert done.state == "fetched" and done.fault is None, world.shown.said
    assert world.right
    assert world.hub.sent <= most * SIZE + READ * (len(faults) + 1)


# name: by request the fault that stays, the word for it, and whether to try again.
REFUSED: dict[str, tuple[tuple[str, str], f.Fault, str, bool]] = {
    "a flipped byte each time": (GET, f.flip, "content", False),
    "other content each time": (GET, f.swap, "content", False),
    "too long each time": (GET, f.longer(10), "length", True),
    "a web page each time": (GET, f.html, "portal", True),
    "a web page to the first question": (HEAD, f.html, "portal", True),
    "packed each time": (GET, f.packed, "answer", True),
    "500 each time": (GET, f.status(500), "server", True),
    "403 each time": (GET, f.status(403), "refused", False),
    "404 each time": (GET, f.status(404), "missing", False),
    "429 with a pause of an hour": (GET, f.status(429, Retry_After="3600"), "quota", True),
    "reset at once each time": (GET, f.cut(0, reset=True), "cut", True),
    "silence each time": (GET, f.stall(0, 2.0), "stalled", True),
    "redirects in a circle": (GET, f.circle, "redirects", False),
    "another digest announced": (
        HEAD, f.announced(X_Linked_ETag=f'"{"0" * 64}"'), "other", False
    ),
    "another size announced": (HEAD, f.announced(X_Linked_Size=str(SIZE + 1)), "other", False),
    "the Hub is down": (HEAD, f.status(500), "server", True),
    "too many questions": (HEAD, f.status(429, Retry_After="7200"), "quota", True),
    "a login for the proxy": (HEAD, f.status(407), "proxy", True),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_stays_is_told_and_nothing_is_put_in_place(world: World, name: str) -> None:
    key, fault, cause, again = REFUSED[name]
    world.hub.always[key] = fault
    found = world.fault(tries=2)
    assert (found.cause, found.again) == (cause, again), found.says
    assert not world.destination.exists()
    assert len(found.says) > 20 and "Signature" not in found.says
    if cause == "other":
        assert world.hub.sent == 0


@pytest.mark.parametrize("name", REFUSED)
def test_the_old_file_stays_where_nothing_better_came(world: World, name: str) -> None:
    key, fault, _, _ = REFUSED[name]
    world.destination.parent.mkdir(parents=True)
    world.destination.write_bytes(b"old")
    world.hub.always[key] = fault
    world.fault(tries=2)
    assert world.destination.read_bytes() == b"old"


def test_a_trickle_that_stays_ends_with_what_came_kept(world: World) -> None:
    world.hub.always[GET] = f.trickle(5_000)
    done = world.run(tries=2)
    assert done.fault is not None and (done.fault.cause, done.fault.again) == ("stalled", True)
    assert 0 < done.kept < SIZE
    sent = world.hub.sent
    world.hub.always.clear()
    assert world.run().state == "fetched" and world.right
    assert world.hub.sent - sent <= SIZE - done.kept + READ


def test_what_an_earlier_try_left_is_not_fetched_again(world: World) -> None:
    world.hub.always[GET] = f.status(500)
    world.hub.plan[GET] = [f.cut(HALF)]
    first = world.run(tries=2)
    assert first.fault is not None and first.kept >= HALF - READ
    world.hub.always.clear()
    assert world.run().state == "fetched" and world.right
    assert world.hub.sent <= SIZE + READ


def test_a_part_that_rotted_since_is_fetched_anew(world: World) -> None:
    world.hub.always[GET] = f.status(500)
    world.hub.plan[GET] = [f.cut(HALF)]
    world.run(tries=2)
    part = world.destination.with_name(world.destination.name + ".part")
    part.write_bytes(b"\0" * part.stat().st_size)
    world.hub.always.clear()
    assert world.run().state == "fetched" and world.right


@pytest.mark.parametrize("note", ["", "{", '{"schema": "other"}', "[]", "\xff" * 5000])
def test_a_part_nobody_vouches_for_is_not_used(world: World, note: str) -> None:
    world.destination.parent.mkdir(parents=True)
    name = world.destination.name
    world.destination.with_name(f"{name}.part").write_bytes(b"x" * SIZE)
    world.destination.with_name(f"{name}.part.json").write_text(note, encoding="latin-1")
    assert world.run().state == "fetched"
    assert world.destination.read_bytes() == world.data
    # Another program uses such names, too.
    assert world.names == [name, f"{name}.part.foreign"]


def test_of_a_gated_repository_it_is_said_which(world: World) -> None:
    world.hub.repositories[f.REPOSITORY].gated = "gated"
    found = world.fault()
    assert found.cause == "gated" and f.REPOSITORY in found.says and not found.again
    assert world.hub.sent == 0


@pytest.mark.parametrize("gone", ["repository", "revision", "file"])
def test_a_mirror_without_it(world: World, gone: str) -> None:
    repository = world.hub.repositories[f.REPOSITORY]
    if gone == "repository":
        world.hub.repositories.clear()
    elif gone == "revision":
        repository.revision = "f" * 40
    else:
        repository.files.clear()
    found = world.fault(tries=2)
    assert found.cause == ("refused" if gone == "repository" else "missing")
    assert not found.again and f.REPOSITORY in found.says


def test_no_token_leaves_and_no_request_is_packed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "a" * 34)
    assert world.run().state == "fetched"
    asked = [request.headers for request in world.hub.requests if "/api/" not in request.path]
    assert asked and not any("authorization" in headers for headers in asked)
    assert all(headers["accept-encoding"] == "identity" for headers in asked)


def test_what_is_verified_is_the_published_digest_and_not_the_servers(world: World) -> None:
    """A server that is consistent in itself and has another file is refused all the same."""
    other = f.content(SIZE, seed=5)
    world.hub.repositories[f.REPOSITORY].files["parts/flux2-vae.safetensors"].data = other
    world.hub.always[HEAD] = f.announced(X_Linked_ETag='"no-digest"')
    found = world.fault()
    assert found.cause == "content"
    assert (
        hashlib.sha256(other).hexdigest() != world.asset.sha256 and not world.destination.exists()
    )
