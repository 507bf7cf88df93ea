"""A Hub on loopback that misbehaves on request, and what is needed to download from it."""

from __future__ import annotations

import hashlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from klein_doctor.download.faults import DownloadError
from klein_doctor.download.jobs import Job
from klein_doctor.download.progress import Display, _Silent
from klein_doctor.download.run import Done, Tools, perform, survey
from klein_doctor.download.sources import HubSource, Source
from klein_doctor.identity.digest import DigestStore
from klein_doctor.recipe_downloads import Asset, Downloads, load_downloads
from klein_doctor.rehearse.hub import Answer, Hub, HubFile, Repository, Request, _Handler

REVISION = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "somebody/klein-miniature"
SIZE = 3 << 20
# Short, because nothing here is further away than this machine.
QUICK = {
    "read_s": 1, "slow_window_s": 1, "first_pause_s": 0, "longest_pause_s": 0, "lock_idle_s": 2,
    "retry_after_s": 1,
}  # fmt: skip

Fault = Callable[[Answer, _Handler, "Faulty"], None]


def content(size: int = SIZE, seed: int = 1) -> bytes:
    """Bytes that repeat nowhere, the same each time."""
    return random.Random(seed).randbytes(size)


class Faulty(Hub):
    """plan: by origin and method the faults of the first, second, ... request; None for none."""

    def __init__(self) -> None:
        super().__init__()
        self.plan: dict[tuple[str, str], list[Fault | None]] = {}
        self.always: dict[tuple[str, str], Fault] = {}
        self._turn = threading.Lock()

    def answer(self, request: Request) -> Answer:
        answer = super().answer(request)
        answer.headers["X-Origin"] = request.origin
        return answer

    def send(self, answer: Answer, handler: _Handler) -> None:
        key = (handler.server.origin, handler.command)
        if "/api/" in handler.path:
            return super().send(answer, handler)
        with self._turn:
            planned = self.plan.get(key, [])
            fault = planned.pop(0) if planned else self.always.get(key)
        if fault is None:
            return super().send(answer, handler)
        fault(answer, handler, self)

    def gets(self) -> int:
        """How many GETs reached the store."""
        return sum(r.origin == "store" and r.method == "GET" for r in self.requests)


def body(answer: Answer) -> bytes:
    """The bytes an answer would bring."""
    if isinstance(answer.body, bytes):
        return answer.body
    file, start, end = answer.body
    return b"".join(file.blocks(start, end))


def write(handler: _Handler, hub: Faulty, data: bytes) -> None:
    """Send content and count it."""
    for at in range(0, len(data), 1 << 16):
        handler.wfile.write(data[at : at + (1 << 16)])
        hub.count(len(data[at : at + (1 << 16)]))


# --- faults ----------------------------------------------------------------------------------


def changed(change: Callable[[bytes], bytes]) -> Fault:
    """The content as change makes it, under the right length."""

    def fault(answer: Answer, handler: _Handler, hub: Faulty) -> None:
        handler.head(answer)
        write(handler, hub, change(body(answer)))

    return fault


