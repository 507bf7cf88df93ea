"""ComfyUI's API over loopback: a job sent, asked after, withdrawn; its picture and log fetched.

Endpoints of its server.py: /prompt, /queue, /interrupt, /history, /view, /system_stats; of its
internal routes /internal/logs/raw. Whatever a server answers is taken for a stranger's words.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from klein_doctor.probes.loopback import Reply, as_json, exchange, listener

_ANSWER_S = 15.0  # one that loads a model may keep everybody waiting
_LONGEST_HISTORY = 8 << 20
_LONGEST_LOG = 16 << 20
_LONGEST_PICTURE = 128 << 20
_MOST = 1000  # of anything in a list
_LONGEST_TEXT = 64 << 10

_ENDS = {
    "execution_success": "success",
    "execution_error": "error",
    "execution_interrupted": "interrupted",
}


class NoAnswer(Exception):
    """No answer as ComfyUI gives one. gone: nobody listens on the port any more."""

    def __init__(self, why: str, gone: bool = False) -> None:
        super().__init__(why)
        self.gone = gone


class Refusal(NamedTuple):
    """Why a job was not taken. kind: ComfyUI's word for it. node: the class of the node, or ""."""

    kind: str
    says: str
    node: str
    text: str


class Shown(NamedTuple):
    """A picture as ComfyUI names it."""

    filename: str
    subfolder: str
    type: str


class Ended(NamedTuple):
    """How a job ended.

    how: ``success``, ``error`` or ``interrupted``. node: the class of the node that failed.
    exception, message, trace: of the error. cached: numbers of the nodes that did nothing.
    """

    how: str
    node: str
    exception: str
    message: str
    trace: str
    cached: frozenset[str]
    pictures: tuple[Shown, ...]


class Queue(NamedTuple):
    """The numbers (prompt_id) of jobs that run, and of those that wait."""

    running: tuple[str, ...]
    pending: tuple[str, ...]


class Client:
    """Asks the server on a port of this machine; every method raises NoAnswer where it must."""

    def __init__(self, port: int) -> None:
        self.port = port

    def submit(self, graph: Mapping[str, Any], client_id: str, number: str) -> Refusal | None:
        """Put a job into the queue under a number of our own; why not, where it is not taken."""
        data = {"prompt": graph, "client_id": client_id, "prompt_id": number}
        reply = self._ask("POST", "/prompt", data)
        said = _parsed(reply)
        if reply.status == 200:
            return None
        return _refusal(reply.status, said if isinstance(said, dict) else {})

    def queue(self) -> Queue:
        said = _dict(self._json("/queue"))
        return Queue(_numbers(said.get("queue_running")), _numbers(said.get("queue_pending")))

    def ended(self, number: str) -> Ended | None:
        """How a job ended; None where it has not, or is not known."""
        entry = _dict(_dict(self._json(f"/history/{number}")).get(number))
        if not entry:
            return None
        status = _dict(entry.get("status"))
        messages = [
            (item[0], _dict(item[1]))
            for item in _list(status.get("messages"))
            if isinstance(item, list) and len(item) == 2 and isinstance(item[0], str)
        ]
        pictures = shown(_dict(entry.get("outputs")).values())
        found = verdict(messages, pictures)
        if found is None:
            how = "success" if status.get("status_str") == "success" else "error"
            return Ended(how, "", "", "", "", frozenset(), pictures)
        return found

    def withdraw(self, number: str) -> None:
        """Take this one job out of the queue, or interrupt it; no other is touched."""
        with contextlib.suppress(NoAnswer):
            self._ask("POST", "/queue", {"delete": [number]})
            if number in self.queue().running:
                self._ask("POST", "/interrupt", {"prompt_id": number})

    def picture(self, which: Shown) -> Reply:
        return self._ask("GET", f"/view?{urlencode(which._asdict())}", longest=_LONGEST_PICTURE)

    def log(self) -> list[tuple[str, str]]:
        """The last lines the server printed, with their times as it writes them."""
        entries = _list(_dict(self._json("/internal/logs/raw", _LONGEST_LOG)).get("entries"))
        return [
            (_text(entry.get("t")), _text(entry.get("m")))
            for entry in entries
            if isinstance(entry, dict)
        ]

    def stats(self) -> dict[str, Any]:
        """What the server says of itself."""
        return _dict(_dict(self._json("/system_stats")).get("system"))

    def _json(self, path: str, longest: int = _LONGEST_HISTORY) -> Any:
        return _parsed(self._ask("GET", path, longest=longest))

    def _ask(
        self, method: str, path: str, data: object = None, longest: int = _LONGEST_HISTORY
    ) -> Reply:
        import http.client

        connection = listener(self.port)
        if connection is None:
            raise NoAnswer("nobody listens on its port any more", gone=True)
        body = None if data is None else json.dumps(data).encode()
        end = time.monotonic() + _ANSWER_S
        try:
            return exchange(connection, method, path, end, data=body, longest=longest)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NoAnswer(f"{path}: {error or type(error).__name__}") from error


