"""What a ComfyUI with many custom nodes and model files adds to a diagnosis; run by hand, on POSIX.

    PYTHONPATH=tests:tests/benchmarks python tests/benchmarks/comfyui_tree.py [--runs 5]

Makes trees of several sizes in a temporary folder, runs the diagnosis over each in turn after one
uncounted round, and prints medians and ranges as a Markdown table.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from diagnosis import Cost, run
from overrides import fill as fill_sources
from trees import fill, put_comfyui, put_own_python

SIZES = ((0, 0), (50, 250), (200, 1000), (800, 4000))
SOURCES = 200  # custom nodes up to which they get a hundred source files each


def main() -> None:
    """Make the trees, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        trees = {size: put_comfyui(Path(folder) / str(size[0]) / "ComfyUI") for size in SIZES}
        for (nodes, models), root in trees.items():
            put_own_python(root)
            fill(root, nodes, models)
            fill_sources(root, min(nodes, SOURCES))
        costs: dict[tuple[int, int], list[Cost]] = {size: [] for size in SIZES}
        for number in range(runs + 1):
            for size, root in trees.items():
                cost = run([sys.executable, "-m", "klein_doctor", "--comfyui", str(root)])
                if number:
                    costs[size].append(cost)
    print("| custom nodes | model files | wall s, median (range) | peak RSS MiB |")
    print("|---|---|---|---|")
    for (nodes, models), found in costs.items():
        wall = [cost.wall for cost in found]
        rss = statistics.median(cost.rss for cost in found)
        low, high = min(wall), max(wall)
        print(
            f"| {nodes} | {models} | {statistics.median(wall):.3f} ({low:.3f} to {high:.3f}) "
            f"| {rss:.1f} |"
        )


if __name__ == "__main__":
    main()
