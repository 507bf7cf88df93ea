"""What a ComfyUI server tells of one client's jobs over its websocket, as it happens.

A socket that is silent or lost is no error: the server's history tells how a job ended.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from klein_doctor.probes.loopback import address, as_json, listener

if TYPE_CHECKING:
    from websocket import WebSocket

_GREETING_S = 10.0
_LONGEST_MESSAGE = 32 << 20  # previews of pictures come as messages, too


class Event(NamedTuple):
    """A message: its type and what it says."""

    name: str
    data: dict[str, Any]


class Events:
    """The messages for one client.

    Args:
        client_id: one that no connection had before: the server forgets an id when the older of
            two connections of its name closes. pause: waits so many seconds, where there is
            nothing to listen to.
    """

    def __init__(self, port: int, client_id: str, pause: Callable[[float], object]) -> None:
        self._pause = pause
        self._bounded: _Bounded | None = None
        self._socket = self._connected(port, client_id)

    @property
    def lost(self) -> bool:
        return self._socket is None

    def next(self, wait_s: float) -> Event | None:
        """The next message; None where none came within the time, or it was a picture."""
        from websocket import WebSocketException, WebSocketTimeoutException

        if self._socket is None or self._bounded is None:
            self._pause(wait_s)
            return None
        try:
            self._socket.settimeout(wait_s)
            said = self._socket.recv()
        except WebSocketTimeoutException:
            return None
        except (WebSocketException, OSError, ValueError):
            self.close()
            return None
        self._bounded.left = _LONGEST_MESSAGE
        return _event(said) if isinstance(said, str) else None

    def close(self) -> None:
        from websocket import WebSocketException

        if self._socket is not None:
            with contextlib.suppress(WebSocketException, OSError, ValueError):
                self._socket.close(timeout=1)
        if self._bounded is not None:
            self._bounded.close()
        self._socket = self._bounded = None

    def _connected(self, port: int, client_id: str) -> WebSocket | None:
        from websocket import WebSocketException, create_connection

        connection = listener(port)
        if connection is None:
            return None
        self._bounded = _Bounded(connection)
        connection.settimeout(_GREETING_S)
        try:
            # On a connection of our own: no proxy and no redirect can lead elsewhere.
            return create_connection(
                f"ws://{address(connection)}/ws?clientId={client_id}",
                timeout=_GREETING_S,
                socket=cast(socket.socket, self._bounded),
                redirect_limit=0,
                suppress_origin=True,
            )
        except (WebSocketException, OSError, ValueError):
            connection.close()
            return None


class _Bounded:
    """A socket that gives so many bytes and no more before somebody allows further ones."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.left = _LONGEST_MESSAGE

    def recv(self, size: int) -> bytes:
        if self.left <= 0:
            raise ConnectionError("a message longer than any of ComfyUI's")
        data = self._connection.recv(size)
        self.left -= len(data)
        return data

    def close(self) -> None:
        self._connection.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def _event(text: str) -> Event | None:
    try:
        said = as_json(text.encode())
    except ValueError:
        return None
    if not isinstance(said, dict) or not isinstance(said.get("type"), str):
        return None
    data = said.get("data")
    return Event(said["type"], data if isinstance(data, dict) else {})
