"""``klein-doctor triage [FILE|-]``: what a log, a description or a picture speaks for."""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from klein_doctor.exits import Exit, UsageError
from klein_doctor.output import Output
from klein_doctor.probes.outside import Outside
from klein_doctor.recipe_messages import CERTAINTIES, load_known
from klein_doctor.report.triage import render_json, render_text
from klein_doctor.target import Aim, Wish, resolve
from klein_doctor.triage.picture import is_picture, workflows_in
from klein_doctor.triage.rank import guesses
from klein_doctor.triage.shown import shown
from klein_doctor.triage.text import Excerpt, excerpt_of
from klein_doctor.triage.values import Guess, Match

if TYPE_CHECKING:
    from klein_doctor.model import Report

_CHUNK = 1 << 20
_LARGEST_PICTURE = 128 << 20
_WORKFLOW_CHUNKS = 3  # after the first; longer than any workflow
_BEFORE_JSON = 64  # a mark of the encoding and blank lines
_TIED = 30.0  # what the facts of the machine may turn round: the first three causes of a line
# One that fails here goes before those that do not; one that passes here gives way to the next.
_FAILS, _WARNS, _FINE = 40.0, 16.0, -20.0

_FILE_NAME = re.compile(r"(?i)\.(?:log|txt|md|json|png|jpe?g|webp|out|err)$")


class _Given(NamedTuple):
    """What is to be explained. ours: it is certainly a log of this machine."""

    chunks: Iterator[bytes]
    ours: bool


def triage(options: argparse.Namespace, output: Output, note: Callable[[str], None]) -> Exit:
    """Explain what was given, write the answer, and return the exit code.

    Raises:
        UsageError: nothing to read, or a format that triage does not write.
    """
    if options.format not in ("text", "json"):
        raise UsageError(f"--format {options.format}: triage writes text or json")
    outside = Outside.real()
    given = _given(options, outside, note)
    first = next(given.chunks, b"")
    looked = ""
    if is_picture(first):
        matches, looked = _of_picture(outside, first, given.chunks, note)
    else:
        matches = _of_text(options, outside, given, first)
    form = "real" if options.unredacted else "public"
    if options.format == "json":
        if looked:
            note(looked)
        output.send(lambda stream: render_json(matches, stream, form))
    else:
        output.send(lambda stream: render_text(matches, stream, form, looked))
    return Exit.OK if matches else Exit.PROBLEMS


# --- what is read ----------------------------------------------------------------------------


def _given(options: argparse.Namespace, outside: Outside, note: Callable[[str], None]) -> _Given:
    words = options.what
    if words == ["-"]:
        if sys.stdin is None:
            raise UsageError("standard input is closed")
        return _Given(_chunks(sys.stdin.buffer), False)
    if not words:
        return _own_log(options, outside, note)
    if not any(word.strip() for word in words):
        raise UsageError("triage: those words are empty; name a file, - or what is wrong")
    path = Path(words[0])
    if len(words) == 1 and _exists(path):
        if not path.is_file() and path.is_dir():
            raise UsageError(f"{words[0]}: it is a folder; triage reads one file")
        return _Given(_opened(path), False)
    if len(words) == 1 and _is_name(words[0]):
        raise UsageError(f"{words[0]}: there is no such file")
    return _Given(iter([" ".join(words).encode("utf-8", "replace")]), False)


def _is_name(word: str) -> bool:
    """Whether a single argument means a file: a message in quotes has dots and slashes too."""
    if re.search(r"\s", word):
        return _FILE_NAME.search(word) is not None
    return re.search(r"[./\\]", word) is not None


def _own_log(options: argparse.Namespace, outside: Outside, note: Callable[[str], None]) -> _Given:
    from klein_doctor.triage.logs import newest_log

    log = newest_log(outside, resolve(outside, _wish(options)))
    if log is None:
        raise UsageError(
            "no log of ComfyUI was found; name a file, or - for standard input, or say in words "
            "what is wrong"
        )
    note(f"reading {log.said}")
    if log.path is not None:
        return _Given(_opened(log.path), True)
    return _Given(iter([log.data or b""]), True)


