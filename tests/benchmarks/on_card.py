"""The kernel proof and the sampling of memory on a real card, faults put in; run by hand.

    python tests/benchmarks/on_card.py [--python PYTHON] [--runs 2] > on_card.json

Needs an NVIDIA card with some GiB free, a Python with torch for it, nvidia-ml-py, psutil and
packaging; runs from a checkout. Prints one JSON document: each part says what came out and whether
that is what was expected. Exit code 0 where all of it is, else 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pynvml
from checkout import importable

importable()

from klein_doctor.codec import encode  # noqa: E402
from klein_doctor.generate.prove import prove  # noqa: E402
from klein_doctor.generate.sampling import Sampler  # noqa: E402

MIB = 1 << 20
# Takes memory of the card until no more than so many MiB are free, then waits.
BALLAST = """
import sys, torch
wanted = int(sys.argv[1]) << 20
torch.zeros(1, device="cuda")
held = []
while (over := torch.cuda.mem_get_info()[0] - wanted) > 2 << 20:
    held.append(torch.empty(int(min(over, 1 << 30)), dtype=torch.uint8, device="cuda"))
print("held", flush=True)
sys.stdin.read()
"""
# One after the other: nothing, 1 GiB of the card, 512 MiB pageable, 1 GiB pinned.
STEPS = """
import sys, torch
print("loaded", flush=True); sys.stdin.readline()
card = torch.ones(1 << 30, dtype=torch.uint8, device="cuda"); torch.cuda.synchronize()
print("card", flush=True); sys.stdin.readline()
pageable = torch.ones(512 << 20, dtype=torch.uint8)
print("pageable", flush=True); sys.stdin.readline()
pinned = torch.ones(1 << 30, dtype=torch.uint8, pin_memory=True)
print("pinned", flush=True); sys.stdin.readline()
"""
NO = "def no(*a, **k):\n    "
# What is changed in torch once it is loaded; what the proof must then say.
FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "math attention alone": (
        "for name in ('flash', 'mem_efficient', 'cudnn'):\n"
        "    getattr(torch.backends.cuda, f'enable_{name}_sdp')(False)",
        {"outcome": "ok", "attention": "math"},
    ),
    "an assertion on the card": (
        f"{NO}return torch.zeros(4, device='cuda')[torch.full((8,), 9, device='cuda')]\n"
        "torch.nn.functional.conv2d = no",
        {"outcome": "wrong", "stage": "convolution"},
    ),
    "a crash in attention": (
        f"{NO}import ctypes; ctypes.string_at(0)\n"
        "torch.nn.functional.scaled_dot_product_attention = no",
        {"outcome": "crashed", "stage": "attention", "signal": 11},
    ),
    "a hang in a convolution": (
        f"{NO}import time; time.sleep(600)\ntorch.nn.functional.conv2d = no",
        {"outcome": "hung", "stage": "convolution"},
    ),
    "wrong numbers": (
        "mm = torch._scaled_mm\ntorch._scaled_mm = lambda *a, **k: mm(*a, **k) * 1.02",
        {"outcome": "wrong", "stage": "fp8 matmul"},
    ),
}


def changed(folder: Path, lines: str) -> dict[str, str]:
    """An environment in which torch is another once it is loaded."""
    inner = "".join(f"        {line}\n" for line in lines.splitlines())
    (folder / "sitecustomize.py").write_text(
        "import importlib\nload = importlib.import_module\n"
        "def import_module(name, package=None):\n    torch = load(name, package)\n"
        f"    if name == 'torch':\n{inner}    return torch\n"
        "importlib.import_module = import_module\n",
        encoding="utf-8",
    )
    return {**os.environ, "PYTHONPATH": str(folder)}


class Card:
    """The first card, by NVML."""

    def __init__(self) -> None:
        pynvml.nvmlInit()
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        uuid = pynvml.nvmlDeviceGetUUID(self._handle)
        self.uuid = uuid.decode() if isinstance(uuid, bytes) else uuid

    def memory(self) -> dict[str, int]:
        """MiB."""
        info = pynvml.nvmlDeviceGetMemoryInfo(self._handle, version=pynvml.nvmlMemory_v2)
        return {name: getattr(info, name) // MIB for name in ("total", "used", "free", "reserved")}

    def describe(self) -> dict[str, Any]:
        driver = pynvml.nvmlSystemGetDriverVersion()
        name = pynvml.nvmlDeviceGetName(self._handle)
        return {"driver": str(driver), "name": str(name), "memory_mib": self.memory()}


@contextlib.contextmanager
def talking(python: str, source: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """A process of the target, ended with the block."""
    process = subprocess.Popen(
        [python, "-c", source, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def proven(python: str, card: Card, wanted: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One proof, what it said, and whether that is what was expected."""
    before = len(psutil.Process().children(recursive=True))
    proof = prove(python, gpu=more.pop("gpu", card.uuid), **more)
    said: dict[str, Any] = encode(proof, "public")
    left = len(psutil.Process().children(recursive=True)) - before
    fits = all(said[key] == value for key, value in wanted.items()) and left <= 0
    return {"expected": wanted, "as_expected": fits, "processes_left": left, "proof": said}


