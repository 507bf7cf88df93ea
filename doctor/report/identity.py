"""What ``identify`` prints: JSON for scripts, two lines a file for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TextIO

from klein_doctor.identity.look import Looked
from klein_doctor.report.paths import shown
from klein_doctor.wrapping import wrap

SCHEMA = "klein-doctor/identify/1"
_FIELDS = (
    "role", "family", "variant", "quantisation", "verdict", "structure", "digest", "license",
    "belongs_in", "says",
)  # fmt: skip
_INDENT = " " * 10


def render_json(looked: Sequence[Looked], stream: TextIO) -> None:
    """The JSON document, in ASCII so that any stream can carry it; real paths."""
    files = []
    for item in looked:
        values = item.identity._asdict()
        files.append({"path": str(item.path), **{name: values[name] for name in _FIELDS}})
    stream.write(json.dumps({"schema": SCHEMA, "files": files}, indent=1) + "\n")


def render_lines(looked: Sequence[Looked], stream: TextIO) -> None:
    """One verdict and path a file, its reason below; a count at the end of several."""
    for item in looked:
        stream.write(f"{item.identity.verdict:<10}{shown(item.path)}\n")
        for line in wrap(item.identity.says, first=_INDENT, rest=_INDENT):
            stream.write(f"{line}\n")
    if len(looked) > 1:
        counts = Counter(item.identity.verdict for item in looked)
        said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        stream.write(f"{len(looked)} files: {said}\n")
