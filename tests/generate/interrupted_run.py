"""Runs the route with a server of its own until somebody sends SIGINT: ``PYTHON MAIN FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from watching import Watch, given, job, means

from klein_doctor.generate.comfyui_run import run
from klein_doctor.interrupts import ends_politely


def main(main_py: str, folder: str) -> None:
    watch = Watch(lambda phase, picture: print(phase, flush=True))
    with ends_politely(watch.stop):
        made = run(job(Path(folder), sys.executable), watch, given(main=main_py), means(quiet=60))
    print(made.outcome, made.kind, made.gone, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
