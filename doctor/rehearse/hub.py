"""A Hub on loopback that speaks what the real client expects, from files on disk or in memory.

Protocol as huggingface_hub 1.x and 2.x use it: HEAD and GET of ``/REPO/resolve/REVISION/PATH``,
which for large files redirects to a second origin with a signed address, ranges there, and the
listings below ``/api/models``. Nothing is served that was not given; it binds 127.0.0.1 only.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

_BLOCK = 1 << 18
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")
_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?/?")


class HubFile:
    """A file of a repository. large: as git-lfs keeps it, behind a redirect to the second origin.

    sha256: of the content, computed where it is not given.
    """

    def __init__(self, data: bytes | Path, *, large: bool = True, sha256: str = "") -> None:
        self.data = data
        self.large = large
        self.size = len(data) if isinstance(data, bytes) else data.stat().st_size
        self._sha256 = sha256

    @property
    def sha256(self) -> str:
        if not self._sha256:
            digest = hashlib.sha256()
            for block in self.blocks(0, self.size):
                digest.update(block)
            self._sha256 = digest.hexdigest()
        return self._sha256

    @property
    def etag(self) -> str:
        """What the Hub gives: the SHA-256 of a large file, git's own digest of another."""
        if self.large:
            return self.sha256
        digest = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        for block in self.blocks(0, self.size):
            digest.update(block)
        return digest.hexdigest()

    def blocks(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from start to end, in blocks."""
        if isinstance(self.data, bytes):
            yield self.data[start:end]
            return
        with self.data.open("rb") as stream:
            stream.seek(start)
            while start < end and (block := stream.read(min(_BLOCK, end - start))):
                start += len(block)
                yield block


@dataclass
class Repository:
    """A repository at one revision; gated: ``""``, ``gated`` or ``private``."""

    name: str
    revision: str
    files: dict[str, HubFile] = field(default_factory=dict)
    gated: str = ""


class Request(NamedTuple):
    """A request as it came in. origin: ``hub`` or ``store``. number: how many came before it."""

    method: str
    origin: str
    path: str
    headers: dict[str, str]
    number: int


class Answer(NamedTuple):
    """What is sent back. body: bytes, or (file, start, end)."""

    status: int
    headers: dict[str, str]
    body: bytes | tuple[HubFile, int, int] = b""


_Hub = TypeVar("_Hub", bound="Hub")


class Hub:
    """Two servers on loopback: the Hub and the store its large files are redirected to."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.sent = 0  # bytes of file content that left the store and the Hub
        self._lock = threading.Lock()
        self._key = secrets.token_hex(8)
        self._servers = [_Server(self, "hub"), _Server(self, "store")]
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            for server in self._servers
        ]

    @property
    def endpoint(self) -> str:
        """What HF_ENDPOINT is set to."""
        return self._servers[0].address

    @property
    def store(self) -> str:
        """The second origin."""
        return self._servers[1].address

    def add(self, repository: Repository) -> None:
        """Serve a repository."""
        self.repositories[repository.name.lower()] = repository

    def __enter__(self: _Hub) -> _Hub:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def note(self, method: str, origin: str, path: str, headers: dict[str, str]) -> Request:
        """Remember a request."""
        with self._lock:
            request = Request(method, origin, path, headers, len(self.requests))
            self.requests.append(request)
            return request

    def count(self, sent: int) -> None:
        """Remember that bytes of content were sent."""
        with self._lock:
            self.sent += sent

    # --- what is answered ---------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        """The answer to a request."""
        address = urlsplit(request.path)
        path = unquote(address.path)
        if request.origin == "store":
            return self._from_store(request, path, parse_qs(address.query))
        if found := _RESOLVE.fullmatch(path):
            return self._resolve(request, *found.groups())
        if found := _API.fullmatch(path):
            return self._listing(*found.groups())
        return _refusal(404, "", "Not Found")

    def send(self, answer: Answer, handler: _Handler) -> None:
        """Write an answer; a subclass may write something else."""
        handler.head(answer)
        if handler.command == "HEAD":
            return
        if isinstance(answer.body, bytes):
            handler.wfile.write(answer.body)
            return
        file, start, end = answer.body
        if isinstance(file.data, Path):
            with file.data.open("rb") as stream:
                handler.wfile.flush()
                self.count(handler.connection.sendfile(stream, start, end - start))
            return
        for block in file.blocks(start, end):
            handler.wfile.write(block)
            self.count(len(block))

    def _find(self, name: str, revision: str) -> Repository | Answer:
        repository = self.repositories.get(name.lower())
        if repository is None:
            # The real one does not tell what is missing from what is private.
            return _refusal(401, "RepoNotFound", "Repository not found")
        if repository.gated:
            code = {"gated": "GatedRepo", "private": "RepoNotFound"}[repository.gated]
            return _refusal(401, code, f"Access to model {repository.name} is restricted")
        if revision not in (repository.revision, "main"):
            return _refusal(404, "RevisionNotFound", "Invalid rev id")
        return repository

    def _resolve(self, request: Request, name: str, revision: str, path: str) -> Answer:
        repository = self._find(name, revision)
        if isinstance(repository, Answer):
            return repository
        file = repository.files.get(path)
        if file is None:
            return _refusal(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": repository.revision, "Accept-Ranges": "bytes"}
        if not file.large:
            return _content(request, file, {**headers, "ETag": f'"{file.etag}"'})
        headers["X-Linked-Size"] = str(file.size)
        headers["X-Linked-ETag"] = f'"{file.etag}"'
        place = f"/{quote(repository.name)}/{file.sha256}/{quote(path)}?Signature={self._key}"
        return Answer(302, {**headers, "Location": self.store + place})

    def _from_store(self, request: Request, path: str, query: dict[str, list[str]]) -> Answer:
        if query.get("Signature") != [self._key]:
            return _refusal(403, "", "Request has expired")
        owner, name, _, *rest = path.lstrip("/").split("/")
        repository = self.repositories.get(f"{owner}/{name}".lower())
        file = repository.files.get("/".join(rest)) if repository is not None else None
        if file is None:
            return _refusal(404, "", "Not Found")
        return _content(request, file, {"ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"})

    def _listing(self, name: str, kind: str | None, revision: str | None) -> Answer:
        repository = self._find(name, unquote(revision or "main"))
        if isinstance(repository, Answer):
            return repository
        entries: list[dict[str, Any]] = []
        for path, file in sorted(repository.files.items()):
            entry: dict[str, Any] = {"type": "file", "path": path, "rfilename": path}
            entry |= {"size": file.size, "oid": file.etag}
            if file.large:
                entry["lfs"] = {
                    "oid": file.sha256, "sha256": file.sha256, "size": file.size,
                    "pointerSize": 128 + len(str(file.size)),
                }  # fmt: skip
            entries.append(entry)
        about = {
            "id": repository.name, "modelId": repository.name, "sha": repository.revision,
            "private": False, "gated": False, "tags": [], "siblings": entries,
        }  # fmt: skip
        text = json.dumps(entries if kind == "tree" else about).encode()
        return Answer(200, {"Content-Type": "application/json"}, text)


def _content(request: Request, file: HubFile, headers: dict[str, str]) -> Answer:
    headers = {**headers, "Content-Type": "application/octet-stream"}
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is None:
        return Answer(200, headers, (file, 0, file.size))
    start = int(asked.group(1))
    end = min(int(asked.group(2) or file.size) + 1, file.size) if asked.group(2) else file.size
    if start >= file.size:
        return Answer(416, {**headers, "Content-Range": f"bytes */{file.size}"})
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    return Answer(206, headers, (file, start, end))


def _refusal(status: int, code: str, says: str) -> Answer:
    headers = {"X-Error-Message": says, "Content-Type": "text/plain"}
    if code:
        headers["X-Error-Code"] = code
    return Answer(status, headers, says.encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, hub: Hub, origin: str) -> None:
        self.hub = hub
        self.origin = origin
        super().__init__(("127.0.0.1", 0), _Handler)
        # By another name: huggingface_hub 1.x tells origins apart by their host alone.
        host = "127.0.0.1" if origin == "hub" else "localhost"
        self.address = f"http://{host}:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is no fault."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        hub = self.server.hub
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = hub.note(self.command, self.server.origin, self.path, headers)
        hub.send(hub.answer(request), self)

    do_HEAD = do_GET

    def head(self, answer: Answer) -> None:
        """Write status and headers."""
        self.send_response(answer.status)
        if "Content-Length" not in answer.headers:
            body = answer.body
            length = len(body) if isinstance(body, bytes) else body[2] - body[1]
            self.send_header("Content-Length", str(length))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silent: what was asked is kept in Hub.requests."""
