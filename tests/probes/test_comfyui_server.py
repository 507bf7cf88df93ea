"""Servers on loopback: real ones that answer well, badly, slowly or not at all."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.privacy import Redactor
from klein_doctor.probes.comfyui_server import _device, _folders, ask_servers
from klein_doctor.probes.found import Answer

REDACTOR = Redactor((), (), ())
STATS = {
    "system": {"os": "linux", "comfyui_version": "0.33.0", "python_version": "3.12.3 (main)",
               "pytorch_version": "2.14.1+cu130", "argv": ["main.py", "--listen"]},
    "devices": [{"name": "cuda:0 RTX 5070", "vram_total": 12_000_000_000, "vram_free": 9}],
}  # fmt: skip


def answering(body: bytes, head: bytes = b"HTTP/1.1 200 OK") -> Callable[[socket.socket], None]:
    def serve(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    return serve


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server whose every connection is served by a function."""
    ended = threading.Event()

    def accept(server: socket.socket) -> None:
        while not ended.is_set():
            try:
                peer, _ = server.accept()
            except OSError:
                continue
            with peer:
                try:
                    serve(peer)
                except OSError:
                    pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        thread = threading.Thread(target=accept, args=(server,))
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            thread.join()


def ask(serve: Callable[[socket.socket], None], limit_s: float = 1.0) -> Answer:
    with listening(serve) as port:
        started = time.monotonic()
        (answer,) = ask_servers(REDACTOR, (port,), limit_s)
        assert time.monotonic() - started < limit_s + 5  # it would hang, not be late
    return answer


def test_a_comfyui_tells_what_it_is() -> None:
    answer = ask(answering(json.dumps(STATS).encode()))
    server = answer.server
    assert (server.outcome, server.version, server.python) == ("ok", "0.33.0", "3.12.3")
    assert (server.torch, server.listen) == ("2.14.1+cu130", "any")
    assert server.devices == (("cuda:0 RTX 5070", 12_000_000_000, 9),)
    assert answer.argv == ("main.py", "--listen")


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert ask_servers(REDACTOR, (port,)) == ()


@pytest.mark.parametrize(
    ("body", "head", "outcome"),
    [
        (b"<html>hello</html>", b"HTTP/1.1 200 OK", "other"),
        (b"{}", b"HTTP/1.1 200 OK", "other"),
        (b'{"system": []}', b"HTTP/1.1 200 OK", "other"),
        (b"[" * 100_000, b"HTTP/1.1 200 OK", "other"),
        (b"x" * (2 << 20), b"HTTP/1.1 200 OK", "other"),
        (b"", b"HTTP/1.1 404 Not Found", "other"),
        (b"", b"HTTP/1.1 301 Moved\r\nLocation: http://192.0.2.1/", "redirects"),
        (b"\xff\xfe\x00", b"SSH-2.0-OpenSSH_9.6", "other"),
    ],
)
def test_others_are_named(body: bytes, head: bytes, outcome: str) -> None:
    assert ask(answering(body, head)).server.outcome == outcome


def drip(peer: socket.socket) -> None:
    peer.recv(4096)
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(100):
        peer.sendall(b" ")
        time.sleep(0.05)


def silence(peer: socket.socket) -> None:
    peer.settimeout(3)
    while peer.recv(4096):
        pass


def endless(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(500):
        peer.sendall(b"X-More: yes\r\n" * 100)


@pytest.mark.parametrize("serve", [drip, silence])
def test_the_slow_are_given_up(serve: Callable[[socket.socket], None]) -> None:
    assert ask(serve, 0.5).server.outcome == "slow"


def test_endless_headers_end() -> None:
    assert ask(endless, 0.5).server.outcome in ("other", "slow")


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(ANY)
def test_any_shape_of_an_answer_is_read(value: object) -> None:
    name, total, free = _device(value)
    assert isinstance(name, str) and 0 <= total < 2**62 and 0 <= free < 2**62
    for folders in (_folders(value) or {}).values():
        assert all("\0" not in folder for folder in folders)
