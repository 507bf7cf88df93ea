"""What the kernel proof costs: time by stage and memory of the card; run by hand.

    python tests/benchmarks/prove.py [--python PYTHON] [--gpu UUID] [--device cuda] [--runs 3]

Beside it, what importing torch alone costs in the same Python. The first run is shown apart: it
may find the files outside the cache. Prints a Markdown table; runs from a checkout as well.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import time

from checkout import importable

importable()

from klein_doctor.generate.prove import prove  # noqa: E402


def importing(python: str) -> float:
    """Seconds of a process that imports torch."""
    began = time.perf_counter()
    subprocess.run([python, "-W", "ignore", "-c", "import torch"], check=True)
    return time.perf_counter() - began


def shown(values: list[float]) -> str:
    """The first, then median and range of the rest."""
    rest = values[1:] or values
    low, high = min(rest), max(rest)
    return f"| {values[0]:.3f} | {statistics.median(rest):.3f} ({low:.3f} to {high:.3f}) |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="a Python with torch")
    parser.add_argument("--gpu", default="", help="the card's UUID")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    stages: dict[str, list[float]] = {}
    tests: dict[str, list[float]] = {}
    whole, alone, peaks = [], [], []
    for _ in range(options.runs):
        begun: list[tuple[str, float]] = []
        began = time.monotonic()
        proof = prove(
            options.python,
            gpu=options.gpu,
            device=options.device,
            told=lambda stage, begun=begun: begun.append((stage, time.monotonic())),  # type: ignore[misc]
        )
        begun = [("start", began), *begun, ("", time.monotonic())]
        for (stage, at), (_, then) in itertools.pairwise(begun):
            if stage in ("start", "import", "context"):
                stages.setdefault(stage, []).append(then - at)
        for test in proof.tests:
            tests.setdefault(test.name, []).append(test.seconds)
        whole.append(proof.seconds)
        peaks.append(proof.peak_mib)
        alone.append(importing(options.python))
    print(f"{proof.device}, torch {proof.torch}: {proof.outcome} {proof.says}".rstrip())
    print(f"attention: {proof.attention or '-'}; the card's memory: {max(peaks)} MiB at the most\n")
    print("| | first s | later s, median (range) |\n|---|---|---|")
    for name, values in {**stages, **tests}.items():
        print(f"| {name} {shown(values)}")
    print(f"| the whole proof {shown(whole)}")
    print(f"| import torch, alone {shown(alone)}\n")
    print("| kernel | outcome | relative error | tolerance |\n|---|---|---|---|")
    for test in proof.tests:
        error = "-" if test.error is None else f"{test.error:.5f}"
        print(f"| {test.name} | {test.outcome} {test.says} | {error} | {test.tolerance:g} |")


if __name__ == "__main__":
    main()