def _wish(options: argparse.Namespace) -> Wish:
    return Wish(options.python, options.comfyui, options.gpu, options.assume, options.route)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _opened(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            yield from _chunks(stream)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk


# --- text ------------------------------------------------------------------------------------


def _of_text(
    options: argparse.Namespace, outside: Outside, given: _Given, first: bytes
) -> list[Match]:
    start, workflow = first, None
    if b"{" in first[:_BEFORE_JSON]:
        # Read as it is: what helps in a log (escapes undone, long lines cut) would break it.
        start = b"".join((first, *itertools.islice(given.chunks, _WORKFLOW_CHUNKS)))
        workflow = _of_workflow(outside, start)
    if workflow is not None:
        return workflow
    text = excerpt_of(itertools.chain((start,), given.chunks))
    made = guesses(text, load_known())
    here: dict[str, str] = {}
    if _tied(made) and _is_of_target(options, outside, given, text):
        made, here = _untied(made, _report(options))
    redactor = outside.redactor
    return [
        Match(
            guess.check,
            shown(redactor, guess.line),
            shown(redactor, guess.cause).public,
            shown(redactor, guess.do).public,
            guess.certainty,
            guess.rank,
            here.get(guess.check, ""),
        )
        for guess in made
    ]


def _tied(made: list[Guess]) -> list[Guess]:
    """The guesses at the top that are nearly as likely as the first; none where it is alone."""
    top = [guess for guess in made if made[0].rank - guess.rank <= _TIED]
    return top if len(top) > 1 else []


def _is_of_target(
    options: argparse.Namespace, outside: Outside, given: _Given, text: Excerpt
) -> bool:
    """Whether the text is about the machine at hand: said so, or it names its folders."""
    if (
        given.ours
        or options.source
        or any(getattr(options, name) for name in ("python", "comfyui", "gpu", "assume"))
    ):
        return True
    return any(text.holds(place.lower()) for place in _places(resolve(outside, _wish(options))))


def _places(aim: Aim) -> Iterator[str]:
    python = Path(aim.target.python.real)
    if aim.target.python_from != "doctor":
        yield str(python.parent)
    if aim.found is not None:
        yield str(aim.found.root)


def _report(options: argparse.Namespace) -> Report | None:
    """The diagnosis of the machine, None where it cannot be made: triage goes on without it."""
    from klein_doctor import diagnose

    request = diagnose.Request(wish=_wish(options), state_dir=options.state_dir)
    try:
        if options.source:
            return diagnose.again(options.source, request, lambda text: None)
        return diagnose.diagnose(request)
    except UsageError:
        if options.source:
            raise
        return None


def _untied(made: list[Guess], report: Report | None) -> tuple[list[Guess], dict[str, str]]:
    """The guesses in the order the machine's facts give the likeliest; and what they are here."""
    if report is None:
        return made, {}
    tied = {guess.check for guess in _tied(made)}
    weights = {"fail": _FAILS, "warn": _WARNS, "pass": _FINE}
    here: dict[str, str] = {}
    gains: dict[str, float] = {}
    for finding in report.findings:
        verdict = finding.verdict.value
        if finding.check in tied and verdict in weights:
            gain = weights[verdict]
            if gain > gains.get(finding.check, -100.0):
                gains[finding.check] = gain
                here[finding.check] = f"{verdict}: {finding.title}"
    ranked = [guess._replace(rank=guess.rank + gains.get(guess.check, 0.0)) for guess in made]
    return _as_certain_as(sorted(ranked, key=lambda guess: -guess.rank), here), here


def _as_certain_as(made: list[Guess], here: dict[str, str]) -> list[Guess]:
    """What the machine confirms is as certain as what it overtook; what it denies, as little as
    what went ahead of it."""
    order = [CERTAINTIES.index(guess.certainty) for guess in made]
    for at, guess in enumerate(made):
        if here.get(guess.check, "").startswith("pass"):
            order[at] = max(order[: at + 1])
    for at, guess in enumerate(made):
        if here.get(guess.check, "").startswith(("fail", "warn")):
            order[at] = min(order[at:])
    return [g._replace(certainty=CERTAINTIES[grade]) for g, grade in zip(made, order, strict=True)]


# --- pictures and workflows ------------------------------------------------------------------


def _of_picture(
    outside: Outside, first: bytes, rest: Iterator[bytes], note: Callable[[str], None]
) -> tuple[list[Match], str]:
    """What speaks against it; and what its pixels are where they do not."""
    data = [first]
    size = len(first)
    for chunk in rest:
        size += len(chunk)
        if size > _LARGEST_PICTURE:
            break
        data.append(chunk)
    whole = b"".join(data)
    from klein_doctor.triage.pixels import judge_pixels

    drawn_by = _of_graphs(outside, workflows_in(whole), note)
    looked = judge_pixels(whole)
    # What is wrong with its workflow is why it looks as it does.
    known = {match.check for match in drawn_by}
    return [*drawn_by, *(m for m in looked.matches if m.check not in known)], looked.note


def _of_graphs(outside: Outside, texts: list[str], note: Callable[[str], None]) -> list[Match]:
    if not texts:
        note("this picture holds no workflow of ComfyUI")
        return []
    from klein_doctor.triage.graphs import judge_graph

    judged = [
        found for found in (judge_graph(outside, text) for text in texts) if found is not None
    ]
    if not judged:
        note("the workflow in this picture does not use FLUX.2")
        return []
    if not judged[0]:
        note("nothing speaks against the workflow in this picture: loaders, type, steps, cfg")
    return judged[0]


def _of_workflow(outside: Outside, data: bytes) -> list[Match] | None:
    """The answer where the data is a workflow file that uses FLUX.2, else None."""
    text = data.decode(json.detect_encoding(data), "replace")
    if not text.lstrip().startswith("{") or not any(
        word in text for word in ('"class_type"', '"nodes"')
    ):
        return None
    from klein_doctor.triage.graphs import judge_graph

    return judge_graph(outside, text)
