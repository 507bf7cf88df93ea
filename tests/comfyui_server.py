"""A ComfyUI that runs, as far as its answers on loopback tell."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class _Handler(http.server.BaseHTTPRequestHandler):
    answers: dict[str, tuple[int, str, bytes]]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        code, where, body = self.answers.get(self.path, (404, "", b""))
        self.send_response(code)
        if where:
            self.send_header("Location", where)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serving(answers: dict[str, tuple[int, str, bytes]]) -> Iterator[tuple[int, list[str]]]:
    """A server on loopback; what it was asked is in the list."""
    kind = type("Handler", (_Handler,), {"answers": answers, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], kind.asked  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


def configured(home: Path, root: Path, port: int) -> dict[str, str]:
    """The environment of a user whose comfy-cli knows a workspace and a background server."""
    folder = home / ".config" / "comfy-cli"
    folder.mkdir(parents=True)
    text = f"[DEFAULT]\ndefault_workspace = {root}\nbackground = ('127.0.0.1', {port}, 1)\n"
    (folder / "config.ini").write_text(text, encoding="utf-8")
    return {"HOME": str(home)}


def stats(*argv: str) -> bytes:
    """What a ComfyUI says of itself."""
    system = {"os": "linux", "comfyui_version": "0.33.0", "python_version": "3.12.3",
              "pytorch_version": "2.14.1+cu130", "embedded_python": False,
              "argv": ["main.py", *argv]}  # fmt: skip
    return json.dumps({"system": system, "devices": []}).encode()
