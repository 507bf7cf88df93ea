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
_LONGEST_AROUND = 1 << 20  # headers, interim answers and the marks between chunks
_LONGEST_NUMBER = 20


class Said(NamedTuple):
    """The answer to one question.

    outcome: ``ok``, ``other``, ``slow`` or ``redirects``. detail: what was wrong, "" where nothing
    was. data: the JSON value of an answer that is ok; numbers too long for any size are -1.
    """

    outcome: str
    detail: str
    data: object = None


class Reply(NamedTuple):
    """An answer as it came. whole: it is as long as it said it would be."""

    status: int
    body: bytes
    whole: bool = True


class TooLong(ValueError):
    """An answer of more bytes than any such answer has."""


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

    try:
        reply = exchange(connection, "GET", path, end)
    except TimeoutError:
        return _SLOW
    except TooLong:
        return Said("other", "its answer is longer than any ComfyUI's")
    except (OSError, ValueError, http.client.HTTPException):
        return Said("other", "it does not answer as a web server does")
    if 300 <= reply.status < 400:
        return Said("redirects", "it sends elsewhere, which is not followed")
    if reply.status != 200:
        return Said("other", f"it answers with status {reply.status}")
    try:
        return Said("ok", "", as_json(reply.body))
    except ValueError:
        return Said("other", "its answer is no JSON")


def exchange(
    connection: socket.socket,
    method: str,
    path: str,
    end: float,
    *,
    data: bytes | None = None,
    longest: int = _LONGEST_ANSWER,
) -> Reply:
    """One question with the JSON it sends along, on a connection that is closed after it.

    Raises:
        TimeoutError: not answered at the moment of time.monotonic() that end is.
        TooLong: a body of more bytes than longest.
        OSError, ValueError, http.client.HTTPException: no answer of a web server.
    """
    import http.client

    with connection:
        connection.settimeout(max(0.001, end - time.monotonic()))
        connection.sendall(_question(connection, method, path, data))
        peer = cast(socket.socket, _Peer(connection, end, longest + _LONGEST_AROUND))
        with http.client.HTTPResponse(peer, method=method) as response:
            response.begin()
            if 300 <= response.status < 400:
                return Reply(response.status, b"")
            body = response.read(longest + 1)
            if len(body) > longest:
                raise TooLong
            return Reply(response.status, body, not response.length)


def as_json(body: bytes) -> Any:
    """The value a body holds; numbers too long for any size are -1.

    Raises:
        ValueError: it is no JSON, or nested without end.
    """
    try:
        return json.loads(body, parse_int=_whole)
    except RecursionError:
        raise ValueError("nested too deep") from None


class _Peer:
    """What http.client reads from: the one thing it asks a socket for."""

    def __init__(self, connection: socket.socket, end: float, most: int) -> None:
        self._stream = _Stream(connection, end, most)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._stream)


class _Stream(io.RawIOBase):
    """A connection's bytes until a moment and an amount: a socket's own limit is for each read."""

    def __init__(self, connection: socket.socket, end: float, most: int) -> None:
        self._connection = connection
        self._end = end
        self._left = most

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


def address(connection: socket.socket) -> str:
    """Who is at the other end, as ``127.0.0.1:8188``."""
    host, port = connection.getpeername()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _question(connection: socket.socket, method: str, path: str, data: bytes | None) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1", f"Host: {address(connection)}", "Accept: application/json",
        "Accept-Encoding: identity", "Connection: close",
    ]  # fmt: skip
    if data is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return "\r\n".join((*lines, "", "")).encode("ascii") + (data or b"")


def _whole(text: str) -> int:
    """Long numbers cost time that grows with the square of their length on older Pythons."""
    return int(text) if len(text) <= _LONGEST_NUMBER else -1
