"""The manual page, from the command line itself: ``python tests/manual.py`` writes it anew."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from klein_doctor import __version__
from klein_doctor.arguments import parser
from klein_doctor.exits import Exit

PAGE = Path(__file__).parent.parent / "docs" / "klein-doctor.1"
CODES = Path(__file__).parent.parent / "docs" / "exit-codes.md"


def page() -> str:
    """The whole page as roff (man(7))."""
    top = parser()
    lines = [
        f'.TH KLEIN-DOCTOR 1 "" "klein-doctor {__version__}" "User Commands"',
        ".SH NAME",
        "klein\\-doctor \\- " + _text(_first(top.description or "")),
        ".SH SYNOPSIS",
        ".B klein\\-doctor",
        "[\\fIoptions\\fR] [\\fIcommand\\fR]",
        ".SH DESCRIPTION",
        _text(top.description or ""),
        *_commands(top),
    ]
    for group in top._action_groups:
        actions = [a for a in group._group_actions if a.option_strings]
        if actions:
            lines.append(f'.SH "{_text((group.title or "options").upper())}"')
            for action in actions:
                lines += _option(action)
    lines.append(".SH EXIT STATUS")
    for code, says in _codes():
        lines += [".TP", f".B {code}", _text(says)]
    lines += [
        ".SH ENVIRONMENT",
        "Every option but \\-\\-fix and \\-\\-unredacted can be set in the environment:",
        "KLEIN_DOCTOR_ and its name in capitals, as in KLEIN_DOCTOR_FORMAT=json.",
        "The command line beats it.",
    ]
    return "\n".join(lines) + "\n"


def _commands(top: argparse.ArgumentParser) -> Iterator[str]:
    yield ".SH COMMANDS"
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                placed = [a for a in sub._actions if not a.option_strings]
                told = "".join(f" \\fI{_text(str(a.metavar or a.dest))}\\fR" for a in placed)
                yield ".TP"
                yield f"\\fB{_text(name)}\\fR{told}"
                yield _text(sub.description or "")


def _option(action: argparse.Action) -> list[str]:
    value = ""
    if action.nargs != 0:
        shown = action.metavar or "|".join(map(str, action.choices or (action.dest,)))
        value = f" \\fI{_text(str(shown))}\\fR"
    names = ", ".join(f"\\fB{_text(name)}\\fR" for name in action.option_strings)
    return [".TP", names + value, _text(action.help or "")]


def _codes() -> Iterator[tuple[int, str]]:
    """The codes in the words of the table in the documentation."""
    for line in CODES.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip().strip("`") for cell in line.split("|")[1:-1]]
        if len(cells) == 3 and cells[0].isdigit() and int(cells[0]) in set(Exit):
            yield int(cells[0]), cells[2]


def _first(text: str) -> str:
    return " ".join(text.split()).partition(", why not")[0]


def _text(text: str) -> str:
    """As roff takes it: no escapes of its own, no line that begins with a request."""
    text = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
