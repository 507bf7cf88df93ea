"""What triage takes for long logs; run by hand, on POSIX.

    PYTHONPATH=tests:tests/benchmarks python tests/benchmarks/triage.py [--mb 50] [--runs 5]

Writes logs of several kinds, runs the command over each in turn after one uncounted round, and
prints medians and ranges of whole processes as a Markdown table.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from diagnosis import Cost, run

TELLING = "RuntimeError: CUDA error: no kernel image is available for execution on the device\n"


def progress(number: int) -> str:
    """A line of a sampler's bar."""
    return f"[2026-11-24 10:{number % 60:02}:07] {number % 20}/20 [00:07<00:11, 1.{number}it/s]\n"


def errors(number: int) -> str:
    """A line that looks like trouble and is none that is known."""
    return f"ERROR: cannot find thing {number * 7919 % 1000003}, CUDA stream {number} failed\n"


KINDS: dict[str, Callable[[int], str]] = {"progress bars": progress, "errors nobody knows": errors}


def write(path: Path, line: Callable[[int], str], size: int) -> None:
    """A log of a size with the telling line in its middle."""
    written, number, told = 0, 0, False
    with path.open("w", encoding="utf-8") as stream:
        while written < size:
            text = "".join(line(number + each) for each in range(1000))
            number += 1000
            if not told and written > size // 2:
                text, told = TELLING + text, True
            stream.write(text)
            written += len(text)


def main() -> None:
    """Write the logs, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=50)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        logs = {kind: Path(folder) / f"{number}.log" for number, kind in enumerate(KINDS)}
        for kind, path in logs.items():
            write(path, KINDS[kind], options.mb << 20)
        short = Path(folder) / "short.log"
        short.write_text(TELLING, encoding="utf-8")
        logs = {"one line": short, **logs}
        costs: dict[str, list[Cost]] = {kind: [] for kind in logs}
        for number in range(options.runs + 1):
            for kind, path in logs.items():
                cost = run([sys.executable, "-m", "klein_doctor", "triage", str(path)])
                if number:
                    costs[kind].append(cost)
    print(f"| log of {options.mb} MB | wall s, median (range) | peak RSS MiB |\n|---|---|---|")
    for kind, found in costs.items():
        wall = [cost.wall for cost in found]
        rss = statistics.median(cost.rss for cost in found)
        low, high = min(wall), max(wall)
        print(f"| {kind} | {statistics.median(wall):.2f} ({low:.2f} to {high:.2f}) | {rss:.0f} |")


if __name__ == "__main__":
    main()
