"""The diffusers route at the model's full size on a real card; by hand, a stage at a time.

    python tests/benchmarks/full_size.py make --folder /dev/shm/klein
    python tests/benchmarks/full_size.py plans --folder /dev/shm/klein --free 0 11.3 7.6
    python tests/benchmarks/full_size.py overhead --folder /dev/shm/klein --plan resident

make writes a checkout of exact sizes with random weights (16 GB). plans runs the doctor's worker
in every memory plan that --plan names (all), with as much of the card free as --free says (0: all
of it) and the rest held by another process, and holds what happened against the plan's row.
overhead compares the worker's time with that of a bare script of the same plan. Results are JSON
lines, printed as they come; nothing new is begun after --limit seconds. --miniature and
--device cpu try the stages themselves where there is no card.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from ballast import ballast

from klein_doctor.generate.diffusers_run import EVENTS, LOG, run
from klein_doctor.generate.job import Attempt, Job
from klein_doctor.generate.ready_script import Wanted, ready_script
from klein_doctor.plans import need_mib
from klein_doctor.recipe_memory import MemoryRules, Plan, load_memory
from klein_doctor.rehearse.miniature import FULL, MINIATURE, write_checkout
from klein_doctor.rows import RECIPES

PROMPT = "a red cube on a wooden table, morning light"
SEEDS = (1, 2, 1)
MIB = 1 << 20


class Card:
    """The first card by NVML; of no size where there is none."""

    def __init__(self) -> None:
        self.uuid = ""
        try:
            import pynvml

            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            self._nvml = pynvml
            self.uuid = str(pynvml.nvmlDeviceGetUUID(self._handle))
        except Exception as error:
            print(f"no NVML: {error}", file=sys.stderr)

    def memory(self) -> tuple[int, int]:
        """MiB used and free."""
        if not self.uuid:
            return -1, -1
        told = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        return told.used // MIB, told.free // MIB


class Peaks(threading.Thread):
    """The most that a process and the card held, every 20 ms until it is told to end."""

    def __init__(self, card: Card) -> None:
        super().__init__(daemon=True)
        self._card, self._over = card, threading.Event()
        self.pid = 0
        self.before, self.free = card.memory()
        self.used = self.before
        self.anonymous = self.resident = 0
        self._available = psutil.virtual_memory().available
        self.fallen = 0

    def run(self) -> None:
        while not self._over.wait(0.02):
            self.used = max(self.used, self._card.memory()[0])
            fallen = self._available - psutil.virtual_memory().available
            self.fallen = max(self.fallen, fallen // MIB)
            if self.pid:
                anonymous, resident = memory_of(self.pid)
                self.anonymous = max(self.anonymous, anonymous)
                self.resident = max(self.resident, resident)

    def told(self) -> dict[str, int]:
        """End, and what was seen, in MiB; fallen: what the machine had less, pinned included."""
        self._over.set()
        self.join()
        return {
            "peak_nvml_mib": self.used - self.before,
            "ram_anonymous_mib": self.anonymous,
            "ram_resident_mib": self.resident,
            "ram_fallen_mib": self.fallen,
        }


def memory_of(pid: int) -> tuple[int, int]:
    """Anonymous and resident MiB of a process."""
    found = {"RssAnon": 0, "VmRSS": 0}
    try:
        for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
            name, _, value = line.partition(":")
            if name in found:
                found[name] = int(value.split()[0]) // 1024
    except (OSError, ValueError):
        pass
    return found["RssAnon"], found["VmRSS"]


class Ears:
    """The Watch of a run: it says where the run is, and whose memory counts."""

    def __init__(self, peaks: Peaks, limit_s: float) -> None:
        self.stop = threading.Event()
        self._peaks, self._end = peaks, time.monotonic() + limit_s

    def began(self, phase: str, picture: int) -> None:
        print(f"  {phase} {picture}", file=sys.stderr, flush=True)

    def progress(self, done: int, total: int) -> None:
        pass

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def root(self, pid: int) -> None:
        self._peaks.pid = pid

    def left_s(self) -> float:
        return self._end - time.monotonic()


class Scene(NamedTuple):
    """What the stages have in common."""

    options: argparse.Namespace
    card: Card
    rules: MemoryRules
    end: float

    def left_s(self) -> float:
        """Until nothing new is begun."""
        return self.end - time.monotonic()

    def plans(self) -> list[Plan]:
        """The plans that were asked for, in the recipe's order."""
        asked = self.options.plan
        plans = [plan for plan in self.rules.plans if plan.route == "diffusers"]
        return [plan for plan in plans if not asked or plan.id in asked]


