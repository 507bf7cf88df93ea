"""A server that answers what no ComfyUI would: nothing of it crashes, hangs or fills the memory."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from comfyui_double import Double, jobs
from hypothesis import given as example_of
from hypothesis import settings
from hypothesis import strategies as st
from watching import Watch, given, job, means

from klein_doctor.generate.comfyui_client import Ended, Refusal, _refusal, shown, verdict
from klein_doctor.generate.comfyui_run import run

JUNK: list[Any] = [
    b"no JSON", b"[" * 100_000, b"[]", b"null", b'{"type": 1}', b'{"type": "executing"}',
    b'{"type": "progress", "data": []}', b"\xff\xfe", b"",
]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats()
    | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["images", "filename", "nodes", "errors", "node_errors", "error", "type",
                         "message", "traceback", "node_type", "extra_info", "class_type"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


class Junk(Double):
    """Says junk on the websocket before every message."""

    def _say(self, client: str, message: dict[str, Any]) -> None:
        connection = self._sockets.get(client)
        for data in JUNK if connection is not None else ():
            if len(data) < 1 << 16:
                self.frame(connection, data)  # type: ignore[arg-type]
            self.frame(connection, b"\0\0\0\1" + data[:100], b"\x82")  # type: ignore[arg-type]
        for data in ({"node": {}, "prompt_id": []}, {"value": float("nan"), "max": "x"}, None):
            super()._say(client, {"type": "progress", "data": data})
            super()._say(client, {"type": "executing", "data": data})
        super()._say(client, message)


def test_junk_on_the_websocket(tmp_path: Path) -> None:
    with Junk(jobs("success", 3)) as double:
        made = run(job(tmp_path), Watch(), given(double.port), means())
    assert made.outcome == "done"


def test_a_message_without_end(tmp_path: Path) -> None:
    class Endless(Double):
        def attach(self, client: str, connection: socket.socket) -> None:
            try:
                connection.sendall(b"\x81\x7f" + (1 << 62).to_bytes(8, "big"))
                while True:
                    connection.sendall(bytes(1 << 20))
            except OSError:
                pass

    with Endless(jobs("success", 3)) as double:
        made = run(job(tmp_path), Watch(), given(double.port), means())
    assert made.outcome == "done"


@pytest.mark.parametrize("answer", [b"", b"[]", b"{", b"[" * 100_000, b'{"x": {"status": 3}}'])
@pytest.mark.parametrize("path", ["/history/", "/queue", "/internal/logs/raw", "/prompt"])
def test_junk_over_http(tmp_path: Path, path: str, answer: bytes) -> None:
    class Odd(Double):
        def answer(self, method: str, where: str, query: Any, body: Any) -> tuple[int, Any]:
            said = super().answer(method, where, query, body)
            return (200, answer) if where.startswith(path) else said

    with Odd(jobs("success", 3)) as double:
        made = run(job(tmp_path), Watch(), given(double.port), means())
    assert made.outcome in ("done", "failed", "interrupted", "refused")
    assert made.outcome == "done" or made.says


@settings(max_examples=70, deadline=None)
@example_of(VALUES)
def test_whatever_is_said_is_read(value: Any) -> None:
    said = value if isinstance(value, dict) else {}
    assert isinstance(_refusal(400, said), Refusal)
    pictures = shown([value])
    json.dumps([each._asdict() for each in pictures]).encode()
    "".join(each.filename for each in pictures).encode()
    assert isinstance(verdict([("execution_error", said)], pictures), Ended)
