"""The words of a launcher's line with their places, quoted ones and those inside quotes. Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from klein_doctor.shells import FURTHER

# A line of each kind in pieces; a continued line's end is a space as any other.
_PIECES = {
    "bat": re.compile(
        r'(?P<space>(?:\s|\^\r?\n)+)|"(?P<quoted>[^"\r\n]*)"?|\^(?P<escaped>.?)'
        r'|(?P<operator>[&|<>()])|(?P<plain>[^\s"^&|<>()]+)',
        re.DOTALL,
    ),
    "sh": re.compile(
        r"""(?P<space>(?:\s|\\\r?\n)+)|"(?P<quoted>(?:[^"\\]|\\.)*)"?|'(?P<single>[^']*)'?"""
        r"""|\\(?P<escaped>.?)|(?P<operator>[&|;<>()])|(?P<plain>[^\s"'\\&|;<>()]+)""",
        re.DOTALL,
    ),
    "ps1": re.compile(
        r"""(?P<space>(?:\s|`\r?\n)+)|"(?P<quoted>[^"]*)"?|'(?P<single>[^']*)'?|`(?P<escaped>.?)"""
        r"""|(?P<comma>(?<=["']),|,(?=\s*["']))|(?P<operator>[&|;<>(){}])"""
        r"""|(?P<plain>(?:[^\s"'`&|;<>(){},]|,(?!\s*["']))+)""",
        re.DOTALL,
    ),
    "comfy-cli": re.compile(r"(?P<space>\s+)|(?P<plain>\S+)"),
    "desktop-2": re.compile(
        r"""(?P<space>\s+)|"(?P<quoted>[^"]*)"?|'(?P<single>[^']*)'?|(?P<plain>[^\s"']+)"""
    ),
}
_BETWEEN = {
    "bat": re.compile(r"(?:\s|\^\r?\n)*"),
    "sh": re.compile(r"(?:\s|\\\r?\n)*"),
    "ps1": re.compile(r"(?:\s|`\r?\n|,)*"),
    "comfy-cli": re.compile(r"\s*"),
    "desktop-2": re.compile(r"\s*"),
}
_ASSIGNED = re.compile(r"[A-Za-z_$][\w$:.]*\+?=")
# What these print or name is text, not arguments.
_SAY = frozenset("echo echo. printf title write-host write-output rem".split())
_LEVELS = 3  # of quotes in quotes


class Word(NamedTuple):
    """A word as the shell takes it: its place in the text, its value without quotes.

    bodies: the places of what stands in quotes.
    """

    start: int
    end: int
    value: str
    bodies: tuple[tuple[int, int], ...]


class Argument(NamedTuple):
    """An argument that was found: where it begins and ends, and the words that may be its values.

    value: what stands behind its equals sign, None without one.
    """

    start: int
    end: int
    value: str | None
    values: tuple[Word, ...]


def arguments(text: str, kind: str, name: str) -> list[Argument]:
    """Every use of an argument in a logical line, in order, those inside quoted texts included."""
    return list(_within(text, kind, name, 0, len(text), _LEVELS))


def _within(
    text: str, kind: str, name: str, start: int, end: int, levels: int
) -> Iterator[Argument]:
    words = _words(text, kind, start, end)
    for number, word in enumerate(words):
        begins = _begins(text, word, name)
        if begins is not None:
            value = word.value.partition(name)[2]
            behind = value[1:] if value.startswith("=") else None
            values = () if behind is not None else _values(text, kind, words[number:])
            yield Argument(begins, word.end, behind, values)
        elif levels:
            for body in word.bodies:
                if name in text[slice(*body)]:
                    yield from _within(text, kind, name, *body, levels - 1)


def _begins(text: str, word: Word, name: str) -> int | None:
    """Where in a word the argument begins: at its start, or behind the name of a variable."""
    if word.value == name or word.value.startswith(f"{name}="):
        return word.start
    assigned = _ASSIGNED.match(text, word.start, word.end)
    if assigned and re.match(rf"{re.escape(name)}(?:=|$)", text[assigned.end() : word.end]):
        return assigned.end()
    return None


def _values(text: str, kind: str, words: list[Word]) -> tuple[Word, ...]:
    """The words behind the first one that can be its values."""
    found: list[Word] = []
    for before, word in itertools.pairwise(words):
        if not _BETWEEN[kind].fullmatch(text, before.end, word.start):
            break
        if word.value.startswith(("-", "#")) or FURTHER.fullmatch(word.value):
            break
        found.append(word)
    return tuple(found)


def _words(text: str, kind: str, start: int, end: int) -> list[Word]:
    """The words of every command of a line but those that only print."""
    found: list[Word] = []
    command: list[Word] = []
    pieces: list[re.Match[str]] = []

    def end_word() -> None:
        if pieces:
            value = "".join(_value(piece) for piece in pieces)
            bodies = [p.span(p.lastgroup) for p in pieces if p.lastgroup in ("quoted", "single")]
            command.append(Word(pieces[0].start(), pieces[-1].end(), value, tuple(bodies)))
            pieces.clear()

    def end_command() -> None:
        end_word()
        first = command[0].value.lstrip("@").lower() if command else ""
        found.extend(command if first not in _SAY else ())
        command.clear()

    for piece in _PIECES[kind].finditer(text, start, end):
        group = piece.lastgroup
        if group in ("space", "comma"):
            end_word()
        elif group == "operator":
            if piece[0] in "<>" and pieces and _value(pieces[0]).isdigit():
                pieces.clear()  # says what is redirected, and is no argument
            end_command()
        elif kind in ("sh", "ps1") and not pieces and piece[0].startswith("#"):
            break
        else:
            pieces.append(piece)
    end_command()
    return found


def _value(piece: re.Match[str]) -> str:
    return str(piece[piece.lastgroup or 0])