def make(scene: Scene) -> None:
    """Write the checkout."""
    folder = scene.options.folder
    began = time.monotonic()
    write_checkout(folder, MINIATURE if scene.options.miniature else FULL)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    say(stage="make", bytes=size, seconds=round(time.monotonic() - began, 1))


def plans(scene: Scene) -> None:
    """Each plan at each budget, the budgets outermost."""
    for free in scene.options.free:
        for plan in scene.plans():
            if scene.left_s() <= 0:
                say(stage="plans", skipped=plan.id, free_gib=free)
                continue
            with ballast(sys.executable, free), tempfile.TemporaryDirectory() as out:
                say(stage="plans", free_gib=free, **measured(scene, plan, Path(out)))


def measured(scene: Scene, plan: Plan, out: Path) -> dict[str, Any]:
    """One run of the worker against the plan's row."""
    pixels = scene.options.pixels
    device = scene.options.device
    job = Job(PROMPT, SEEDS, pixels, pixels, 4, "1.0", out, sys.executable, device, scene.card.uuid)
    peaks = Peaks(scene.card)
    peaks.start()
    began = time.monotonic()
    ears = Ears(peaks, scene.options.each)
    done = run(job, ears, folder=scene.options.folder, plan=plan, env=os.environ)
    wall = time.monotonic() - began
    seen = peaks.told()
    need = need_mib(plan, scene.rules, pixels)
    seconds = [made.seconds for made in done.made] + [-1.0] * len(SEEDS)
    return {
        "plan": plan.id,
        "sure": plan.sure,
        "free_mib": peaks.free,
        "need_mib": need,
        "promise": promise(need <= peaks.free, done),
        "outcome": done.outcome,
        "stage_of_end": done.stage,
        "kind": done.kind,
        "says": done.says,
        **seen,
        "promised_peak_mib": plan.peak_unconstrained_mib,
        "promised_ram_mib": plan.ram_mib,
        "cold_s": seconds[0],
        "warm_s": seconds[1],
        "promised_warm_s": plan.warm_ms / 1000,
        "wall_s": round(wall, 2),
        "pictures": pictures(done),
        "phases": phases(out / EVENTS),
        "versions": dict(done.versions),
        "log": "" if done.outcome == "done" else end_of(out / LOG, done),
    }


def promise(fits: bool, done: Attempt) -> str:
    """What the row said, and what came of it."""
    if done.outcome == "done":
        return "kept" if fits else "too careful"
    return "BROKEN" if fits else "as foreseen"


def pictures(done: Attempt) -> str:
    """Whether the first comes again, and differs from the second; what was not finite."""
    if len(done.made) < len(SEEDS):
        return f"{len(done.made)} made"
    first, other, again = (pixels_of(made.path) for made in done.made)
    wrong = sorted({made.not_finite for made in done.made if made.not_finite})
    words = ["repeats" if first == again else "does not repeat"]
    words += ["differs" if first != other else "does not differ", *wrong]
    return ", ".join(words)


def pixels_of(path: Path) -> bytes:
    """A picture's RGB bytes."""
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB").tobytes()


def phases(path: Path) -> list[dict[str, Any]]:
    """Seconds and torch's memory of each phase, as the worker said."""
    if not path.exists():
        return []
    lines = [line for line in path.read_text("utf-8").splitlines() if line]
    return [found for line in lines if "peak" in (found := json.loads(line))]