def verdict(
    messages: Iterable[tuple[str, dict[str, Any]]], pictures: tuple[Shown, ...]
) -> Ended | None:
    """How a job ended by the messages the server sent of it; None where none tells."""
    cached: list[str] = []
    for name, data in messages:
        if name == "execution_cached":
            cached += [_text(node) for node in _list(data.get("nodes"))]
        how = _ENDS.get(name)
        if how is not None:
            trace = "".join(
                _text(line).rstrip("\n") + "\n" for line in _list(data.get("traceback"))
            )
            return Ended(
                how,
                _text(data.get("node_type")),
                _text(data.get("exception_type")),
                _text(data.get("exception_message")),
                trace[-_LONGEST_TEXT:],
                frozenset(cached),
                pictures,
            )
    return None


def shown(outputs: Iterable[object]) -> tuple[Shown, ...]:
    """The pictures that nodes say they saved."""
    return tuple(
        Shown(_text(each.get("filename")), _text(each.get("subfolder")), _text(each.get("type")))
        for output in outputs
        for each in _list(_dict(output).get("images"))
        if isinstance(each, dict) and isinstance(each.get("filename"), str)
    )


def _refusal(status: int, said: dict[str, Any]) -> Refusal:
    """What a 400 says: the first node's first error, else the error of the whole."""
    text = json.dumps(said)[:_LONGEST_TEXT] if said else f"ComfyUI answers with status {status}"
    for node in _dict(said.get("node_errors")).values():
        for error in _list(_dict(node).get("errors")):
            kind, message = _text(_dict(error).get("type")), _text(_dict(error).get("message"))
            detail, name = _text(_dict(error).get("details")), _text(_dict(node).get("class_type"))
            return Refusal(kind or "refused", f"{name}: {message}: {detail}", name, text)
    error = _dict(said.get("error"))
    message = _text(error.get("message")) or text
    node = _text(_dict(error.get("extra_info")).get("class_type"))
    return Refusal(_text(error.get("type")) or "refused", message, node, text)


def _numbers(items: object) -> tuple[str, ...]:
    return tuple(
        item[1]
        for item in _list(items)
        if isinstance(item, list) and len(item) > 1 and isinstance(item[1], str)
    )


def _parsed(reply: Reply) -> Any:
    try:
        return as_json(reply.body)
    except ValueError as error:
        if reply.status != 200:
            return {}
        raise NoAnswer("its answer is no JSON") from error


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value[:_MOST] if isinstance(value, list) else []


def _text(value: object) -> str:
    if not isinstance(value, str):
        return ""
    # Half a sign, as JSON can write one, fits into no address and no file.
    return value[:_LONGEST_TEXT].encode("utf-8", "replace").decode()
