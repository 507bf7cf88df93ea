"""The full counts, by hand: ``python -m pytest tests/long``. Minutes, not seconds."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from header_strategies import HEADERS, SIZES, hold
from hypothesis import HealthCheck, given, settings

EXAMPLES = 100_000
_MEASURED = """
import sys
from pathlib import Path
from klein_doctor.identity.digest import DigestStore
from klein_doctor.identity.look import look
from klein_doctor.recipe_assets import load_assets
print(look(Path(sys.argv[1]), load_assets(), DigestStore(None)).identity.verdict)
# Not ru_maxrss: that begins with what the process that started this one had.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(int(peak.split()[1]) // 1024)
"""


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(HEADERS, SIZES)
def test_any_bytes_get_a_verdict(data: bytes, more: int) -> None:
    hold(data, more)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak so")
@pytest.mark.parametrize("megabytes", [1, 3, 30, 100])
@pytest.mark.parametrize("kind", ["objects", "numbers", "names", "metadata"])
def test_long_headers_take_little_memory(tmp_path: Path, megabytes: int, kind: str) -> None:
    piece = {
        "objects": b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}',
        "numbers": b'"%d":[' + b"1," * 400 + b"1]",
        "names": b'"%d' + b"n" * 900 + b'":1',
        "metadata": b'"%d":"' + b"\\u00e9" * 200 + b'"',
    }[kind]
    count = (megabytes << 20) // len(piece)
    text = b"{" + b",".join(piece % number for number in range(count)) + b"}"
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(path)],
        env=dict(os.environ), capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    verdict, peak = done.stdout.split()
    assert verdict in ("damaged", "unknown")
    assert int(peak) < 150, json.dumps({"kind": kind, "MiB": megabytes})
