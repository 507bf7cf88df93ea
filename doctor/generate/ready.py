"""``klein-doctor ready``: whether a verified generation on record still holds; quick."""

from __future__ import annotations

import argparse
import datetime
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from klein_doctor.duration import seconds
from klein_doctor.exits import Exit, UsageError
from klein_doctor.model import Known, Unknown, known
from klein_doctor.output import Output
from klein_doctor.probes.interpreter import find_executable, read_interpreter
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.proven import files_now, read_entries
from klein_doctor.proven import STACK, Entry, Setup, difference, pseudonym
from klein_doctor.state import state_folder

SCHEMA = "klein-doctor/ready/1"
_NVML_S = 5.0


class Answer(NamedTuple):
    """Whether a generation holds. entry: the one that was looked at, None where there is none.

    why: what stands against it, in one line; "" where it holds.
    """

    entry: Entry | None
    age_s: int
    why: str


def ready(options: argparse.Namespace, output: Output, note: Callable[[str], None]) -> Exit:
    """Look, write one line or a document, and return the exit code.

    Raises:
        UsageError: in one line.
    """
    if options.format not in ("text", "json"):
        raise UsageError(f"--format {options.format}: ready writes text or json")
    longest = seconds(options.max_age, "--max-age")
    outside = Outside.real()
    state = state_folder(options.state_dir, outside.env)
    answer = _look(outside, options, state, longest)
    said = _said(outside, answer)
    form = "real" if options.unredacted or options.format == "text" else "public"
    text = said if options.format == "text" else json.dumps(_document(answer, outside, form))

    def write(stream: TextIO) -> None:
        stream.write(text + "\n")

    output.send(write)
    return Exit.PROBLEMS if answer.why else Exit.OK


def _look(
    outside: Outside, options: argparse.Namespace, state: Path | None, longest: float
) -> Answer:
    if state is None:
        return Answer(None, 0, "there is no state folder that could hold a record")
    entries = [each for each in read_entries(state) if _asked_for(each.setup, options)]
    if not entries:
        return Answer(None, 0, "no verified generation is on record; run klein-doctor generate")
    answers = []
    for entry in entries:
        answer = _judged(outside, entry, options.gpu, state, longest)
        if not answer.why:
            return answer
        answers.append(answer)
    return answers[0]


def _asked_for(setup: Setup, options: argparse.Namespace) -> bool:
    """Whether a setup is the one the command line is about; nothing said means any."""
    if options.route not in ("auto", setup.route):
        return False
    if options.comfyui and _place(options.comfyui) != _place(setup.comfyui or os.devnull):
        return False
    if not options.python:
        return True
    # An environment's Python is told from the place of its link: only its folder is resolved.
    asked, there = find_executable(Path(os.path.abspath(options.python))), Path(setup.python)
    return (_place(asked.parent), asked.name) == (_place(there.parent), there.name)


def _place(path: str | Path) -> str:
    return os.path.realpath(os.path.abspath(path))


def _judged(outside: Outside, entry: Entry, gpu: str, state: Path, longest: float) -> Answer:
    then = datetime.datetime.strptime(entry.when, "%Y-%m-%dT%H:%M:%SZ")
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    age = int((now - then).total_seconds())
    if longest and not 0 <= age <= longest:
        return Answer(entry, age, f"the last one is of {entry.when}, longer ago than --max-age")
    found = setup_here(outside, entry.setup, gpu, state)
    if isinstance(found, Unknown):
        return Answer(entry, age, found.reason)
    return Answer(entry, age, difference(entry.setup, found))


def setup_here(outside: Outside, then: Setup, gpu: str, state: Path | None) -> Setup | Unknown:
    """What this machine would make the same picture with, by a few targeted looks.

    Raises:
        UsageError: gpu names no card of this machine.
    """
    from klein_doctor.probes.comfyui_tree import read_version
    from klein_doctor.probes.git_state import read_commit
    from klein_doctor.probes.nvml import read_nvml
    from klein_doctor.probes.packages import read_versions
    from klein_doctor.probes.system import read_environment
    from klein_doctor.probes.torch_files import read_package
    from klein_doctor.probes.visible import read_visible

    files = files_now(then, state)  # the cheapest look, and the likeliest to differ
    python = read_interpreter(outside, then.python)
    if python.fault.real:
        return Unknown(f"the Python it was made with: {python.fault.local}")
    nvml = read_nvml(_NVML_S, outside.redactor.uuid, outside.env)
    visible = read_visible(Known(nvml), read_environment(outside), gpu)
    if isinstance(visible, Unknown):
        return visible
    chosen = next((g for g in nvml.gpus if g.nvml_index == visible.value.chosen), None)
    if chosen is None:
        return Unknown("every card is hidden from CUDA programs started from here")
    root = Path(then.comfyui) if then.comfyui else None
    versions = read_versions(python) if then.packages else {}
    packages = [(n, versions[n].version if n in versions else "") for n in STACK]
    return then._replace(
        gpu=known(chosen.name, ""),
        gpu_id=pseudonym(chosen.uuid.real),
        driver=known(nvml.driver, ""),
        torch=known(read_package(outside, python, "torch").version, ""),
        version=known(read_version(root), "") if root is not None else "",
        commit=read_commit(root) if root is not None else "",
        packages=tuple(packages) if then.packages else (),
        files=files,
    )


# --- what is said ----------------------------------------------------------------------------


def _said(outside: Outside, answer: Answer) -> str:
    if answer.why:
        return f"not ready: {outside.redactor.text(answer.why).local}"
    assert answer.entry is not None
    setup = answer.entry.setup
    way = f"ComfyUI {setup.version}".strip() if setup.route == "comfyui" else setup.route
    place = outside.redactor.path(setup.comfyui or setup.python).local
    return (
        f"ready: a picture was verified on {answer.entry.when[:10]} with {way} in {place}, "
        f"{setup.gpu}, driver {setup.driver}, torch {setup.torch}"
    )


def _document(answer: Answer, outside: Outside, form: str) -> dict[str, Any]:
    setup = answer.entry.setup if answer.entry is not None else None
    why = getattr(outside.redactor.text(answer.why), form)
    return {
        "schema": SCHEMA,
        "ready": not answer.why,
        "why": why or None,
        "created": answer.entry.when if answer.entry is not None else None,
        "age_s": answer.age_s if answer.entry is not None else None,
        "route": setup.route if setup is not None else None,
        "gpu": setup.gpu if setup is not None else None,
        "driver": setup.driver if setup is not None else None,
        "torch": setup.torch if setup is not None else None,
        "comfyui": (setup.version or None) if setup is not None else None,
    }
