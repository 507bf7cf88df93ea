"""Servers on loopback: real ones that answer well, badly, slowly or not at all."""

from __future__ import annotations

import gzip
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.privacy import Redactor
from klein_doctor.probes.comfyui_server import ask_servers
from klein_doctor.probes.found import Answer

REDACTOR = Redactor(("jane",), ("/home/jane",), ())
FOLDERS = {
    "vae": ["/opt/comfy/models/vae"],
    "text_encoders": ["/opt/comfy/models/text_encoders", "/opt/comfy/models/clip"],
}
ARGV = ["main.py", "--listen", "--port", "8911", "--extra-model-paths-config", "/home/jane/p.yaml",
        "--disable-all-custom-nodes", "--api-key", "secret"]  # fmt: skip
STATS: dict[str, Any] = {
    "system": {
        "os": "linux",
        "ram_total": 135148564480,
        "ram_free": 133546635264,
        "comfyui_version": "0.33.0",
        "installed_templates_version": None,
        "comfy_package_versions": [{"name": "comfy-kitchen", "installed": "0.2.31"}],
        "python_version": "3.12.3 (main, Aug 31 2026, 10:18:26) [GCC 13.3.0]",
        "pytorch_version": "2.11.0+cu130",
        "embedded_python": False,
        "argv": ARGV,
    },
    "devices": [
        {
            "name": "cuda:0 NVIDIA H100 80GB HBM3 : cudaMallocAsync",
            "type": "cuda",
            "index": 0,
            "vram_total": 85017493504,
            "vram_free": 84465090560,
            "torch_vram_total": 0,
            "torch_vram_free": 0,
        }
    ],
}
OLD = {
    "system": {"os": "posix", "python_version": "3.10.6", "argv": ["main.py"]},
    "devices": [{"name": "cpu", "index": None, "vram_total": 5, "vram_free": 4}],
}

Serve = Callable[[socket.socket, str], None]


def reply(body: object, head: str = "HTTP/1.1 200 OK", length: object = None) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    whole = len(data) if length is None else length
    return f"{head}\r\nContent-Length: {whole}\r\n\r\n".encode() + data


def saying(answer: bytes, folders: bytes = b"HTTP/1.1 404 Not Found\r\n\r\n") -> Serve:
    def serve(peer: socket.socket, path: str) -> None:
        peer.sendall(folders if path == "/internal/folder_paths" else answer)

    return serve


@contextmanager
def listening(serve: Serve, host: str = "127.0.0.1") -> Iterator[tuple[int, list[str]]]:
    """A server that answers each connection with a function; the paths it was asked for."""
    ended = threading.Event()
    asked: list[str] = []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    def one(peer: socket.socket) -> None:
        with peer:
            try:
                peer.settimeout(5)
                words = peer.recv(4096).split(b" ")
                path = words[1].decode() if len(words) > 1 else ""
                asked.append(path)
                serve(peer, path)
            except OSError:
                pass

    def accept(server: socket.socket) -> None:
        while not ended.is_set():
            try:
                peer, _ = server.accept()
            except OSError:
                continue
            one(peer)

    with socket.create_server((host, 0), family=family) as server:
        server.settimeout(0.05)
        thread = threading.Thread(target=accept, args=(server,))
        thread.start()
        try:
            yield server.getsockname()[1], asked
        finally:
            ended.set()
            thread.join()


def ask(serve: Serve, limit_s: float = 2.0) -> Answer:
    with listening(serve) as (port, _):
        started = time.monotonic()
        (answer,) = ask_servers(REDACTOR, (port,), limit_s)
        assert time.monotonic() - started < limit_s + 8  # it would hang, not be late
    assert answer.server.port == port
    return answer


# --- good answers ----------------------------------------------------------------------------


def test_a_comfyui_tells_what_it_is() -> None:
    answer = ask(saying(reply(STATS), reply(FOLDERS)))
    server = answer.server
    assert (server.outcome, server.detail) == ("ok", "")
    assert (server.version, server.python) == ("0.33.0", "3.12.3")
    assert (server.torch, server.listen) == ("2.11.0+cu130", "any")
    assert server.devices == (
        ("cuda:0 NVIDIA H100 80GB HBM3 : cudaMallocAsync", 85017493504, 84465090560),
    )
    assert [flag.name for flag in server.flags] == [
        "--listen", "--port", "--extra-model-paths-config", "--disable-all-custom-nodes",
        "--api-key",
    ]  # fmt: skip
    assert server.flags[2].value.public == "~/p.yaml"
    assert "secret" not in repr(server)
    assert answer.argv == tuple(ARGV)
    assert answer.folders == {key: tuple(value) for key, value in FOLDERS.items()}


