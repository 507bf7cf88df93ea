"""Logs of months: what matters is found wherever it stands, and memory stays small."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from asking import asked, first
from command import clean_environment

from klein_doctor.triage.text import excerpt_of

TELLING = b"RuntimeError: mat1 and mat2 shapes cannot be multiplied (512x15360 and 7680x3072)"
SIZE = 50 << 20
MOST_MIB = 120
_KIB_PER_MIB = 1 << 10
_ORDINARY = b"got prompt\nRequested to load Flux2\n100%|##########| 4/4 [00:02<00:00,  1.52it/s]\n"
_CHILD = """
import sys
from klein_doctor.cli import main
code = main(sys.argv[1:])
with open("/proc/self/status", encoding="utf-8") as stream:
    peak = next(line for line in stream if line.startswith("VmHWM"))
print(int(peak.split()[1]), file=sys.stderr)
sys.exit(code)
"""
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def put_log(path: Path, place: float, filling: bytes = _ORDINARY) -> Path:
    """A log of SIZE with the telling line so far down, 0 to 1; the other lines are healthy ones."""
    block = filling * ((1 << 20) // len(filling))
    before = int(place * (SIZE - len(block))) // len(block)
    with path.open("wb") as stream:
        for number in range(SIZE // len(block)):
            if number == before:
                stream.write(b"!!! Exception during processing !!!\n" + TELLING + b"\n")
            stream.write(block)
    return path


@on_linux
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_log_of_fifty_megabytes(tmp_path: Path, place: float) -> None:
    path = put_log(tmp_path / "comfyui.log", place)
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, "triage", str(path)],
        env=clean_environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("encoder-wrong"), done.stdout
    assert int(done.stderr.split()[-1]) < MOST_MIB * _KIB_PER_MIB


@on_linux
def test_fifty_megabytes_of_errors_that_say_nothing(tmp_path: Path) -> None:
    path = put_log(tmp_path / "comfyui.log", 0.5, b"Error: failed, cannot load key.\n")
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, "triage", str(path)],
        env=clean_environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("encoder-wrong"), done.stdout
    assert int(done.stderr.split()[-1]) < MOST_MIB * _KIB_PER_MIB


def _chunks(data: bytes, size: int = 1 << 20) -> Iterator[bytes]:
    yield from (data[place : place + size] for place in range(0, len(data), size))


@pytest.mark.parametrize("place", [0, 5 << 19, 3 << 20, (5 << 20) - len(TELLING)])
def test_one_line_of_five_megabytes(place: int) -> None:
    line = b"word " * (1 << 20)
    data = line[:place] + b" " + TELLING + b" " + line[: (5 << 20) - place - len(TELLING)]
    (guess, *_) = asked(b"".join(_chunks(data)))
    assert guess.check == "encoder-wrong"
    excerpt = excerpt_of(_chunks(data))
    assert max(map(len, excerpt.lines)) <= 4000


def test_errors_that_differ_in_numbers_alone_leave_room_for_others() -> None:
    noise = b"".join(
        b"Error: step %d failed after %d s, cannot go on\n" % (n, n * 7) for n in range(200_000)
    )
    data = noise[: 3 << 20] + b"\n" + TELLING + b"\n" + noise[: 3 << 20]
    excerpt = excerpt_of(_chunks(data))
    assert TELLING.decode() in excerpt.lines
    assert sum(map(len, excerpt.lines)) < 5 << 20


def test_the_first_chunk_may_end_anywhere() -> None:
    data = b"ok\n" * 1000 + TELLING + b"\nok\n" * 1000
    at = data.index(TELLING)
    for size in (1, 7, at - 1, at + 3, at + len(TELLING)):
        assert TELLING.decode() in excerpt_of(_chunks(data, size)).lines


def test_the_last_of_many_runs_counts_most() -> None:
    """A log appended to for months: the older fault must not hide the newer."""
    old = "RuntimeError: CUDA error: no kernel image is available for execution on the device\n"
    text = old + "got prompt\n" * 400 + TELLING.decode() + "\n"
    assert first(text) == "encoder-wrong"
