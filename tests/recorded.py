"""The machines of tests/machines/ and their golden reports.

``python tests/recorded.py`` writes the golden reports anew: read the difference before you
commit it. ``python tests/recorded.py add NAME REPORT.json`` records a machine from a JSON report.
"""

from __future__ import annotations

import io
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from klein_doctor import recipe as recipes
from klein_doctor.codec import decode
from klein_doctor.diagnose import Request, build
from klein_doctor.model import Facts, Report, Target
from klein_doctor.report.brief import render_brief
from klein_doctor.report.document import render_json
from klein_doctor.report.markdown import render_markdown
from klein_doctor.report.text import render_text

HERE = Path(__file__).parent
MACHINES = HERE / "machines"
GOLDEN = HERE / "golden"
SUFFIXES = {"text": "txt", "brief": "brief.txt", "json": "json", "markdown": "md"}


def names() -> list[str]:
    """The machines, by file name."""
    return sorted(path.stem for path in MACHINES.glob("*.json"))


def load(name: str) -> dict[str, Any]:
    """A machine as it stands in its file."""
    data: dict[str, Any] = json.loads((MACHINES / f"{name}.json").read_text(encoding="utf-8"))
    return data


@cache
def report(name: str) -> Report:
    """A machine, judged by today's recipe."""
    data = load(name)
    target = decode(Target, data["target"], "target")
    return build(facts_of(name), target, data["created"], _recipe(), Request())


@cache
def facts_of(name: str) -> Facts:
    """What was read of a machine."""
    return decode(Facts, load(name)["facts"], "facts")


@cache
def _recipe() -> recipes.Recipe:
    return recipes.load()


def rendered(found: Report, kind: str) -> str:
    """A report in one format, as it is pasted or printed into a pipe."""
    if kind == "text":
        stream = io.StringIO()
        render_text(found, stream, "never", "local")
        return stream.getvalue()
    if kind == "brief":
        return render_brief(found, "public")
    return render_markdown(found, "public") if kind == "markdown" else render_json(found, "public")


def golden(name: str, kind: str) -> Path:
    """Where the golden report of a machine stands."""
    return GOLDEN / f"{name}.{SUFFIXES[kind]}"


def update() -> None:
    """Write every golden report anew."""
    GOLDEN.mkdir(exist_ok=True)
    for name in names():
        found = report(name)
        for kind in SUFFIXES:
            golden(name, kind).write_text(rendered(found, kind), encoding="utf-8")


def add(name: str, source: Path) -> None:
    """Record a machine from a report; what it should find first is what it found."""
    data = json.loads(source.read_text(encoding="utf-8"))
    about = {"kind": "recorded", "first": data["first"], "exit_code": data["exit_code"]}
    # The distribution's own suffix of the kernel release says nothing about the machine.
    system = data["facts"]["system"]["known"]
    system["release"] = system["release"].split("-")[0]
    kept = {"about": about, **{key: data[key] for key in ("created", "target", "facts")}}
    (MACHINES / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["add"]:
        add(sys.argv[2], Path(sys.argv[3]))
    else:
        update()
