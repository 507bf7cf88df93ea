"""``--from``: facts out of a JSON report, or out of the JSON block of a pasted Markdown report."""

from __future__ import annotations

import codecs
import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from klein_doctor.codec import DecodeError, decode
from klein_doctor.exits import UsageError
from klein_doctor.model import Facts, Known, Target
from klein_doctor.report.document import SCHEMA, seal

MAX_BYTES = 4 << 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CREATED = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")


class ReplayError(UsageError):
    """The file is not a report; the message says in one line why."""


class Replay(NamedTuple):
    """What a report holds of a machine; intact tells whether its seal still fits."""

    created: str
    target: Target
    facts: Facts
    intact: bool

    def routed(self, route: str) -> Replay:
        """The same machine, judged for another route."""
        target, facts = self.target._replace(route=route), self.facts._replace(route=Known(route))
        return self._replace(target=target, facts=facts)


def read_report(name: str) -> Replay:
    """Read a report from a file, or from standard input for ``-``.

    Raises:
        ReplayError: unreadable, not a report, of another schema, or damaged; one line.
    """
    return parse_report(_text(name), name)


def parse_report(text: str, name: str) -> Replay:
    """Read a report out of a text; name is for the error messages.

    Raises:
        ReplayError: as read_report.
    """
    data = _document(text, name)
    schema = data.get("schema")
    if schema != SCHEMA:
        shown = repr(schema)[:60]
        raise ReplayError(f"--from {name}: its schema is {shown}, this doctor reads {SCHEMA}")
    created = data.get("created")
    if not isinstance(created, str) or not _CREATED.fullmatch(created):
        raise ReplayError(f"--from {name}: 'created' is not a time such as 2026-01-31T12:00:00Z")
    try:
        return Replay(
            created=created,
            target=decode(Target, _printable(data.get("target")), "target"),
            facts=decode(Facts, _printable(data.get("facts")), "facts"),
            intact=data.get("seal") == seal(data),
        )
    except DecodeError as error:
        raise ReplayError(f"--from {name}: {error}") from error
    except RecursionError as error:
        raise ReplayError(f"--from {name}: nested too deeply to be a report") from error


def _text(name: str) -> str:
    try:
        if name == "-":
            if sys.stdin is None:
                raise ReplayError("--from -: standard input is closed")
            raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            path = Path(name)
            if path.is_dir():
                raise ReplayError(f"--from {name}: it is a folder")
            with path.open("rb") as stream:
                raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, ReplayError):
            raise
        reason = getattr(error, "strerror", None) or "not a usable name"
        raise ReplayError(f"--from {name}: cannot be read ({reason})") from error
    if len(raw) > MAX_BYTES:
        raise ReplayError(f"--from {name}: larger than any report ({MAX_BYTES >> 20} MiB)")
    if not raw.strip():
        raise ReplayError(f"--from {name}: the file is empty")
    # Windows PowerShell 5 writes UTF-16 where a program's output is redirected to a file.
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return raw.decode("utf-16" if wide else "utf-8-sig", "replace")


def _document(text: str, name: str) -> dict[str, Any]:
    stripped = text.strip()
    if not stripped.startswith("{"):
        stripped = _block(text)
        if not stripped:
            raise ReplayError(f"--from {name}: holds no klein-doctor report (JSON or Markdown)")
    try:
        data = json.loads(stripped, parse_constant=_refuse, parse_int=_integer)
    except RecursionError as error:
        raise ReplayError(f"--from {name}: nested too deeply to be a report") from error
    except ValueError as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise ReplayError(f"--from {name}: not valid JSON{where}; cut short perhaps") from error
    if not isinstance(data, dict):
        raise ReplayError(f"--from {name}: holds no klein-doctor report")
    return data


def _block(text: str) -> str:
    """The report in the fenced JSON block of a Markdown text, also when quoted with '>'."""
    lines = [re.sub(r"^\s{0,3}(?:>\s?)+", "", line).strip() for line in text.splitlines()]
    inside: list[str] | None = None
    for line in lines:
        if inside is None:
            inside = [] if re.fullmatch(r"(`{3,}|~{3,})\s*json", line, re.IGNORECASE) else None
        elif re.fullmatch(r"`{3,}|~{3,}", line):
            body = "\n".join(inside)
            if '"klein-doctor/report/' in body:
                return body
            inside = None
        else:
            inside.append(line)
    return ""


def _printable(data: Any) -> Any:
    """The data with what would steer a terminal taken out of its texts: escapes, line breaks."""
    if isinstance(data, str):
        return _CONTROL.sub("\ufffd", data)
    if isinstance(data, list):
        return [_printable(item) for item in data]
    if isinstance(data, dict):
        return {key: _printable(value) for key, value in data.items()}
    return data


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError("a number too long for a report")
    return int(text)