def end_of(path: Path, done: Attempt) -> str:
    """The last lines of what went wrong."""
    text = done.text or (path.read_text("utf-8", "replace") if path.exists() else "")
    return text[-600:]


def overhead(scene: Scene) -> None:
    """The worker and a bare script in turn, the best of --repeat each."""
    for plan in scene.plans():
        walls: dict[str, list[float]] = {"worker": [], "bare": []}
        warms: dict[str, list[float]] = {"worker": [], "bare": []}
        peak: dict[str, int] = {"worker": 0, "bare": 0}
        for _ in range(scene.options.repeat):
            for kind, call in (("bare", bare), ("worker", measured)):
                if scene.left_s() <= 0:
                    break
                with tempfile.TemporaryDirectory() as out:
                    found = call(scene, plan, Path(out))
                say(stage="overhead", by=kind, **found)
                if found["outcome"] == "done":
                    walls[kind].append(found["wall_s"])
                    warms[kind].append(found["warm_s"])
                    peak[kind] = max(peak[kind], found["peak_nvml_mib"])
        if walls["bare"] and walls["worker"]:
            ratio = min(walls["worker"]) / min(walls["bare"]) - 1
            say(stage="overhead", plan=plan.id, overhead=round(ratio, 4), walls=walls,
                warms=warms, peaks=peak)  # fmt: skip


def bare(scene: Scene, plan: Plan, out: Path) -> dict[str, Any]:
    """The script for the user, with a loop over the seeds, in a process of its own."""
    import diffusers

    options = scene.options
    wanted = Wanted(
        options.folder, diffusers.__version__, PROMPT, 1, options.pixels, options.pixels, 4, "1.0"
    )
    text = ready_script(plan, wanted, options.device)
    head, call = text.split("\nimage = pipe(", 1)
    loop = "".join(f"    {line}\n" for line in f"image = pipe({call}".splitlines())
    script = out / "bare.py"
    clock = "    print(time.monotonic() - began, flush=True)\n"
    text = f"import time\n{head}\nfor SEED in {SEEDS}:\n    began = time.monotonic()\n{loop}{clock}"
    script.write_text(text, "utf-8")
    peaks = Peaks(scene.card)
    peaks.start()
    began = time.monotonic()
    with (out / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(script)], cwd=out, stdout=subprocess.PIPE, stderr=log, text=True
        )
        peaks.pid = process.pid
        try:
            told, _ = process.communicate(timeout=options.each)
        except subprocess.TimeoutExpired:
            process.kill()
            told, _ = process.communicate()
        code = process.returncode
    wall = round(time.monotonic() - began, 2)
    outcome = "done" if code == 0 else f"exit {code}"
    tail = "" if code == 0 else (out / "log").read_text("utf-8", "replace")[-600:]
    took = [float(line) for line in told.split() if line[:1].isdigit()]
    warm = round(min(took[1:]), 3) if len(took) > 1 else -1.0
    return {"plan": plan.id, "outcome": outcome, "wall_s": wall, "warm_s": warm, **peaks.told(),
            "log": tail}  # fmt: skip


def clean(scene: Scene) -> None:
    """Take the checkout away."""
    shutil.rmtree(scene.options.folder)
    say(stage="clean")


def say(**line: object) -> None:
    """One result."""
    print(json.dumps(line), flush=True)


STAGES = {"make": make, "plans": plans, "overhead": overhead, "clean": clean}


def main() -> None:
    """Do one stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/klein"))
    parser.add_argument("--plan", nargs="+", default=[], help="ids of memory.toml")
    parser.add_argument("--free", type=float, nargs="+", default=[0.0], help="GiB")
    parser.add_argument("--pixels", type=int, default=1024)
    parser.add_argument("--limit", type=float, default=400.0, help="seconds; nothing new after it")
    parser.add_argument("--each", type=float, default=150.0, help="seconds for a run at most")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--miniature", action="store_true")
    options = parser.parse_args()
    end = time.monotonic() + options.limit
    STAGES[options.stage](Scene(options, Card(), load_memory(RECIPES), end))


if __name__ == "__main__":
    main()
