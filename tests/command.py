"""Run the installed command as a user does: a process of its own, in a clean environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

LIMIT_S = 60
_DROPPED = ("CUDA_", "NVIDIA_", "KLEIN_DOCTOR_", "VIRTUAL_ENV", "CONDA_", "PYTHON", "LD_LIBRARY")


class Ran(NamedTuple):
    """What a run left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as the JSON document it must be."""
        data: dict[str, Any] = json.loads(self.out)
        return data

    def verdicts(self) -> dict[str, str]:
        """Verdict by check, of a JSON report."""
        return {item["check"]: item["verdict"] for item in self.document["findings"]}


def clean_environment() -> dict[str, str]:
    """The environment without anything that steers the doctor or CUDA."""
    return {k: v for k, v in os.environ.items() if not k.startswith(_DROPPED)}


def doctor(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    drop: tuple[str, ...] = (),
    stdin: bytes = b"",
    cwd: Path | None = None,
) -> Ran:
    """Run klein-doctor; env is added to the clean environment, drop taken from it."""
    full = {**clean_environment(), **(env or {})}
    for name in drop:
        full.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-m", "klein_doctor", *map(str, arguments)],
        env=full, input=stdin, capture_output=True, timeout=LIMIT_S, check=False, cwd=cwd,
    )  # fmt: skip
    return Ran(
        done.returncode,
        done.stdout.decode("utf-8", "replace"),
        done.stderr.decode("utf-8", "replace"),
    )


def one_line(text: str) -> bool:
    """Whether this is exactly one line from the doctor, and no traceback."""
    return text.count("\n") == 1 and text.startswith("klein-doctor: ")
