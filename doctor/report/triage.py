"""What ``triage`` prints: JSON for scripts, a few lines a cause for people."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import TextIO

from klein_doctor.triage.values import Match

SCHEMA = "klein-doctor/triage/1"
_WIDTH = 80
_LABEL = 7
_CERTAINTY = {"high": "almost certain", "medium": "likely", "low": "possible"}
_NOTHING = (
    "Nothing known here. Run klein-doctor on that machine: it also finds what leaves no message. "
    "The whole text, from the first line of the trace to the last, tells more than its end."
)


def render_json(matches: Sequence[Match], stream: TextIO, form: str) -> None:
    """The JSON document, in ASCII so that any stream can carry it."""
    rows = [
        {
            "check": match.check,
            "line": getattr(match.line, form),
            "cause": match.cause,
            "fix": match.do,
            "certainty": match.certainty,
        }
        for match in matches
    ]
    stream.write(json.dumps({"schema": SCHEMA, "matches": rows}, indent=1) + "\n")


def render_text(matches: Sequence[Match], stream: TextIO, form: str, looked: str = "") -> None:
    """The likeliest cause in full, the others in short; looked: what a picture is otherwise."""
    if not matches:
        text = f"{looked[:1].upper()}{looked[1:]}." if looked else _NOTHING
        stream.write("\n".join(textwrap.wrap(text, _WIDTH)) + "\n")
        return
    first = matches[0]
    stream.write(f"{first.check} ({_CERTAINTY[first.certainty]})\n")
    _row(stream, "Line", getattr(first.line, form))
    _row(stream, "Cause", first.cause)
    _row(stream, "Do", first.do)
    if first.here:
        _row(stream, "Here", first.here)
    _row(stream, "Next", _next(first.check))
    said = {first.cause}
    for match in matches[1:]:
        stream.write(f"Or {match.check} ({_CERTAINTY[match.certainty]})\n")
        if match.cause not in said:
            said.add(match.cause)
            _row(stream, "Line", getattr(match.line, form))
            _row(stream, "Cause", match.cause)
            _row(stream, "Do", match.do)
        if match.here:
            _row(stream, "Here", match.here)


def _next(check: str) -> str:
    from klein_doctor.registry import catalogue

    if check in catalogue() and catalogue()[check].family == "generation":
        return f"klein-doctor generate; klein-doctor explain {check}"
    if check in catalogue():
        return f"klein-doctor --select {check}; klein-doctor explain {check}"
    return "klein-doctor"


def _row(stream: TextIO, label: str, text: str) -> None:
    lines = textwrap.wrap(
        text, _WIDTH - _LABEL - 2, break_on_hyphens=False, break_long_words=True
    ) or [""]
    stream.write(f"  {label:<{_LABEL}}{lines[0]}\n")
    for line in lines[1:]:
        stream.write(f"  {'':<{_LABEL}}{line}\n")
