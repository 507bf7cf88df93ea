"""What is offered once the steps are done, before the report."""

from __future__ import annotations

import argparse

from klein_doctor.console import Lines
from klein_doctor.diagnose import Request
from klein_doctor.model import Report
from klein_doctor.wizard.ask import Asker


def after_repair(
    report: Report, request: Request, options: argparse.Namespace, asking: Asker, console: Lines
) -> Report:
    """The report with what came of it. The offer of a test generation belongs here."""
    return report
