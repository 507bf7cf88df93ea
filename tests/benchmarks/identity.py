"""What it costs to say what model files are; run by hand, on POSIX.

    PYTHONPATH=tests:tests/benchmarks python tests/benchmarks/identity.py [--runs 5] [--hash GIB]

Makes sparse files with real headers at true size in a temporary folder and prints medians and
ranges as Markdown tables. Digests are computed over files of random bytes, in turn with sha256sum.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from diagnosis import Cost, run
from model_files import names, put_real
from trees import put_klein

from klein_doctor.identity.digest import DigestStore, hash_files
from klein_doctor.identity.look import look
from klein_doctor.recipe_assets import load_assets

DOCTOR = (sys.executable, "-m", "klein_doctor", "identify")


def clocked(call: Callable[[], object]) -> float:
    """Wall seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def told(values: list[float], digits: int = 3) -> str:
    """Median and range."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def three(folder: Path, runs: int) -> None:
    """Klein's own files, in a process that has read the tables."""
    put_klein(folder)
    assets, store = load_assets(), DigestStore(None)
    print("| file | ms, median (range) |\n|---|---|")
    for path in sorted(folder.rglob("*.safetensors")):
        look(path, assets, store)
        costs = [1000 * clocked(lambda p=path: look(p, assets, store)) for _ in range(runs)]
        print(f"| {path.name} | {told(costs, 2)} |")


def many(folder: Path, runs: int) -> None:
    """Whole processes over folders of mixed files."""
    tables = names()
    print("\n| files | apparent TB | wall s, median (range) | peak RSS MiB |\n|---|---|---|---|")
    for count in (0, 250, 1000, 4000):
        place = folder / str(count)
        for number in range(max(1, count)):
            name = tables[number % len(tables)] if count else "taef2-decoder"
            put_real(place / f"set {number % 25}" / f"{number}.safetensors", name)
        size = sum(path.stat().st_size for path in place.rglob("*.safetensors")) / 1e12
        command = [*DOCTOR, str(place), "--output", os.devnull]
        costs: list[Cost] = [run(command) for _ in range(runs + 1)][1:]
        walls = told([cost.wall for cost in costs])
        peak = max(cost.rss for cost in costs)
        print(f"| {max(1, count)} | {size:.2f} | {walls} | {peak:.1f} |")


def digests(folder: Path, runs: int, gib: float) -> None:
    """sha256sum and the doctor in turn, over the same two files, read once before."""
    paths = [folder / "one", folder / "two"]
    for path in paths:
        with path.open("wb") as stream:
            for _ in range(int(gib * 64)):
                stream.write(os.urandom(16 << 20))
        os.utime(path, (1_700_000_000, 1_700_000_000))
    store = DigestStore(None)

    def ours(which: list[Path], *, anew: bool = True) -> float:
        return clocked(lambda: hash_files(which, store, lambda path, count: None, anew=anew))

    def theirs(path: Path) -> None:
        subprocess.run(["sha256sum", str(path)], capture_output=True, check=True)

    seconds: dict[str, list[float]] = {}
    for number in range(runs + 1):
        found = {
            "sha256sum, one file": clocked(
                lambda: subprocess.run(
                    ["sha256sum", str(paths[0])], capture_output=True, check=True
                )
            ),
            "the doctor, one file": ours(paths[:1]),
            "the doctor, both at once": ours(paths),
            "the doctor, both remembered": ours(paths, anew=False),
        }
        for name, cost in found.items():
            if number:
                seconds.setdefault(name, []).append(cost)
    print(f"\n| over files of {gib:g} GiB | s, median (range) | GB/s |\n|---|---|---|")
    for name, costs in seconds.items():
        amount = gib * 1.073741824 * (2 if "both" in name else 1)
        rate = f"{amount / statistics.median(costs):.2f}" if "remembered" not in name else ""
        print(f"| {name} | {told(costs, 4)} | {rate} |")
    pairs = zip(seconds["sha256sum, one file"], seconds["the doctor, one file"], strict=True)
    print(f"\nThroughput against sha256sum, run by run: {told([a / b for a, b in pairs], 2)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--hash", type=float, default=1.0, metavar="GIB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        three(Path(folder) / "three", options.runs)
        many(Path(folder) / "many", options.runs)
        digests(Path(folder), options.runs, options.hash)


if __name__ == "__main__":
    main()
