"""Commands as one would type them, quoted for the shell of the machine they are for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from klein_doctor.model import Known, Private, Repair, Report


def command_lines(report: Report, repair: Repair, form: str) -> list[str]:
    """The commands of a repair, one line each, with private arguments in one form."""
    return argv_lines(report, repair.commands, form)


def argv_lines(report: Report, commands: Sequence[Sequence[str | Private]], form: str) -> list[str]:
    """Argument lists, one line each."""
    system = report.facts.system
    windows = isinstance(system, Known) and system.value.os == "windows"
    return [
        " ".join(_quoted(_shown(argument, form, windows), windows) for argument in command)
        for command in commands
    ]


def _shown(argument: str | Private, form: str, windows: bool) -> str:
    if isinstance(argument, str):
        return argument
    # A Windows shell does not expand ~, so a command to be typed there keeps the real path.
    return str(getattr(argument, "real" if windows and form == "local" else form))


def _quoted(text: str, windows: bool) -> str:
    if windows:
        return f'"{text}"' if re.search(r"[\s&()^;,=!'+|<>]", text) and "==" not in text else text
    if text.startswith("~/"):
        return "~/" + (shlex.quote(text[2:]) if text[2:] else "")
    return text if re.fullmatch(r"[\w@%+=:,./~-]+", text) else _posix(text)


def _posix(text: str) -> str:
    return text if text == "..." else shlex.quote(text)
