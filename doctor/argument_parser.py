"""argparse as the command line wants it: errors in one line, help of a command with its options."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

from klein_doctor.exits import UsageError


class Parser(argparse.ArgumentParser):
    """Errors in one line, as everything else here.

    more: adds arguments that are shown only in this parser's help. The whole command line's parser
    reads them, wherever they stand.
    """

    more: Callable[[argparse.ArgumentParser], None] | None = None

    def format_help(self) -> str:
        more, self.more = self.more, None
        if more is not None:
            more(self)
        return super().format_help()

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse's own says nothing of a disk that is full."""
        if message and file is not None:
            file.write(message)

    def error(self, message: str) -> None:  # type: ignore[override]
        wrong = re.match(r"argument COMMAND: invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if wrong:
            raise UsageError(_no_command(wrong[1], re.findall(r"[a-z]+", wrong[2])))
        raise UsageError(f"{message} (klein-doctor --help lists what there is)")


def _no_command(name: str, there: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, there, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(there)}"
    if name == "help":
        hint = "klein-doctor --help lists what there is"
    elif not close:
        hint += f"; what is wrong, in words, goes to triage: klein-doctor triage {name[:40]}..."
    return f"there is no command {name[:60]!r}; {hint}"
