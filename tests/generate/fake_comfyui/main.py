"""Poses as ComfyUI's main.py; FAKE_COMFYUI tells what goes wrong with it.

ok · slow (answers after a moment) · early (ends at once) · hangs (never answers) · taken (somebody
has its port, the first time) · killed (ends in the middle of a job) · child (starts one more).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from comfyui_double import Double, jobs


def main() -> int:
    mode, argv = os.environ.get("FAKE_COMFYUI", "ok"), sys.argv
    port = int(argv[argv.index("--port") + 1])
    scratch = Path(os.environ["FAKE_SCRATCH"])
    with open(scratch / "pids", "a", encoding="utf-8") as pids:
        pids.write(f"{os.getpid()}\n")
        if mode == "child":
            sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
            pids.write(f"{subprocess.Popen(sleep).pid}\n")
    (scratch / "argv").write_text("\n".join(argv), encoding="utf-8")
    names = [name for name in os.environ if "proxy" in name.lower() or name.startswith("CUDA")]
    (scratch / "env").write_text("\n".join(f"{n}={os.environ[n]}" for n in names), encoding="utf-8")
    print("Starting server", "x" * 100_000, flush=True)
    if mode == "early":
        print("RuntimeError: operator torchvision::nms does not exist", flush=True)
        return 1
    if mode == "taken" and not (scratch / "taken").exists():
        (scratch / "taken").touch()
        print(f"[ERROR] Port {port} is already in use on address 127.0.0.1.", flush=True)
        return 1
    if mode == "hangs":
        time.sleep(600)
    time.sleep(1.0 if mode == "slow" else 0)
    stops = 6 if mode in ("killed", "stuck") else None
    with Double(jobs("success", 3), port=port, argv=argv, stops_at=stops) as double:
        print("clip missing: ['text_model.layers.1']", flush=True)
        while mode != "killed" or not double.running:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
