"""The offer of a test generation after the repairs, with yes as what Enter says."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from klein_doctor.answers import GENERATE, NO, YES
from klein_doctor.card import chosen_gpu
from klein_doctor.console import Lines
from klein_doctor.diagnose import Request
from klein_doctor.exits import Exit
from klein_doctor.model import Report
from klein_doctor.wizard.questions import Choice, Question

# After these a picture would prove nothing, or nobody waits for it.
_NOTHING_AFTER = (Exit.ROLLBACK_FAILED, Exit.REBOOT, Exit.INTERRUPTED)


def question(report: Report) -> Question:
    """Whether to make pictures; what they would prove, and how long that takes."""
    plan = f" The way: {report.plan}." if report.plan else ""
    return Question(
        GENERATE,
        f"Prove it with three test pictures? It takes a minute or a few.{plan}",
        (Choice(YES, "yes, make them"), Choice(NO, "no, leave it")),
        YES,
    )


def possible(report: Report, options: argparse.Namespace) -> bool:
    """Whether a card and the model's files are there and nothing stands in the way."""
    from klein_doctor.generate.wish import in_the_way, wish_of

    wish = wish_of(options)
    if report.exit_code in _NOTHING_AFTER or options.dry_run:
        return False
    if wish.device == "cuda" and chosen_gpu(report.facts) is None:
        return False
    return not in_the_way(report.findings, report.facts, wish)


def after_repair(
    report: Report,
    request: Request,
    options: argparse.Namespace,
    console: Lines,
    ask: Callable[[Question], str],
) -> Report:
    """The report with a test generation, where one is possible and wanted.

    Raises:
        Left: the user left at the question. UsageError: in one line.
    """
    if not possible(report, options):
        return report
    if not options.generate and ask(question(report)) != YES:
        return report
    from klein_doctor.generate.command import pictured

    return pictured(report, request, options, console)