def _flip(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


flip = changed(_flip)
swap = changed(lambda data: content(len(data), seed=99))


def cut(after: int, *, reset: bool = False) -> Fault:
    """The connection ends after so many bytes, with FIN or RST."""

    def fault(answer: Answer, handler: _Handler, hub: Faulty) -> None:
        handler.head(answer)
        write(handler, hub, body(answer)[:after])
        handler.wfile.flush()
        if reset:
            time.sleep(0.05)  # or the reset overtakes what was sent
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        else:
            handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True
        handler.connection.close()

    return fault


def short(by: int) -> Fault:
    """Fewer bytes than there are, under a length that agrees with them."""

    def fault(answer: Answer, handler: _Handler, hub: Faulty) -> None:
        data = body(answer)[:-by]
        handler.head(answer._replace(body=data))
        write(handler, hub, data)

    return fault


def longer(by: int) -> Fault:
    """More bytes than the file has, under a length that agrees with them."""

    def fault(answer: Answer, handler: _Handler, hub: Faulty) -> None:
        data = body(answer) + b"x" * by
        handler.head(answer._replace(body=data))
        write(handler, hub, data)

    return fault


def stall(after: int, seconds: float) -> Fault:
    """Silence after so many bytes."""

    def fault(answer: Answer, handler: _Handler, hub: Faulty) -> None:
        handler.head(answer)
        write(handler, hub, body(answer)[:after])
        handler.wfile.flush()
        time.sleep(seconds)
        handler.close_connection = True

    return fault


def trickle(rate: int) -> Fault:
    """So many bytes a second, for ever."""

    def fault(answer: Answer, handler: _Handler, hub: Faulty) -> None:
        handler.head(answer)
        data = body(answer)
        for at in range(0, len(data), rate // 10):
            write(handler, hub, data[at : at + rate // 10])
            handler.wfile.flush()
            time.sleep(0.1)

    return fault


def status(code: int, **headers: str) -> Fault:
    """Another answer."""

    def fault(answer: Answer, handler: _Handler, hub: Faulty) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.head(Answer(code, named))

    return fault


def html(answer: Answer, handler: _Handler, hub: Faulty) -> None:
    """The login page of a network, under status 200."""
    page = b"<!DOCTYPE html><title>Welcome to the hotel</title>"
    handler.head(Answer(200, {"Content-Type": "text/html; charset=utf-8"}, page))
    if handler.command != "HEAD":
        handler.wfile.write(page)


def whole(answer: Answer, handler: _Handler, hub: Faulty) -> None:
    """A server that knows no ranges."""
    assert not isinstance(answer.body, bytes)
    file = answer.body[0]
    handler.head(Answer(200, {"Content-Type": "x/y"}, (file, 0, file.size)))
    write(handler, hub, body(Answer(200, {}, (file, 0, file.size))))


def early(answer: Answer, handler: _Handler, hub: Faulty) -> None:
    """A part that begins one byte before the one asked for."""
    assert not isinstance(answer.body, bytes)
    file, start, end = answer.body
    start = max(0, start - 1)
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{file.size}"}
    handler.head(Answer(206, headers, (file, start, end)))
    write(handler, hub, body(Answer(206, {}, (file, start, end))))


def announced(**headers: str) -> Fault:
    """A redirect or answer whose headers say something else."""

    def fault(answer: Answer, handler: _Handler, hub: Faulty) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.head(answer._replace(headers={**answer.headers, **named}))

    return fault


def packed(answer: Answer, handler: _Handler, hub: Faulty) -> None:
    """A proxy that packs what it was asked not to."""
    handler.head(answer._replace(headers={**answer.headers, "Content-Encoding": "gzip"}))
    write(handler, hub, body(answer))


def circle(answer: Answer, handler: _Handler, hub: Faulty) -> None:
    """A redirect to itself."""
    place = handler.server.address + handler.path
    handler.head(Answer(302, {"Location": place}))


# --- a download ------------------------------------------------------------------------------


class Listener(_Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


class World(NamedTuple):
    """A Hub with one file, and a destination."""

    hub: Faulty
    asset: Asset
    data: bytes
    destination: Path
    downloads: Downloads
    shown: Listener

    def tools(self, *, sources: Sequence[Source] | None = None, **limits: int) -> Tools:
        """What a run needs; limits are changed as named."""
        downloads = self.downloads._replace(limits=self.downloads.limits._replace(**limits))
        if sources is None:
            sources = [HubSource(float(downloads.limits.read_s), self.hub.endpoint)]
        display: Display = self.shown
        stop = threading.Event()
        late = threading.Event()
        return Tools(downloads, DigestStore(None), sources, display, stop, False, late, "", {})

    def run(self, tools: Tools | None = None, **limits: int) -> Done:
        """One download, as the command does it."""
        tools = tools or self.tools(**limits)
        job = Job(self.asset, self.destination)
        (done,) = perform(survey([job], (), tools), tools, 1)
        return done

    def fault(self, **limits: int) -> DownloadError:
        """The fault of a download that must not succeed; nothing may be at its destination."""
        done = self.run(**limits)
        assert done.fault is not None, done
        return done.fault

    @property
    def right(self) -> bool:
        """Whether the destination holds the right bytes, and nothing lies beside it."""
        if self.names != [self.destination.name]:
            return False
        return self.destination.read_bytes() == self.data

    @property
    def names(self) -> list[str]:
        folder = self.destination.parent
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def world(folder: Path, hub: Faulty, size: int = SIZE) -> World:
    """A Hub that serves one file, as the VAE of ComfyUI's route."""
    data = content(size)
    file = HubFile(data)
    hub.add(Repository(REPOSITORY, REVISION, {"parts/flux2-vae.safetensors": file}))
    asset = Asset(
        "comfyui", "vae", "", REPOSITORY, REVISION, "parts/flux2-vae.safetensors",
        "flux2-vae.safetensors", "vae", "Apache-2.0",
        ((size, hashlib.sha256(data).hexdigest()),),
    )  # fmt: skip
    downloads = load_downloads()
    downloads = downloads._replace(limits=downloads.limits._replace(**QUICK))
    return World(hub, asset, data, folder / "vae" / asset.name, downloads, Listener())
