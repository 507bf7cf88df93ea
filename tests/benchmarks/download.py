"""A verified download beside the Hub's own client and curl, from one server on loopback.

Run by hand: ``python tests/benchmarks/download.py [GB] [ROUNDS]``. Every client gets the same file
from the same process, in turn; the table has medians, the ratio to the fastest, and peak memory.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from klein_doctor.rehearse.hub import Hub, HubFile, Repository

REVISION = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "somebody/large"
NAME = "flux2-vae.safetensors"
_HF = (
    "import sys, huggingface_hub as h; h.hf_hub_download(sys.argv[1], sys.argv[2], "
    "revision=sys.argv[3], local_dir=sys.argv[4], token=False)"
)
_RECIPE = """\
[sources]
here = "made for this"
[[repository]]
id = "large"
name = "{repository}"
revision = "{revision}"
license = "Apache-2.0"
source = "here"
as_of = "2026-11-24"
[[asset]]
route = "comfyui"
role = "vae"
repository = "large"
path = "{name}"
bytes = {size}
sha256 = "{sha256}"
source = "here"
as_of = "2026-11-24"
"""


def main() -> None:
    """Measure and print the table."""
    size = int(float(sys.argv[1]) * 1e9) if len(sys.argv) > 1 else 2_000_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(folder), size, rounds)


def _measure(top: Path, size: int, rounds: int) -> None:
    data = top / "data"
    with data.open("wb") as stream:
        for _ in range(size >> 20):
            stream.write(os.urandom(1 << 20))
    file = HubFile(data)
    recipe = top / "recipe"
    recipe.mkdir()
    (recipe / "downloads.toml").write_text(
        _RECIPE.format(
            repository=REPOSITORY, revision=REVISION, name=NAME, size=file.size, sha256=file.sha256
        )
    )
    out = top / "out"
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(data), file.sha256], stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        endpoint = server.stdout.readline().decode().strip()
        url = f"{endpoint}/{REPOSITORY}/resolve/{REVISION}/{NAME}"
        clients: dict[str, Callable[[], list[str]]] = {
            "curl": lambda: ["curl", "-sSfL", "-o", str(out / "x"), url],
            "hf_hub_download": lambda: [
                sys.executable, "-c", _HF, REPOSITORY, NAME, REVISION, str(out),
            ],
            "klein-doctor": lambda: [
                sys.executable, "-m", "klein_doctor", "download", "--only", "vae", "--recipe",
                str(recipe), "--dest", str(out), "--state-dir", str(top / "state"),
                "--progress", "plain",
            ],
        }  # fmt: skip
        _table(clients, out, endpoint, top, rounds, file.size)
    finally:
        server.terminate()
        server.wait()


def _table(
    clients: dict[str, Callable[[], list[str]]], out: Path, endpoint: str, top: Path, rounds: int,
    size: int,
) -> None:  # fmt: skip
    environment = {
        **os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HOME": str(top),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    rates: dict[str, list[float]] = {name: [] for name in clients}
    memory: dict[str, int] = dict.fromkeys(clients, 0)
    for _ in range(rounds):
        for name, command in clients.items():
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            os.sync()
            begun = time.perf_counter()
            process = subprocess.Popen(
                command(), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - begun
            assert process.returncode == 0, name
            rates[name].append(size / seconds / 1e6)
            memory[name] = max(memory[name], usage.ru_maxrss >> 10)
    ours = statistics.median(rates["klein-doctor"])
    print("| client | MB/s, median (least to most) | klein-doctor to it | peak MiB |")
    print("|---|---|---|---|")
    for name, found in rates.items():
        middle = statistics.median(found)
        print(
            f"| {name} | {middle:.0f} ({min(found):.0f}-{max(found):.0f}) "
            f"| {ours / middle:.2f} | {memory[name]} |"
        )


def _serve(data: Path, sha256: str) -> None:
    with Hub() as hub:
        files = {NAME: HubFile(data, sha256=sha256)}
        hub.add(Repository(REPOSITORY, REVISION, files))
        print(hub.endpoint, flush=True)
        while True:
            time.sleep(60)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        _serve(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
