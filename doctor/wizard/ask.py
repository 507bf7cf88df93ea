"""Asking on a terminal: by arrow keys, or by numbers where there are none (TERM=dumb)."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, Protocol

from klein_doctor.exits import UsageError
from klein_doctor.pipes import say
from klein_doctor.values import printable
from klein_doctor.wizard.questions import Choice, Question

# A lone Esc waits so long for the rest of an arrow key that a slow ssh may still bring.
_ESC_S = 0.1
_HINT = "(arrows move, Enter takes it, Esc leaves)"
_HINT_MANY = "(arrows move, Space ticks, Enter goes on, Esc leaves)"


class Left(Exception):
    """The user left: Esc, Ctrl-C, or the end of input."""


class Asker(Protocol):
    """Asks, and answers with values; raises Left."""

    def one(self, question: Question) -> str: ...

    def many(self, question: Question, ticked: Sequence[str]) -> tuple[str, ...]: ...


def asker(color: str = "auto") -> Asker:
    """What can ask here.

    Raises:
        UsageError: nobody can be asked.
    """
    if not terminal():
        raise UsageError(
            "setup asks questions, but standard input or standard error is no terminal; "
            "klein-doctor --fix does what clears the failures and asks nothing"
        )
    if sys.platform != "win32" and os.environ.get("TERM", "dumb") in ("", "dumb", "unknown"):
        return Numbers()
    try:
        return Arrows(color)
    except Exception:  # a console that prompt_toolkit cannot drive (mintty without winpty)
        return Numbers()


def terminal() -> bool:
    """Whether somebody can be asked: questions go to standard error, the report to output."""
    streams = (sys.stdin, sys.stderr)
    return all(stream is not None and stream.isatty() for stream in streams)


def columns() -> int:
    """The width to write in."""
    return max(24, min(shutil.get_terminal_size().columns, 100))


def wrapped(text: str, indent: str = "") -> str:
    """Text in lines that fit the terminal."""
    return textwrap.fill(
        printable(text, 2000), columns() - 1, initial_indent=indent, subsequent_indent=indent
    )


def tell(text: str, indent: str = "") -> None:
    """A paragraph on standard error."""
    say(wrapped(text, indent))


class Arrows:
    """Questions by questionary."""

    def __init__(self, color: str):
        import questionary
        from questionary.prompts import common

        # Its marks are not in every console's font or code page, and it has no setting for them.
        common.INDICATOR_SELECTED, common.INDICATOR_UNSELECTED = "[x]", "[ ]"  # type: ignore[attr-defined]
        self._library = questionary
        self._more: dict[str, Any] = {"output": _output()}
        if color == "never" or (color == "auto" and os.environ.get("NO_COLOR")):
            from prompt_toolkit.output import ColorDepth

            self._more["color_depth"] = ColorDepth.DEPTH_1_BIT

    def one(self, question: Question) -> str:
        _explain(question)
        choices = [
            self._library.Choice(_short(choice), choice.value) for choice in question.choices
        ]
        asked = self._library.select(
            "Your choice", choices=choices, default=question.default, pointer=">", qmark="?",
            instruction=_HINT, **self._more,
        )  # fmt: skip
        return str(_run(asked))

    def many(self, question: Question, ticked: Sequence[str]) -> tuple[str, ...]:
        _explain(question)
        choices = [
            self._library.Choice(_short(choice), choice.value, checked=choice.value in ticked)
            for choice in question.choices
        ]
        asked = self._library.checkbox(
            "Your choice", choices=choices, pointer=">", qmark="?", instruction=_HINT_MANY,
            **self._more,
        )  # fmt: skip
        return tuple(str(value) for value in _run(asked))


class Numbers:
    """Questions by numbers, a line each: no control sequence, nothing but ASCII of its own."""

    def one(self, question: Question) -> str:
        _explain(question)
        values = [choice.value for choice in question.choices]
        default = values.index(question.default) + 1
        for number, choice in enumerate(question.choices, 1):
            say(f"  {number}. {_short(choice)}")
        while True:
            text = _line(f"Number [{default}], q leaves: ") or str(default)
            if text.isdecimal() and 0 < int(text) <= len(values):
                return values[int(text) - 1]
            say(f"  a number from 1 to {len(values)}")

    def many(self, question: Question, ticked: Sequence[str]) -> tuple[str, ...]:
        _explain(question)
        values = [choice.value for choice in question.choices]
        for number, choice in enumerate(question.choices, 1):
            mark = "[x]" if choice.value in ticked else "[ ]"
            say(f"  {number}. {mark} {_short(choice)}")
        while True:
            text = _line("Numbers, 0 for none [those with x], q leaves: ").replace(",", " ")
            words = text.split()
            if not words:
                return tuple(ticked)
            if words == ["0"]:
                return ()
            if all(word.isdecimal() and 0 < int(word) <= len(values) for word in words):
                wanted = {int(word) for word in words}
                return tuple(v for number, v in enumerate(values, 1) if number in wanted)
            say(f"  numbers from 1 to {len(values)}, with spaces between them")


def _explain(question: Question) -> None:
    say("")
    tell(question.text)
    for choice in question.choices:
        if choice.more:
            tell(f"{choice.value}: {choice.more}", "  ")


def _short(choice: Choice) -> str:
    """A label that fits one line beside pointer, number and tick."""
    label, room = printable(choice.label, 500), columns() - 10
    return label if len(label) <= room else f"{label[: room - 3]}..."


def _line(prompt: str) -> str:
    """A line of the user's, stripped."""
    sys.stderr.write(prompt)
    sys.stderr.flush()
    try:
        text = sys.stdin.readline()
    except KeyboardInterrupt as error:
        raise Left from error
    if not text or "\x1b" in text or text.strip().lower() in ("q", "quit"):
        raise Left
    return text.strip()


def _run(asked: Any) -> Any:
    """Ask, with Esc leaving as Ctrl-C does."""
    from prompt_toolkit.key_binding import KeyBindings, merge_key_bindings

    leaving = KeyBindings()

    @leaving.add("escape", eager=True)
    @leaving.add("c-d", eager=True)
    def _leave(event: Any) -> None:
        event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    app = asked.application
    app.key_bindings = merge_key_bindings([*([app.key_bindings] if app.key_bindings else []),
                                           leaving])  # fmt: skip
    app.ttimeoutlen = _ESC_S
    try:
        return asked.unsafe_ask()
    except (KeyboardInterrupt, EOFError) as error:
        raise Left from error


def _output() -> Any:
    """Standard error, without asking the terminal where its cursor is: some never answer."""
    if sys.platform == "win32":
        from prompt_toolkit.output import create_output

        return create_output(stdout=sys.stderr)
    from prompt_toolkit.data_structures import Size
    from prompt_toolkit.output.vt100 import Vt100_Output

    def size() -> Size:
        found = shutil.get_terminal_size()
        return Size(rows=found.lines, columns=found.columns)

    return Vt100_Output(sys.stderr, size, term=os.environ.get("TERM"), enable_cpr=False)
