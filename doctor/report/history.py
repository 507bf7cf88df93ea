"""What ``history`` prints: JSON for scripts, a line a change for people."""

from __future__ import annotations

import json
from typing import NamedTuple, TextIO

from klein_doctor.changes import SECTIONS, Change
from klein_doctor.wrapping import wrap

SCHEMA = "klein-doctor/history/1"
_MOST = 12  # of one section, on a terminal


class Told(NamedTuple):
    """What changed from one run to another. since: "" where there is none to compare with.

    was_well, is_well: whether all was well then and now. runs: (created, all was well, a test
    generation was verified) of those on record.
    """

    since: str
    was_well: bool
    now: str
    is_well: bool
    changes: tuple[Change, ...]
    runs: tuple[tuple[str, bool, bool], ...] = ()


def render_json(told: Told, stream: TextIO, form: str) -> None:
    """The JSON document, in ASCII so that any stream can carry it."""
    rows = [
        {
            "section": change.section,
            "what": getattr(change.what, form),
            "before": change.before or None,
            "after": change.after or None,
            "because": change.because or None,
        }
        for change in told.changes
    ]
    runs = [{"created": at, "healthy": well, "verified": proven} for at, well, proven in told.runs]
    data = {
        "schema": SCHEMA,
        "since": told.since or None,
        "since_healthy": told.was_well,
        "now": told.now,
        "now_healthy": told.is_well,
        "changes": rows,
        "runs": runs,
    }
    stream.write(json.dumps(data, indent=1) + "\n")


def render_text(told: Told, stream: TextIO, form: str) -> None:
    """What changed, the likeliest to blame first."""
    for line in _lines(told, form):
        stream.write(line + "\n")


def _lines(told: Told, form: str) -> list[str]:
    if not told.since:
        return wrap(
            "Nothing to compare with: this is the first look at this Python and this ComfyUI. Run "
            "klein-doctor whenever something changes; two saved reports can be compared with "
            "klein-doctor history OLD.json NEW.json."
        )
    state = "all was well" if told.was_well else "something was wrong then, too"
    lines = [f"Since {_day(told.since)} ({state})"]
    if not told.changes:
        lines += wrap(
            "Nothing changed of what the doctor knows: versions, driver, ComfyUI, custom nodes, "
            "launch arguments and model files are as they were."
        )
    for section, title in SECTIONS.items():
        rows = [change for change in told.changes if change.section == section]
        if rows:
            lines.append(title)
        for change in rows[:_MOST]:
            lines += _change(change, form)
        if len(rows) > _MOST:
            lines.append(f"  and {len(rows) - _MOST} more; --format json lists all of them")
    if told.changes:
        now = "all is well now" if told.is_well else "klein-doctor says what is wrong now"
        lines.append(f"What is likeliest to blame stands first; {now}.")
    return lines


def _change(change: Change, form: str) -> list[str]:
    what = getattr(change.what, form)
    if not change.before:
        text = f"{what}: new, {change.after}"
    elif not change.after:
        text = f"{what}: gone, was {change.before}"
    else:
        text = f"{what}: {change.before} -> {change.after}"
    lines = wrap(text, first="  ", rest="      ")
    return lines + (wrap(change.because, first="      ", rest="      ") if change.because else [])


def _day(created: str) -> str:
    return created.replace("T", " ").removesuffix("Z") + " UTC"
