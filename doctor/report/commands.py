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
    """Argument lists, one line each; the doctor's own name what was named when it judged."""
    system = report.facts.system
    windows = isinstance(system, Known) and system.value.os == "windows"
    return [
        " ".join(
            _quoted(_shown(argument, form, windows), windows)
            for argument in (*command, *_named(report, command))
        )
        for command in commands
    ]


def _named(report: Report, command: Sequence[str | Private]) -> list[str | Private]:
    """Which ComfyUI and which Python, where options said it: another run would find others."""
    if command[0] != "klein-doctor" or not {*command[1:2]} & {"--fix", "download", "generate"}:
        return []
    aim = report.target
    named: tuple[tuple[bool, str, Private], ...] = (
        (aim.comfyui_from == "--comfyui", "--comfyui", aim.comfyui),
        (aim.python_from == "--python" and command[1] != "download", "--python", aim.python),
    )
    told: list[str | Private] = []
    for is_named, option, value in named:
        told += [option, value] if is_named and option not in command else []
    return told


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