def test_an_old_one_has_no_version() -> None:
    answer = ask(saying(reply(OLD)))
    assert (answer.server.outcome, answer.server.version) == ("ok", "")
    assert answer.server.listen == "" and answer.folders is None


def test_whose_process_it_is() -> None:
    psutil = pytest.importorskip("psutil", reason="psutil is not installed")
    with listening(saying(reply(STATS))) as (port, _):
        try:
            seen = [each for each in psutil.net_connections("tcp") if each.laddr.port == port]
        except psutil.Error:
            pytest.skip("the system shows no list of connections")
        if not any(each.pid for each in seen):
            pytest.skip("the system does not tell whose connections these are")
        (answer,) = ask_servers(REDACTOR, (port,), 20)
    assert answer.server.pid == os.getpid()
    assert answer.server.rss_bytes is not None and answer.server.rss_bytes > 1 << 20
    assert answer.cwd == Path.cwd() and answer.executable is not None
    assert os.path.realpath(answer.executable) == os.path.realpath(sys.executable)


SERVING = """
import json, socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
data = b'{"system": {"comfyui_version": "0.33.0"}}'
for _ in range(2):
    peer, _ = server.accept()
    with peer:
        peer.recv(4096)
        peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(data) + data)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are shown to all on Linux alone")
@pytest.mark.parametrize("way", ["bare", "relative", "absolute"])
def test_the_venv_it_runs_in_is_told_by_how_it_was_called(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(os.path.realpath(sys.executable))
    name = {"bare": "python", "relative": "venv/bin/python", "absolute": str(folder / "python")}
    env = {**os.environ, "PATH": f"relative:{folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    env.pop("PYTHONHOME", None)
    env["PYTHONPATH"] = os.path.dirname(os.__file__)
    with subprocess.Popen(
        [name[way], "-c", SERVING], executable=folder / "python", cwd=tmp_path, env=env,
        stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        try:
            assert child.stdout is not None
            (answer,) = ask_servers(REDACTOR, (int(child.stdout.readline()),), 20)
        finally:
            child.kill()
    if answer.server.pid is None:
        pytest.skip("the system does not tell whose connections these are")
    assert answer.server.pid == child.pid and answer.cwd == tmp_path
    assert answer.executable == folder / "python"


def test_several_ports_are_asked_at_once() -> None:
    with ExitStack() as stack:
        slow, _ = stack.enter_context(listening(silence))
        good, _ = stack.enter_context(listening(saying(reply(STATS))))
        other, _ = stack.enter_context(listening(saying(reply({}))))
        answers = ask_servers(REDACTOR, (slow, good, closed_port(), other, good), 1.0)
    assert [(each.server.port, each.server.outcome) for each in answers] == [
        (slow, "slow"), (good, "ok"), (other, "other"),
    ]  # fmt: skip


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port: int = closed.getsockname()[1]
    return port


def test_nothing_listens() -> None:
    assert ask_servers(REDACTOR, (closed_port(),)) == ()
    assert ask_servers(REDACTOR, ()) == ()
    assert ask_servers(REDACTOR, (-1, 70_000, 1 << 80)) == ()


def test_one_that_listens_on_the_newer_address_alone() -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with listening(saying(reply(STATS)), "::1") as (port, _):
        (answer,) = ask_servers(REDACTOR, (port,))
    assert answer.server.outcome == "ok"


# --- bad answers -----------------------------------------------------------------------------

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (reply(b"<html>hello</html>"), "other"),
        (reply(b"{}"), "other"),
        (reply(b'{"system": []}'), "other"),
        (reply(b'{"system": {"argv": []}}'), "other"),
        (reply(b'{"system": {"comfyui_version": 3}, "devices": []}'), "other"),
        (reply(b"[" * 100_000), "other"),
        (reply(b'{"system":' * 50_000), "other"),
        (reply(b"x" * (2 << 20)), "other"),
        (reply(b" " * (64 << 20)), "other"),
        (reply(json.dumps(STATS).encode() + b" " * (1 << 20)), "other"),
        (reply(b"9" * 1_000_000), "other"),
        (reply(b"NaN"), "other"),
        (reply(b"\xff\xfe\x00\xd8"), "other"),
        (reply(gzip.compress(json.dumps(STATS).encode()),
               "HTTP/1.1 200 OK\r\nContent-Encoding: gzip"), "other"),
        (reply(STATS, length=10), "other"),
        (reply(STATS, length="ten"), "ok"),
        (reply(STATS, length=-5), "ok"),
        (reply(STATS, length=9 ** 99), "ok"),
        (reply(b"", "HTTP/1.1 404 Not Found"), "other"),
        (reply(STATS, "HTTP/1.1 500 Oh"), "other"),
        (reply(STATS, "HTTP/1.1 999 Oh"), "other"),
        (reply(STATS, "HTTP/9.9 200 OK"), "other"),
        (reply(STATS, "HTTP/1.1 -1 OK"), "other"),
        (reply(b"", "SSH-2.0-OpenSSH_9.6"), "other"),
        (b"", "other"),
        (b"\0" * 100_000, "other"),
        (CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(json.dumps(OLD)), json.dumps(OLD).encode()),
         "ok"),
        (CHUNKED + b"zz\r\nabc", "other"),
        (CHUNKED + b"f" * 1000 + b"\r\nabc", "other"),
        (CHUNKED + b"5\r\nab", "other"),
        (b"HTTP/1.1 200 OK\r\nX-Long: " + b"y" * 200_000 + b"\r\n\r\n", "other"),
    ],
)  # fmt: skip
def test_others_are_named(answer: bytes, outcome: str) -> None:
    found = ask(saying(answer), 5.0)
    assert found.server.outcome == outcome
    assert (outcome == "ok") != bool(found.server.detail)


def test_a_redirect_is_not_followed() -> None:
    with listening(saying(reply(STATS))) as (second, asked):
        for status in (301, 302, 303, 307, 308, 300, 399):
            head = f"HTTP/1.1 {status} Moved\r\nLocation: http://127.0.0.1:{second}/system_stats"
            assert ask(saying(reply(STATS, head))).server.outcome == "redirects"
        assert asked == []


def test_a_redirect_of_the_second_question_is_not_followed_either() -> None:
    with listening(saying(reply(FOLDERS))) as (second, asked):
        head = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{second}/internal/folder_paths"
        answer = ask(saying(reply(STATS), reply(FOLDERS, head)))
        assert (answer.server.outcome, answer.folders) == ("ok", None)
        assert asked == []


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(saying(reply(STATS))) as (proxy, asked):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert ask(saying(reply(OLD))).server.version == ""
        assert asked == []


# --- slow answers ----------------------------------------------------------------------------


def drip(peer: socket.socket, path: str, start: bytes = reply(b"", length=1000)) -> None:
    peer.sendall(start)
    for _ in range(200):
        peer.sendall(b" ")
        time.sleep(0.05)


def silence(peer: socket.socket, path: str) -> None:
    while peer.recv(4096):
        pass


def endless(peer: socket.socket, path: str) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        peer.sendall(b"X-More: yes\r\n" * 100)


def bottomless(peer: socket.socket, path: str) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        peer.sendall(b" " * 100_000)


def interim(peer: socket.socket, path: str) -> None:
    while True:
        peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def less_than_nothing(peer: socket.socket, path: str) -> None:
    peer.sendall(CHUNKED + b"-1\r\n")
    while True:
        peer.sendall(b" " * 100_000)


def slammed(peer: socket.socket, path: str) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    "serve",
    [
        drip,
        silence,
        partial(drip, start=b""),
        partial(drip, start=b"HTTP/1.1 200 OK\r\nX: "),
        partial(drip, start=b"HTTP/1.1 200 OK\r\n\r\n"),
        partial(drip, start=CHUNKED + b"fff\r\n"),
    ],
    ids=["length", "silence", "bytes", "header", "body", "chunk"],
)
def test_the_slow_are_given_up(serve: Serve) -> None:
    assert ask(serve, 0.5).server.outcome == "slow"


@pytest.mark.parametrize("serve", [endless, bottomless, interim, less_than_nothing, slammed])
def test_those_that_never_end_are_left(serve: Serve) -> None:
    assert ask(serve, 8.0).server.outcome == "other"


def test_what_was_learned_stands_when_the_next_question_stays_open() -> None:
    def serve(peer: socket.socket, path: str) -> None:
        (drip if path == "/internal/folder_paths" else saying(reply(STATS)))(peer, path)

    answer = ask(serve, 3.0)
    assert (answer.server.outcome, answer.server.version) == ("ok", "0.33.0")
    assert answer.folders is None


def test_no_thread_outlives_the_limit_by_much() -> None:
    with listening(drip) as (port, _):
        ask_servers(REDACTOR, (port,), 0.3)
        end = time.monotonic() + 8
        names = {f"port {port}"}
        while names & {each.name for each in threading.enumerate()} and time.monotonic() < end:
            time.sleep(0.02)
        assert not names & {each.name for each in threading.enumerate()}


# --- answers of any shape --------------------------------------------------------------------


def test_values_are_bounded() -> None:
    devices: list[object] = [
        {"name": "x" * 999, "vram_total": 1 << 62, "vram_free": -1},
        {"name": "a\x1b[31m\n", "vram_total": True, "vram_free": "INFINITE"},
        {"name": 5, "vram_total": "9", "vram_free": "LONG"},
        "nonsense",
        *[{"vram_total": 7, "vram_free": 6}] * 200,
    ]
    system = {"comfyui_version": "1\n" * 99, "python_version": "", "argv": ["main.py", 3, None]}
    body = json.dumps({"system": system, "devices": devices})
    body = body.replace('"INFINITE"', '1e999, "x": NaN').replace('"LONG"', "9" * 5000)
    folders = {"vae": ["/a", 5, None, "b\0c", "d\ud800", "e\n", "/" * 5000, *["/x"] * 99],
               "not a list": "/a", "n" * 200: []}  # fmt: skip
    more = {f"c{number}": ["/a"] for number in range(100)}
    answer = ask(saying(reply(body.encode()), reply({**folders, **more})))
    server = answer.server
    assert server.devices[:3] == (("x" * 120, 0, 0), ("a?[31m?", 0, 0), ("", 0, 0))
    assert len(server.devices) == 63  # the first 64, of which one says nothing
    assert server.version == "1?" * 40 and server.python == ""
    assert answer.argv == ("main.py", "", "")
    assert answer.folders is not None and len(answer.folders) == 64
    assert answer.folders["vae"] == ("/a", *["/x"] * 57)
    assert answer.folders["not a list"] == () == answer.folders["n" * 80]


def test_a_long_command_line_still_tells_who_is_reached() -> None:
    argv = ["main.py", "--whitelist-custom-nodes", *["node"] * 200, "--listen"]
    answer = ask(saying(reply({"system": {"argv": argv}, "devices": []})))
    assert answer.server.listen == "any"


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
KEYS = ["argv", "comfyui_version", "pytorch_version", "python_version", "name", "vram_total"]
SHAPES = st.fixed_dictionaries(
    {"system": ANY | st.dictionaries(st.sampled_from(KEYS), ANY)},
    optional={"devices": ANY | st.lists(st.dictionaries(st.sampled_from(KEYS), ANY), max_size=3)},
)


def test_any_shape_of_an_answer_is_read() -> None:
    now: list[object] = [None, None]

    def serve(peer: socket.socket, path: str) -> None:
        peer.sendall(reply(now[path == "/internal/folder_paths"]))

    @settings(max_examples=60, deadline=None)
    @given(ANY | SHAPES, ANY)
    def look(stats: object, folders: object) -> None:
        now[:] = [stats, folders]
        (answer,) = ask_servers(REDACTOR, (port,), 20)
        assert answer.server.outcome in ("ok", "other")
        texts = [answer.server.version, answer.server.torch, answer.server.python, *answer.argv]
        assert all(text.isprintable() for text in texts)
        for _, total, free in answer.server.devices:
            assert 0 <= total < 2**62 and 0 <= free < 2**62
        for category, paths in (answer.folders or {}).items():
            assert all(isinstance(text, str) and text.isprintable() for text in (category, *paths))

    with listening(serve) as (port, _):
        look()
