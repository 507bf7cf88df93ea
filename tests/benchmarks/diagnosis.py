"""What a diagnosis costs, beside what importing torch costs; run by hand.

    python tests/benchmarks/diagnosis.py --target PYTHON [--runs 7]

Runs the commands in turn (A B C A B C ...), after one uncounted round, and prints medians, ranges
and ratios as a Markdown table. Memory is the largest single process of a command; the NVML child
of the doctor is a command of its own in the table, because the system counts a tree's processes
one by one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import klein_doctor.probes.nvml_child as child


class Cost(NamedTuple):
    """One run: wall seconds, CPU seconds of the command and its children, peak RSS in MiB."""

    wall: float
    cpu: float
    rss: float


def run(command: list[str], stdin: bytes) -> Cost:
    """Run a command to its end; its output is thrown away."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def commands(target: str) -> dict[str, list[str]]:
    """What is compared: the doctor in this interpreter, torch in the target."""
    doctor = [sys.executable, "-m", "klein_doctor"]
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "klein-doctor --version": [*doctor, "--version"],
        "klein-doctor --help": [*doctor, "--help"],
        "klein-doctor explain": [*doctor, "explain", "gpu-not-found"],
        "klein-doctor": [*doctor, "--python", target],
        "its NVML child alone": [sys.executable, "-I", str(Path(child.__file__))],
        "import torch": [target, "-c", "import torch"],
        "torch.utils.collect_env": [target, "-m", "torch.utils.collect_env"],
    }


def measure(target: str, runs: int) -> dict[str, list[Cost]]:
    """Interleaved runs, the first round uncounted."""
    paths = json.dumps({"path": sys.path}).encode() + b"\n"
    costs: dict[str, list[Cost]] = {name: [] for name in commands(target)}
    for number in range(runs + 1):
        for name, command in commands(target).items():
            cost = run(command, paths if "child" in name else b"")
            if number:
                costs[name].append(cost)
    return costs


def machine(target: str) -> str:
    """The machine, the Pythons and torch in one line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    torch = subprocess.run(
        [target, "-W", "ignore", "-c", "import torch; print(torch.__version__)"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch}"


def table(costs: dict[str, list[Cost]]) -> str:
    """Markdown: a row per command, then the ratios."""
    lines = ["| command | wall s, median (range) | CPU s | peak RSS MiB |", "|---|---|---|---|"]
    middle = {}
    for name, found in costs.items():
        wall, cpu, rss = (statistics.median(values) for values in zip(*found, strict=True))
        middle[name] = wall
        low, high = min(c.wall for c in found), max(c.wall for c in found)
        lines.append(f"| {name} | {wall:.3f} ({low:.3f} to {high:.3f}) | {cpu:.3f} | {rss:.1f} |")
    lines += ["", "| ratio of medians, run by run | median | bound |", "|---|---|---|"]
    for above, below, bound in (
        ("klein-doctor", "import torch", "0.20"),
        ("klein-doctor", "torch.utils.collect_env", ""),
        ("klein-doctor --version", "python -c pass", "4"),
        ("klein-doctor --help", "python -c pass", "4"),
        ("klein-doctor explain", "python -c pass", "8"),
    ):
        pairs = zip(costs[above], costs[below], strict=True)
        ratio = statistics.median(a.wall / b.wall for a, b in pairs)
        lines.append(f"| {above} / {below} | {ratio:.2f} | {bound} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="a Python with torch")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    costs = measure(options.target, options.runs)
    print(machine(options.target), f"; {options.runs} runs in turn after one round", sep="")
    print()
    print(table(costs))


if __name__ == "__main__":
    main()