def proofs(python: str, card: Card, runs: int) -> dict[str, Any]:
    """Healthy ones, then such with a fault put in."""
    found = {
        f"healthy {number}": proven(python, card, {"outcome": "ok"})
        for number in range(1, runs + 1)
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, (lines, wanted) in FAULTS.items():
            env = changed(Path(folder), lines)
            limits = {"kernel": 10.0} if "hang" in name else None
            found[name] = proven(python, card, wanted, env=env, limits=limits)
    found["no such card"] = proven(python, card, {"outcome": "no-cuda"}, gpu="GPU-none")
    with talking(python, BALLAST, "700") as ballast:
        line(ballast)
        wanted = {"outcome": "no-memory", "stage": "context"}
        found["too little memory, seen on the way"] = proven(python, card, wanted)
        wanted = {"outcome": "no-memory", "stage": "start"}
        free = card.memory()["free"]
        found["too little memory, known before"] = proven(python, card, wanted, free_mib=free)
    with talking(python, BALLAST, "930") as ballast:
        line(ballast)
        wanted = {"outcome": "ok"}
        found["just enough memory"] = proven(python, card, wanted, free_mib=card.memory()["free"])
    return found


def sampled(python: str, card: Card) -> dict[str, Any]:
    """What the sampler saw of a process that takes memory step by step, and what it costs."""
    base = card.memory()
    seen: dict[str, Any] = {}
    with Sampler(card.uuid) as sampler, talking(python, STEPS) as process:
        assert sampler._process is not None and process.stdin is not None
        child = psutil.Process(sampler._process.pid)
        sampler.root(process.pid)
        began, spent = time.monotonic(), sum(child.cpu_times()[:2])
        for _ in range(4):
            step = line(process)
            time.sleep(1.5)
            last = sampler.samples()[-1]
            rss = psutil.Process(process.pid).memory_info()
            seen[step] = {
                "sample": last._asdict(),
                "nvml": card.memory(),
                "status": memory_of(process.pid),
                "rss_mib": rss.rss // MIB,
                "shared_mib": rss.shared // MIB,
            }
            process.stdin.write("\n")
            process.stdin.flush()
        seconds, spent = time.monotonic() - began, sum(child.cpu_times()[:2]) - spent
        own = [pid for pid in pids_on(card) if pid == child.pid]
    times = [sample.at_s for sample in sampler.samples()]
    took = seen["card"]["sample"]["ours_mib"]
    return {
        "as_expected": 1024 <= took <= 2048 and not own,
        "by_process": sampler.by_process,
        "fault": sampler.fault,
        "base": base,
        "steps": seen,
        "samples": len(times),
        "per_second": round(len(times) / (times[-1] - times[0]), 1),
        "cpu_share": round(spent / seconds, 4),
        "sampler_is_on_the_card": bool(own),
    }


def memory_of(pid: int) -> dict[str, int]:
    """The lines of /proc/PID/status that tell kinds of memory, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    rows = [line.split() for line in lines if line.startswith(("Rss", "VmLck", "VmPin", "VmRSS"))]
    return {row[0].rstrip(":"): int(row[1]) >> 10 for row in rows}


def pids_on(card: Card) -> list[int]:
    listed = pynvml.nvmlDeviceGetComputeRunningProcesses(card._handle)
    return [process.pid for process in listed]


def part(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A part's answer; its failure does not cost the others."""
    try:
        return work()
    except Exception:
        return {"as_expected": False, "failed": traceback.format_exc()}


def main() -> int:
    """Run all parts and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="a Python with torch")
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    card = Card()
    found = {
        "card": card.describe(),
        "sampler": part(lambda: sampled(options.python, card)),
        "proofs": part(lambda: proofs(options.python, card, options.runs)),
    }
    print(json.dumps(found, indent=1))
    groups = [found["sampler"], *found["proofs"].values()]
    return 0 if all(not isinstance(g, dict) or g.get("as_expected", True) for g in groups) else 1


if __name__ == "__main__":
    sys.exit(main())
