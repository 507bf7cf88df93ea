"""What a diagnosis costs, beside what importing torch costs; run by hand, on POSIX.

    python tests/benchmarks/diagnosis.py --target PYTHON [--runs 7]

Runs the commands in turn (A B C A B C ...), after one uncounted round, and prints medians, ranges
and ratios as a Markdown table. Memory is the largest single process of a command, those it waits
for included.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

# A process starts out with the peak memory of the one that made it, so a bare Python makes it.
_LAUNCHER = """
import os, sys, time
command = sys.argv[1:]
answers, pipe = os.pipe()
nowhere = os.open(os.devnull, os.O_RDWR)
actions = [(os.POSIX_SPAWN_DUP2, old, new) for old, new in ((nowhere, 0), (pipe, 1), (nowhere, 2))]
start = time.perf_counter()
process = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
_, status, usage = os.wait4(process, 0)
wall = time.perf_counter() - start
print(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""


class Cost(NamedTuple):
    """One run: wall seconds, CPU seconds of the command and its children, peak RSS in MiB."""

    wall: float
    cpu: float
    rss: float


def run(command: list[str]) -> Cost:
    """Run a command to its end, its output into a pipe that nobody reads."""
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
    with tempfile.TemporaryDirectory() as empty:  # what lies where it is started is judged, too
        told = subprocess.run(
            launcher, capture_output=True, text=True, check=True, cwd=empty
        ).stdout.split()
    wall, cpu, peak, code = map(float, told)
    if code not in (0, 1, 3):
        raise SystemExit(f"{' '.join(command)} ended with {code:g}")
    return Cost(wall, cpu, peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))


def commands(target: str) -> dict[str, list[str]]:
    """What is compared: the doctor in this interpreter, torch in the target."""
    doctor = [sys.executable, "-m", "klein_doctor"]
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "klein-doctor --version": [*doctor, "--version"],
        "klein-doctor --help": [*doctor, "--help"],
        "klein-doctor explain": [*doctor, "explain", "gpu-not-found"],
        "klein-doctor": [*doctor, "--python", target],
        "import torch": [target, "-c", "import torch"],
        "torch.utils.collect_env": [target, "-m", "torch.utils.collect_env"],
    }


def measure(target: str, runs: int) -> dict[str, list[Cost]]:
    """Interleaved runs, the first round uncounted."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands(target)}
    for number in range(runs + 1):
        for name, command in commands(target).items():
            cost = run(command)
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
    for name, found in costs.items():
        wall, cpu, rss = (
            f"{statistics.median(values):.{digits}f} "
            f"({min(values):.{digits}f} to {max(values):.{digits}f})"
            for values, digits in zip(zip(*found, strict=True), (3, 3, 1), strict=True)
        )
        lines.append(f"| {name} | {wall} | {cpu} | {rss} |")
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
