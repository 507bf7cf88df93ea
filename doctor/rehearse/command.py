"""``rehearse``: the whole chain on a made-up machine, in a folder of its own, without a network."""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from klein_doctor import __version__
from klein_doctor.exits import Exit, UsageError
from klein_doctor.output import Output
from klein_doctor.rehearse.run import Act, Rehearsal, janitor, teller
from klein_doctor.wrapping import wrap

SCHEMA = "klein-doctor/rehearsal/1"
_MARKS = {True: "ok", False: "FAILED", None: "left out"}


def rehearse(options: argparse.Namespace, output: Output, note: Callable[[str], None]) -> Exit:
    """Run it; exit code 0 where all that could be tried went well, 1 where something did not.

    Raises:
        UsageError: in one line.
    """
    if options.format not in ("text", "json"):
        raise UsageError(f"--format {options.format}: rehearse has text and json")
    narrated = options.format == "text" and output.path is None
    try:
        top = Path(tempfile.mkdtemp(prefix="klein-doctor-rehearsal-"))
    except OSError as error:
        raise UsageError(f"no scratch folder can be made: {error.strerror or error}") from error
    keeper = None if options.keep else janitor(top)
    seen: list[Act] = []

    def told(act: Act) -> None:
        seen.append(act)
        if narrated:
            output.send(lambda stream: _narrate(act, len(seen), stream))

    try:
        if narrated:
            output.send(_introduce)
        Rehearsal(top, told, teller(keeper.stdin if keeper else None)).all()
    finally:
        if keeper is not None:
            keeper.communicate(timeout=60)
    code = Exit.PROBLEMS if any(act.ok is False for act in seen) else Exit.OK
    if narrated:
        output.send(lambda stream: _end(seen, top, options.keep, stream))
    elif options.format == "json":
        output.send(lambda stream: _document(seen, top, options.keep, code, stream))
    else:
        output.send(lambda stream: _whole(seen, top, options.keep, stream))
    return code


_INTRODUCTION = (
    "Rehearsal: a made-up machine in a folder of its own. Nothing of yours is\n"
    "touched, no network is used, no card is needed; the card is assumed. Model\n"
    "files are miniatures.\n"
)


def _introduce(stream: TextIO) -> None:
    stream.write(_INTRODUCTION)


def _narrate(act: Act, number: int, stream: TextIO) -> None:
    stream.write(f"{number}. {act.name}: {act.title}  [{_MARKS[act.ok]}, {act.seconds:.1f} s]\n")
    for line in act.lines:
        for part in wrap(line, first=" " * 5, rest=" " * 7):
            stream.write(part + "\n")
    for line in wrap(act.says, first=" " * 3, rest=" " * 3):
        stream.write(line + "\n")


def _end(acts: list[Act], top: Path, keep: bool, stream: TextIO) -> None:
    failed = [act.name for act in acts if act.ok is False]
    left = [act.name for act in acts if act.ok is None]
    text = "Rehearsal: the chain works on this machine."
    if failed:
        text = f"Rehearsal: {', '.join(failed)} did not work; please report it with --format json."
    elif left:
        text = (
            f"Rehearsal: the chain works as far as it could be tried; left out: {', '.join(left)}."
        )
    text += f" The folder is {top}." if keep else " The folder is gone."
    for line in wrap(text):
        stream.write(line + "\n")


def _whole(acts: list[Act], top: Path, keep: bool, stream: TextIO) -> None:
    _introduce(stream)
    for number, act in enumerate(acts, 1):
        _narrate(act, number, stream)
    _end(acts, top, keep, stream)


def _document(acts: list[Act], top: Path, keep: bool, code: Exit, stream: TextIO) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    rows = [
        {**act._asdict(), "seconds": round(act.seconds, 2), "lines": list(act.lines)}
        for act in acts
    ]
    data = {
        "schema": SCHEMA,
        "created": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "rehearsal": True,
        "doctor": __version__,
        "acts": rows,
        "left_out": [act.name for act in acts if act.ok is None],
        "folder": str(top) if keep else None,
        "exit_code": int(code),
    }
    stream.write(json.dumps(data, indent=1) + "\n")
