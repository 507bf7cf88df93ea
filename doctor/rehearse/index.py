"""The one embedded package index: PEP 503 on loopback, serving wheels made in memory."""

from __future__ import annotations

import hashlib
import html
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

from klein_doctor.rehearse.wheels import file_name


class Served(NamedTuple):
    """A file of an index: its name as in the address, what it holds, what the index says it is."""

    name: str
    data: bytes
    sha256: str
    metadata: bytes | None = None


_Index = TypeVar("_Index", bound="PackageIndex")


class PackageIndex:
    """Indexes by path (``/simple/``, ``/cu130/``) at one address; a context manager.

    requests: the paths asked for, in order.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, list[Served]]] = {}
        self.requests: list[str] = []
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    def url(self, name: str = "simple") -> str:
        """The address of an index, as it is given to ``--index-url``."""
        return f"http://127.0.0.1:{self._port}/{name}"

    def add(self, *wheels: bytes, index: str = "simple") -> None:
        """Serve wheels from an index."""
        for data in wheels:
            self.put(Served(file_name(data), data, hashlib.sha256(data).hexdigest()), index)

    def put(self, served: Served, index: str) -> None:
        """Serve a file as it is described."""
        project = canonical(served.name.split("-")[0])
        self.files.setdefault(index, {}).setdefault(project, []).append(served)

    def start(self: _Index) -> _Index:
        """Begin to listen; again at the same address after ``stop``."""
        self._server = _Server(self, self._port)
        self._port = self._server.server_port
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        return self

    def stop(self) -> None:
        """As if the cable were pulled: connections are refused from now on."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def send(self, data: bytes, handler: _Handler, path: str) -> None:
        """Write the body of an answer; path is "" where it is no file of the index."""
        handler.wfile.write(data)

    def refuses(self, path: str) -> bool:
        """Whether a path is answered as if nothing were there."""
        return False

    def __enter__(self: _Index) -> _Index:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, owner: PackageIndex, port: int) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is no fault."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        owner = self.server.owner
        path = unquote(self.path.split("?")[0])
        owner.requests.append(path)
        parts = [part for part in path.split("/") if part]
        projects = owner.files.get(parts[0], {}) if parts else {}
        if owner.refuses(path):
            self._answer(b"not found", "text/plain", 404)
        elif len(parts) == 2 and canonical(parts[1]) in projects:
            self._answer(_page(projects[canonical(parts[1])]), "text/html")
        elif len(parts) == 3:
            self._file(projects.get(canonical(parts[1]), []), parts[2], path)
        else:
            self._answer(b"not found", "text/plain", 404)

    do_HEAD = do_GET

    def _file(self, served: list[Served], name: str, path: str) -> None:
        for each in served:
            if name == each.name:
                return self._answer(each.data, "application/octet-stream", path=path)
            if name == f"{each.name}.metadata" and each.metadata is not None:
                return self._answer(each.metadata, "application/octet-stream")
        self._answer(b"not found", "text/plain", 404)

    def _answer(self, data: bytes, kind: str, code: int = 200, path: str = "") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.server.owner.send(data, self, path)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silent: what was asked is kept in PackageIndex.requests."""


def _page(served: list[Served]) -> bytes:
    rows = []
    for each in served:
        more = ""
        if each.metadata is not None:
            digest = hashlib.sha256(each.metadata).hexdigest()
            more = f' data-dist-info-metadata="sha256={digest}"'
        link = each.name.replace("+", "%2B")
        rows.append(f'<a href="{link}#sha256={each.sha256}"{more}>{html.escape(each.name)}</a><br>')
    return ("<!DOCTYPE html><html><body>\n" + "\n".join(rows) + "\n</body></html>\n").encode()


def canonical(name: str) -> str:
    """A project's name as indexes spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()
