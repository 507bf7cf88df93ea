"""What looking for attention overrides costs, beside grep over the same files; run by hand.

    PYTHONPATH=tests python tests/benchmarks/overrides.py [--nodes 200] [--runs 5]

Fills a ComfyUI with custom nodes made of this Python's own modules, a hundred files each. One file
of a node holds a telling word: every second of these asks for an implementation and is parsed, the
others only compare. Search and grep run in turn (A B A B ...) after one uncounted round, so that
the files are in memory; prints medians and ranges as a Markdown table, and the ratio.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from trees import put_comfyui

from klein_doctor.probes.outside import Outside
from klein_doctor.probes.override_words import TELLING
from klein_doctor.probes.overrides import read_overrides

FILES = 100  # of a node
LARGEST = 60_000  # bytes of a module that is taken
FORCES = b'\nATTN = "flash_attention_2"\nX.from_pretrained("a/b", attn_implementation=ATTN)\n'
COMPARES = b'\nif config._attn_implementation == "flash_attention_2":\n    pass\n'


def fill(root: Path, nodes: int) -> tuple[int, int]:
    """Custom nodes of real sources; returns how many files and bytes."""
    found = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    texts = [path.read_bytes() for path in found if path.stat().st_size <= LARGEST]
    modules = itertools.cycle(texts)
    size = 0
    for number in range(nodes):
        for file in range(FILES):
            text = next(modules)
            if file == number % FILES:
                text += FORCES if number % 2 else COMPARES
            folder = root / "custom_nodes" / f"ComfyUI-Node-{number:03}" / f"part{file // 10}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"module{file}.py").write_bytes(text)
            size += len(text)
    return nodes * FILES, size


def timed(call: Callable[[], object]) -> float:
    """Wall seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Make the tree, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = put_comfyui(Path(folder) / "ComfyUI")
        files, size = fill(root, options.nodes)
        words = [part for word in TELLING for part in ("-e", word.decode())]
        grep = ["grep", "-rF", *words, "--include=*.py", str(root)]
        outside, nodes = Outside.real(), root / "custom_nodes"

        def search() -> None:
            result = read_overrides(outside, [root], (), nodes)
            if not result.complete or len(result.overrides) != options.nodes // 2:
                raise SystemExit(f"it found {len(result.overrides)} and was not to")

        def grep_it() -> None:
            subprocess.run(grep, stdout=subprocess.DEVNULL, check=True)

        rounds = [(timed(search), timed(grep_it)) for _ in range(options.runs + 1)][1:]
    print(f"Python {platform.python_version()}; {files:,} files, {size / 1e6:.0f} MB")
    print("| | wall s, median (range) |\n|---|---|")
    for name, values in zip(("search", "grep -rF"), zip(*rounds, strict=True), strict=True):
        low, high = min(values), max(values)
        print(f"| {name} | {statistics.median(values):.3f} ({low:.3f} to {high:.3f}) |")
    print(f"| ratio, run by run | {statistics.median(ours / its for ours, its in rounds):.2f} |")


if __name__ == "__main__":
    main()
