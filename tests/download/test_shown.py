"""What a user sees meanwhile: bars on a terminal, lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path

import faulty as f
import pytest
from command import COMMAND, clean_environment
from miniature import TOTAL, Place

from klein_doctor.download import progress


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_bars_on_a_terminal(tmp_path: Path, hub: f.Faulty) -> None:
    import pty

    place = Place(tmp_path, hub)
    hub.always["store", "GET"] = f.trickle(3_000_000)
    process, terminal = pty.fork()
    if process == 0:
        environment = {**clean_environment(), **place.environment, "TERM": "xterm", "COLUMNS": "99"}
        command = [*COMMAND, "download", *place.options]
        os.execve(command[0], command, environment)
    seen = b""
    try:
        while block := os.read(terminal, 1 << 16):
            seen += block
    except OSError:  # the terminal is gone with the process
        pass
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode("utf-8", "replace"))
    assert os.waitstatus_to_exitcode(status) == 0, text[-2000:]
    assert "in all" in text and "fetching flux-2-klein-4b-fp8" in text
    assert re.search(r"\d\.\d/\d\.\d MB", text) and "MB/s" in text
    assert text.rstrip().endswith("Next: klein-doctor")


def test_a_line_now_and_then_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    shown = progress.display("auto")
    shown.begin(4_000_000_000, 1_000_000_000)
    shown.file("a", 3_000_000_000, "fetching")
    shown.add("a", 500_000_000, False)
    for _ in range(25):
        now[0] += 1
        shown.add("a", 50_000_000)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0] == "klein-doctor: 2.00 of 4.00 GB, 50.0 MB/s, 0:40 left"
    shown.note("x\x1b[31m\ny")
    assert stream.getvalue().splitlines()[-1] == "klein-doctor: x?[31m?y"


def test_json_lines_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    shown = progress.display("json")
    shown.begin(100, 10)
    shown.file("a", 90, "fetching")
    shown.add("a", 40, False)
    shown.add("a", 60)
    shown.add("a", -10)
    shown.done("a", "fetched")
    shown.end()
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert events[-1]["done"] == 100 and events[-1]["files"][0]["done"] == 90
    assert TOTAL > 0


def test_a_closed_standard_error_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    shown = progress.display("auto")
    shown.begin(1, 0)
    shown.note("x")
    shown.end()
