"""One HTTP question to a server on this machine: no proxy, no redirect, a bounded answer.

Everything ends at a deadline, whatever the other side sends or holds back.
"""

from __future__ import annotations

import io
import json
import socket
import time
from typing import Any, NamedTuple, cast

# Windows tries a refused connection again for two seconds; that is not waited for.
_CONNECT_S = 0.25
_LONGEST_ANSWER = 1 << 20
_LONGEST_STREAM = 2 << 20  # with headers, interim answers and the marks between chunks
_LONGEST_NUMBER = 20


class Said(NamedTuple):
    """The answer to one question.

    outcome: ``ok``, ``other``, ``slow`` or ``redirects``. detail: what was wrong, "" where nothing
    was. data: the JSON value of an answer that is ok; numbers too long for any size are -1.
    """

    outcome: str
    detail: str
    data: object = None


_SLOW = Said("slow", "no whole answer in time")


def listener(port: int) -> socket.socket | None:
    """A connection to whoever listens on a port of this machine; None where nobody does."""
    try:
        return _connected("127.0.0.1", port)
    except ConnectionRefusedError:
        try:
            return _connected("::1", port)
        except OSError:
            return None
    except (OSError, OverflowError):
        return None


def ask(connection: socket.socket, path: str, end: float) -> Said:
    """GET a path on a connection, which is closed after it.

    Args:
        end: the moment of time.monotonic() at which the answer must be whole.
    """
    import http.client

    with connection:
        try:
            connection.settimeout(max(0.001, end - time.monotonic()))
            connection.sendall(_question(connection, path))
            peer = cast(socket.socket, _Peer(connection, end))
            with http.client.HTTPResponse(peer, method="GET") as response:
                response.begin()
                if 300 <= response.status < 400:
                    return Said("redirects", "it sends elsewhere, which is not followed")
                if response.status != 200:
                    return Said("other", f"it answers with status {response.status}")
                body = response.read(_LONGEST_ANSWER + 1)
        except TimeoutError:
            return _SLOW
        except (OSError, ValueError, http.client.HTTPException):
            return Said("other", "it does not answer as a web server does")
    if len(body) > _LONGEST_ANSWER:
        return Said("other", "its answer is longer than any ComfyUI's")
    try:
        return Said("ok", "", json.loads(body, parse_int=_whole))
    except (ValueError, RecursionError):
        return Said("other", "its answer is no JSON")


class _Peer:
    """What http.client reads from: the one thing it asks a socket for."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self._stream = _Stream(connection, end)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._stream)


class _Stream(io.RawIOBase):
    """A connection's bytes until a moment and an amount: a socket's own limit is for each read."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self._connection = connection
        self._end = end
        self._left = _LONGEST_STREAM

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self._end - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._connection.settimeout(left_s)
        count = self._connection.recv_into(buffer)
        self._left -= count
        if self._left < 0:
            raise ValueError("more than any ComfyUI sends")
        return count


def _connected(host: str, port: int) -> socket.socket | None:
    connection = socket.create_connection((host, port), timeout=_CONNECT_S)
    # A port that nobody listens on can be picked for the near end, and then answers itself.
    if connection.getsockname() == connection.getpeername():
        connection.close()
        return None
    return connection


def _question(connection: socket.socket, path: str) -> bytes:
    host, port = connection.getpeername()[:2]
    host = f"[{host}]" if ":" in host else host
    lines = (f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Accept: application/json",
             "Accept-Encoding: identity", "Connection: close", "", "")  # fmt: skip
    return "\r\n".join(lines).encode("ascii")


def _whole(text: str) -> int:
    """Long numbers cost time that grows with the square of their length on older Pythons."""
    return int(text) if len(text) <= _LONGEST_NUMBER else -1
