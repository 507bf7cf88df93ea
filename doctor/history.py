"""``history``: what changed on this machine since all was well, or between two reports."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Sequence
from typing import TextIO

from klein_doctor.changes import Change, State, assumed, changes, state_of
from klein_doctor.exits import Exit, UsageError
from klein_doctor.model import Facts, Report, Target, known
from klein_doctor.options import form_of
from klein_doctor.output import Output
from klein_doctor.past import Seen, recall, remember
from klein_doctor.report.history import Told, render_json, render_text
from klein_doctor.state import need_state_folder, state_folder


def seen_of(report: Report) -> Seen:
    """A run as it is kept."""
    verified = False
    if report.record is not None:  # the tables of pictures are not loaded for every diagnosis
        from klein_doctor.verdict_images import VERIFIED

        verified = report.record["verdict"] == VERIFIED
    return Seen(
        report.created,
        report.exit_code is Exit.OK,
        verified,
        int(report.exit_code),
        _state(report.facts, report.target),
    )


def _state(facts: Facts, target: Target) -> State:
    state = state_of(facts)
    return assumed(state) if target.assumed else state


def keep(report: Report, options: argparse.Namespace) -> None:
    """Remember a run of this machine, where there is a home for it; it never spoils the run.

    Nothing is kept of reports, of assumed cards, of a selection of checks, and of rehearsals.
    """
    folder = state_folder(options.state_dir, os.environ)
    ran = known(report.facts.generation)
    rehearsed = ran is not None and ran.expectation == "reference"
    if folder is None or report.replayed or report.target.assumed or rehearsed:
        return
    if options.select or options.ignore:
        return
    with contextlib.suppress(OSError):
        remember(folder, report.target, seen_of(report))


def history(options: argparse.Namespace, output: Output, note: Callable[[str], None]) -> Exit:
    """Say what changed. Exit.UNDECIDED where there is nothing to compare with.

    Raises:
        UsageError: in one line.
    """
    told = _between(options.reports) if options.reports else _here(options)

    def render(stream: TextIO) -> None:
        if options.format == "json":
            render_json(told, stream, form_of(options))
        else:
            render_text(told, stream, form_of(options))

    if options.format not in ("text", "json"):
        raise UsageError(f"--format {options.format}: history has text and json")
    output.send(render)
    return Exit.OK if told.since else Exit.UNDECIDED


def _here(options: argparse.Namespace) -> Told:
    """Now against the last run in which all was well, else against the first one on record."""
    from klein_doctor.diagnose import diagnose, request_of

    folder = need_state_folder(options.state_dir, os.environ)
    report = diagnose(request_of(options))
    seen = recall(folder, report.target)
    base = next((each for each in reversed(seen) if each.healthy), seen[0] if seen else None)
    found: Sequence[Change] = ()
    if base is not None:
        found = changes(base.state, _state(report.facts, report.target))
    runs = tuple((each.created, each.healthy, each.verified) for each in seen)
    return Told(
        base.created if base is not None else "", base is not None and base.healthy,
        report.created, report.exit_code is Exit.OK, tuple(found), runs,
    )  # fmt: skip


def _between(names: Sequence[str]) -> Told:
    """Two saved reports, the earlier one first whatever their order."""
    from klein_doctor import recipe as recipes
    from klein_doctor.engine import exit_code, judge
    from klein_doctor.registry import catalogue
    from klein_doctor.replay import ReplayError, read_report

    if len(names) != 2:
        raise UsageError("history takes two reports, or none for this machine")
    try:
        found = sorted((read_report(name) for name in names), key=lambda each: each.created)
    except ReplayError as error:  # in the words of the option that usually names a report
        raise UsageError(str(error).removeprefix("--from ")) from error
    rules = recipes.load()
    well = [exit_code(judge(each.facts, rules, catalogue())) is Exit.OK for each in found]
    then, now = found
    return Told(
        then.created, well[0], now.created, well[1],
        changes(_state(then.facts, then.target), _state(now.facts, now.target)),
    )  # fmt: skip
