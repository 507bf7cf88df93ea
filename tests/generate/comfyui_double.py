"""A double of ComfyUI's server: replays recorded exchanges over real sockets, stdlib alone.

Recordings (``recordings/*.json``) come from real servers: 0.33.0 where the name does not say
otherwise. Times are scaled by ``pace``; the recorded job's number is replaced by the real one.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import socket
import struct
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

RECORDINGS = Path(__file__).resolve().parent / "recordings"
_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
INTERRUPTED = ("execution_interrupted", {"node_id": "11", "node_type": "SamplerCustomAdvanced"})


def recording(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((RECORDINGS / f"{name}.json").read_text("utf-8"))
    return data


def jobs(name: str, times: int = 1) -> list[dict[str, Any]]:
    """The recorded jobs of a file, one after the other, so many times."""
    found: list[dict[str, Any]] = recording(name)["jobs"]
    return found * times


def png(seed: int = 0, side: int = 8) -> bytes:
    """A whole picture."""
    rows = b"".join(
        b"\0" + bytes((seed * 7 + x * y) % 256 for x in range(side * 3)) for y in range(side)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


class Double:
    """A server on loopback.

    Args:
        replay: the recorded jobs, in the order in which they are sent. others: numbers of jobs
            that a user has in the queue. silent: the websocket never says a word. stops_at: no
            event after so many of a job. log: lines of before a run; printed: at each job's end.
    """

    def __init__(
        self,
        replay: Sequence[dict[str, Any]],
        *,
        port: int = 0,
        version: str = "0.33.0",
        argv: Sequence[str] = ("main.py",),
        others: Sequence[str] = (),
        refusal: dict[str, Any] | None = None,
        silent: bool = False,
        stops_at: int | None = None,
        picture: bytes | None = None,
        view_status: int = 200,
        log: Sequence[str] = (),
        printed: Sequence[str] = (),
        pace: float = 0.0,
    ) -> None:
        self.replay, self.others, self.refusal = list(replay), list(others), refusal
        self.silent, self.stops_at, self.pace = silent, stops_at, pace
        self.picture, self.view_status, self.log = picture, view_status, list(log)
        self.printed = list(printed)
        self.version, self.argv = version, list(argv)
        self.asked: list[tuple[str, str, Any]] = []
        self.clients: list[str] = []
        self.running = ""
        self.history: dict[str, Any] = {}
        self.interrupted: set[str] = set()
        self._sockets: dict[str, socket.socket] = {}
        self._lock = threading.Lock()
        self._moved = threading.Event()
        double = self

        class Handler(_Handler):
            of = double

        self._server = _Quiet(("127.0.0.1", port), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Double:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()
        self._thread.join()

    def die(self) -> None:
        """Close everything at once, as a killed process does."""
        self._moved.set()
        threading.Thread(target=self._server.shutdown, daemon=True).start()
        self._server.socket.close()
        for each in list(self._sockets.values()):
            each.close()

    def posts(self, path: str) -> list[Any]:
        return [body for method, where, body in self.asked if (method, where) == ("POST", path)]

    # --- what it does ------------------------------------------------------------------------

    def submitted(self, body: dict[str, Any]) -> tuple[int, Any]:
        if self.refusal is not None:
            return 400, self.refusal
        number = body["prompt_id"]
        job = self.replay.pop(0) if self.replay else {"events": [], "history": None}
        self.running = number
        threading.Thread(
            target=self._work, args=(job, number, body["client_id"]), daemon=True
        ).start()
        return 200, {"prompt_id": number, "number": 1, "node_errors": {}}

    def _work(self, job: dict[str, Any], number: str, client: str) -> None:
        begun = 0.0
        for place, event in enumerate(job["events"]):
            if self.stops_at is not None and place >= self.stops_at:
                while not self._moved.wait(0.02):
                    if number in self.interrupted:
                        return self._interrupted(number, client)
                return None
            if self._moved.wait((event["t"] - begun) * self.pace) and self.pace:
                return None
            begun = event["t"]
            if number in self.interrupted:
                return self._interrupted(number, client)
            if event.get("closed"):
                return self.die()
            if event["type"] == "executing" and event["data"].get("node") is None:
                self._done(number, job["history"])
            self._say(client, _numbered(event, number))
        self._done(number, job["history"])
        return None

    def _interrupted(self, number: str, client: str) -> None:
        name, data = INTERRUPTED
        status = {"status_str": "error", "completed": False, "messages": [[name, data]]}
        self._done(number, {"outputs": {}, "status": status})
        self._say(client, {"type": name, "data": {**data, "prompt_id": number}})

    def _done(self, number: str, history: dict[str, Any] | None) -> None:
        if history is not None and self.running == number:
            self.log += self.printed
            self.history[number] = _numbered(history, number)
        if self.running == number:
            self.running = ""

    def _say(self, client: str, message: dict[str, Any]) -> None:
        connection = self._sockets.get(client)
        if connection is None or self.silent:
            return
        self.frame(connection, json.dumps({k: v for k, v in message.items() if k != "t"}).encode())

    @staticmethod
    def frame(connection: socket.socket, data: bytes, kind: bytes = b"\x81") -> None:
        size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack(">H", len(data))
        try:
            connection.sendall(kind + size + data)
        except OSError:
            pass

    def attach(self, client: str, connection: socket.socket) -> None:
        self.clients.append(client)
        self._sockets[client] = connection
        status = {"status": {"exec_info": {"queue_remaining": 0}}, "sid": client}
        self._say(client, {"type": "status", "data": status})

    def answer(
        self, method: str, path: str, query: dict[str, list[str]], body: Any
    ) -> tuple[int, Any]:
        if (method, path) == ("POST", "/prompt"):
            return self.submitted(body)
        if (method, path) == ("POST", "/queue"):
            self.others = [each for each in self.others if each not in body.get("delete", ())]
            return 200, None
        if (method, path) == ("POST", "/interrupt"):
            if body.get("prompt_id") == self.running:
                self.interrupted.add(self.running)
            return 200, None
        if path == "/queue":
            running = [self.running] if self.running else []
            return 200, {"queue_running": [[1, each, {}] for each in running + self.others[:1]],
                         "queue_pending": [[2, each, {}] for each in self.others[1:]]}  # fmt: skip
        if path.startswith("/history/"):
            number = path.rpartition("/")[2]
            return 200, {number: self.history[number]} if number in self.history else {}
        if path == "/system_stats":
            packages = [{"name": "comfy-kitchen", "installed": "0.2.31"}]
            system = {
                "comfyui_version": self.version, "pytorch_version": "2.13.0+cpu",
                "python_version": "3.11.7 (main)", "argv": self.argv,
                "comfy_package_versions": packages,
            }  # fmt: skip
            return 200, {"system": system, "devices": []}
        if path == "/internal/logs/raw":
            stamp = "2026-11-22T10:00:{:02}.000000"
            entries = [{"t": stamp.format(n), "m": line} for n, line in enumerate(self.log)]
            return 200, {"entries": entries, "size": {"cols": 80, "rows": 24}}
        if path == "/view":
            return self.view_status, png(
                len(self.history)
            ) if self.picture is None else self.picture
        return 404, None


class _Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        pass


class _Handler(http.server.BaseHTTPRequestHandler):
    of: Double

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/ws":
            return self._websocket(parse_qs(parts.query)["clientId"][0])
        return self._reply("GET", None)

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self._reply("POST", json.loads(data))

    def _reply(self, method: str, body: Any) -> None:
        parts = urlsplit(self.path)
        self.of.asked.append((method, parts.path, body))
        status, answer = self.of.answer(method, parts.path, parse_qs(parts.query), body)
        data = (
            answer
            if isinstance(answer, bytes)
            else b""
            if answer is None
            else json.dumps(answer).encode()
        )
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _websocket(self, client: str) -> None:
        key = self.headers["Sec-WebSocket-Key"] + _MAGIC
        self.send_response(101)
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()
        self.of.attach(client, self.connection)
        try:
            while self.connection.recv(4096):
                self.connection.sendall(b"\x88\x00")  # whatever it is: the client only ever closes
                break
        except OSError:
            pass
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def _numbered(value: Any, number: str) -> Any:
    return json.loads(json.dumps(value).replace('"PROMPT"', json.dumps(number)))
