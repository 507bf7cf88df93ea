"""Run the command as a user does: a process of its own, in a clean environment."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from prestarted import POSSIBLE, Prestarted

LIMIT_S = 30
FORMATS = ("text", "brief", "json", "markdown")
COMMAND = (sys.executable, "-m", "klein_doctor")
_DROPPED = (
    "CUDA_", "NVIDIA_", "NVML_", "KLEIN_DOCTOR_", "VIRTUAL_ENV", "CONDA_", "PYTHON", "LD_LIBRARY",
    "LC_", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "XDG_", "HF_", "APPDATA",
    "LOCALAPPDATA", "SUDO_",
)  # fmt: skip
# What an interpreter reads as it starts.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "COVERAGE_")


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

    def finding(self, check: str) -> dict[str, Any]:
        """The first finding of a check, of a JSON report."""
        found: dict[str, Any] = next(f for f in self.document["findings"] if f["check"] == check)
        return found

    @property
    def whole(self) -> bool:
        """Whether this is a JSON report on a machine in which no part of the doctor crashed."""
        faults = self.document["facts"]["faults"]
        crashed = "crashed" in self.verdicts().values()
        return faults == {"known": []} and not crashed and "Traceback" not in self.err


@cache
def _home() -> str:
    """A home with nothing in it: what stands in the real one must not decide a test."""
    place = tempfile.mkdtemp(prefix="home-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def clean_environment() -> dict[str, str]:
    """The environment without anything that steers the doctor, CUDA, Python or colours."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_DROPPED)}
    return {**kept, "HOME": _home(), "USERPROFILE": _home()}


def doctor(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    drop: tuple[str, ...] = (),
    stdin: bytes = b"",
    cwd: Path | None = None,
    before: tuple[str, ...] = (),
    limit_s: float = LIMIT_S,
) -> Ran:
    """Run klein-doctor; env is added to the clean environment, drop taken from it.

    before: a command that runs the doctor's, such as unshare.
    """
    full = {**clean_environment(), **(env or {})}
    for name in drop:
        full.pop(name, None)
    words = [str(argument) for argument in arguments]
    if before:
        return fresh([*before, *COMMAND, *words], full, stdin, cwd, limit_s)
    return doctor_in(words, full, stdin, cwd, limit_s)


def doctor_in(
    arguments: list[str], env: Mapping[str, str], stdin: bytes = b"", cwd: Path | None = None,
    limit_s: float = LIMIT_S,
) -> Ran:  # fmt: skip
    """Run klein-doctor with exactly these variables, prestarted where that is the same."""
    if not _usual(env):
        return fresh([*COMMAND, *arguments], env, stdin, cwd, limit_s)
    code, out, err = _prestarted().run(arguments, env, stdin, cwd or Path.cwd(), limit_s)
    return _ran(code, out, err)


def fresh(
    command: list[str], env: Mapping[str, str], stdin: bytes = b"", cwd: Path | None = None,
    limit_s: float = LIMIT_S,
) -> Ran:  # fmt: skip
    """Run a command in a fresh process."""
    done = subprocess.run(
        command, env=env, input=stdin, capture_output=True, timeout=limit_s, check=False, cwd=cwd
    )
    return _ran(done.returncode, done.stdout, done.stderr)


def _ran(code: int, out: bytes, err: bytes) -> Ran:
    return Ran(code, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def _usual(env: Mapping[str, str]) -> bool:
    """Whether Python starts with these variables as it does with the clean ones."""
    changed = set(env.items()) ^ set(clean_environment().items())
    steering = {name for name, _ in changed if name.startswith(_READ_AT_START)}
    return POSSIBLE and steering <= {"PYTHONDONTWRITEBYTECODE"}


@cache
def _prestarted() -> Prestarted:
    return Prestarted(clean_environment())


def shell(script: str, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Ran:
    """Run a shell script in which "$@" stands for klein-doctor with the arguments."""
    command = ["sh", "-c", script, "sh", *COMMAND, *map(str, arguments)]
    return fresh(command, {**clean_environment(), **(env or {})})


def one_line(text: str) -> bool:
    """Whether this is exactly one line from the doctor, and no traceback."""
    return text.count("\n") == 1 and text.startswith("klein-doctor: ")


def stranger() -> tuple[str, ...]:
    """A command that runs another as a user without account or privileges; () where none does.

    Root may write everywhere and has an account, so tests of either need somebody else. In a
    user namespace the files stay readable and permission bits bind.
    """
    if sys.platform != "linux":
        return ()
    command = ("unshare", "--user", "--map-user=54321", "--")
    try:
        done = subprocess.run([*command, "id", "-u"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return command if done.stdout.strip() == b"54321" else ()
