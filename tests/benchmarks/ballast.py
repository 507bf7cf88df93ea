"""Which way of running the model is named when the card is partly taken; run by hand on a GPU.

    python tests/benchmarks/ballast.py --target PYTHON --free 11.3 7.6 3.5

A process of the target's torch holds memory until only so many GiB are free, as another program
would; then the diagnosis runs for both routes. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

# Takes memory in pieces until the driver says that no more than the wanted rest is free.
_HOLD = """
import sys, torch
wanted = float(sys.argv[1]) * 2**30
torch.zeros(1, device="cuda")
held = []
while (over := torch.cuda.mem_get_info()[0] - wanted) > 2**22:
    held.append(torch.empty(int(min(over, 2**30)), dtype=torch.uint8, device="cuda"))
print("holding", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def ballast(target: str, free_gib: float) -> Iterator[None]:
    """Another process holds memory of the card while so many GiB stay free; 0: none does."""
    if not free_gib:
        yield
        return
    with subprocess.Popen(
        [target, "-c", _HOLD, str(free_gib)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None and holder.stdin is not None
        try:
            if holder.stdout.readline().strip() != "holding":
                raise SystemExit("the ballast did not hold")
            yield
        finally:
            holder.stdin.close()


def judged(target: str, route: str) -> dict[str, Any]:
    """The JSON report of one route."""
    command = [sys.executable, "-m", "klein_doctor", "--python", target, "--route", route]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def row(target: str, wanted: float, route: str) -> str:
    """One line of the table."""
    report = judged(target, route)
    (gpu,) = report["facts"]["nvml"]["known"]["gpus"]
    free = gpu["free_bytes"]["known"] / 2**30
    said = [f for f in report["findings"] if f["check"] in ("vram-busy", "ram-too-small")]
    told = "; ".join(f"{f['check']} {f['verdict']}: {f['title']}" for f in said)
    plan = next((f["evidence"].get("plan") for f in said if "plan" in f["evidence"]), None)
    return f"| {wanted:g} | {free:.2f} | {route} | {plan or '-'} | {told} |"


def main() -> None:
    """Hold, judge, let go, for each amount."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="a Python with torch for the card")
    parser.add_argument("--free", type=float, nargs="+", default=[11.3, 7.6])
    options = parser.parse_args()
    print("| GiB wanted free | by NVML | route | plan | said |")
    print("|---|---|---|---|---|")
    for wanted in options.free:
        with ballast(options.target, wanted):
            for route in ("comfyui", "diffusers"):
                print(row(options.target, wanted, route), flush=True)


if __name__ == "__main__":
    main()
