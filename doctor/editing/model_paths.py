"""extra_model_paths.yaml edited as a person would: a line here and there, the rest as it was. Pure.

Every change is made in the text, and the text is read again as ComfyUI would read it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from klein_doctor.paths_yaml import EMPTY, NO_SECTION, NO_TEXT, Fault, Node, checked

# A file of paths has a few hundred signs; each try reads it anew.
_LONGEST, _MOST_TRIED = 16 << 10, 60
_WIDTHS = (4, 2, 8)  # of a tab, the first that makes the file readable
_QUOTES = "single quotes"
_BY = "# klein-doctor:"
_IN_QUOTES = re.compile(r'(:[ \t]+|^[ \t]*)"([^"\n]*\\[^"\n]*)"(?=[ \t]*(?:#.*)?$)')
_NO_SPACE = re.compile(r"""^([ \t]*[\w-]+):(?=[^\s:'"])""")
_BARE = re.compile(r"""^([ \t]*[\w-]+:[ \t]+)(?!['"|>#])(\S.*?)([ \t]+#.*)?$""")


class Mended(NamedTuple):
    """A text that ComfyUI can read, and what was done to it, in words."""

    text: str
    says: str


class Entry(NamedTuple):
    """One key of a section with its value. key_at: where the key stands."""

    section: str
    key: str
    key_at: Node
    value: Node


# --- what ends ComfyUI's start ---------------------------------------------------------------


def mended(text: str) -> Mended | None:
    """The text with what is mechanically wrong put right; None where a person must look."""
    if len(text) > _LONGEST:
        return None
    said = _search(text, (), {text})
    return Mended(said[0], "; ".join(dict.fromkeys(said[1]))) if said and said[1] else None


def _search(text: str, said: tuple[str, ...], seen: set[str]) -> tuple[str, tuple[str, ...]] | None:
    """A way of mends after which the text can be read; one that leads nowhere is gone back."""
    fault = _fault(text)
    if fault is None:
        return text, said
    for words, changed in _mends(text, *fault):
        if changed not in seen and len(seen) < _MOST_TRIED:
            seen.add(changed)
            after = _fault(changed)
            if after is not None and words.endswith(_QUOTES) and after[1] <= fault[1]:
                continue  # nearly anything can stand in quotes: it must have been that
            found = _search(changed, (*said, words), seen)
            if found is not None:
                return found
    return None


def _fault(text: str) -> tuple[str, int] | None:
    try:
        checked(text)
    except Fault as fault:
        words, line = (*fault.args, 0)[:2]
        return str(words), int(line)
    return None


def _mends(text: str, fault: str, number: int) -> Iterator[tuple[str, str]]:
    """Ways that may put a fault right, each in words and with the text after it."""
    if fault == EMPTY:
        end = "" if not text or text.endswith("\n") else "\n"
        yield (
            "a section that adds nothing",
            (f"{text}{end}nothing:  {_BY} ComfyUI does not start with an empty file\n"),
        )
        return
    lines = text.split("\n")
    if any("\t" in _indent(line) for line in lines):
        for width in _WIDTHS:
            yield "tabs become spaces", "\n".join(_untabbed(line, width) for line in lines)
    if NO_TEXT in fault or fault == NO_SECTION:
        yield "what is no folder is commented out", _without_lines(text, number, "it is no folder")
        return
    for at in (number - 1, number - 2):  # what began above is often found out below
        if not 0 <= at < len(lines):
            continue
        line, mark = (lines[at][:-1], "\r") if lines[at].endswith("\r") else (lines[at], "")
        for words, pattern, new in (
            (f"a path is put in {_QUOTES}", _IN_QUOTES, _single),
            ("a space follows a colon", _NO_SPACE, lambda found: f"{found[1]}: "),
            (f"a value is put in {_QUOTES}", _BARE, _bare),
        ):
            changed = pattern.sub(new, line, count=1)
            if changed != line:
                yield words, "\n".join((*lines[:at], changed + mark, *lines[at + 1 :]))


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _untabbed(line: str, width: int) -> str:
    indent = _indent(line)
    return indent.replace("\t", " " * width) + line[len(indent) :]


def _single(found: re.Match[str]) -> str:
    # Of a path in double quotes \\ was meant as one.
    return found[1] + quoted(found[2].replace("\\\\", "\\"), always=True)


def _bare(found: re.Match[str]) -> str:
    return found[1] + quoted(found[2], always=True) + (found[3] or "")


def _without_lines(text: str, number: int, why: str) -> str:
    """A line and what is indented below it, commented out."""
    lines = text.split("\n")
    first = number - 1
    if not 0 <= first < len(lines):  # YAML counts ends of lines that are none here
        return text
    width = len(_indent(lines[first]))
    last = first + 1
    while last < len(lines) and lines[last].strip() and len(_indent(lines[last])) > width:
        last += 1
    return "\n".join((*lines[:first], *_commented(lines[first:last], why), *lines[last:]))


def _commented(lines: Sequence[str], why: str) -> list[str]:
    mark = "\r" if lines[0].endswith("\r") else ""
    indent = _indent(lines[0])
    return [f"{indent}{_BY} {why}{mark}", *(f"{indent}# {line[len(indent) :]}" for line in lines)]


def quoted(path: str, *, always: bool = False) -> str:
    """A path as a YAML value: in single quotes where it could be taken for something else."""
    plain = re.fullmatch(r"[A-Za-z0-9_./~$\\][\w ./\\$~+()-]*(?::[\\/][\w ./\\$~+()-]*)?", path)
    if plain and not always and path == path.strip() and _is_text(path):
        return path
    return "'" + path.replace("'", "''") + "'"


def _is_text(value: str) -> bool:
    try:
        return all(node.text == value for _, each in checked(f"a:\n  b: {value}")
                   for _, node in each.pairs())  # fmt: skip
    except Fault:
        return False


# --- what leads nowhere ----------------------------------------------------------------------


def entries(text: str) -> list[Entry]:
    """Every key of every section, as it stands in the text.

    What a section takes over from another (``<<``, ``*``) stands elsewhere and is left out.

    Raises:
        Fault: ComfyUI ends its start over the text.
    """
    found = []
    for section, node in checked(text):
        for key, value in zip(node.parts[::2], node.parts[1::2], strict=True):
            if key.kind == "str" and value.start >= key.end and value.kind != "map":
                found.append(Entry(section, key.text, key, value))
    return found


def replaced(text: str, entry: Entry, value: str) -> str:
    """The text with another value for an entry, what it was in a comment above it."""
    old = text[entry.value.start : entry.value.end].split("\n", maxsplit=1)[0].strip()
    changed = text[: entry.value.start] + quoted(value) + text[entry.value.end :]
    return _above(changed, entry, f"was {old}")


def commented(text: str, entry: Entry, why: str) -> str:
    """The text with an entry commented out, all its lines."""
    return _without_lines(text, entry.key_at.line, why)


def without_part(text: str, entry: Entry, part: str, why: str) -> str:
    """The text without one folder of an entry that lists several, one a line."""
    start, end = entry.value.start, entry.value.end
    inside = text[start:end]
    line = re.search(rf"(?m)^[ \t]*{re.escape(part)}[ \t]*\r?(?:\n|\Z)", inside)
    if line is None:
        raise ValueError(f"line {entry.value.line} lists its folders in a way that is not edited")
    changed = text[: start + line.start()] + text[start + line.end() :]
    return _above(changed, entry, f"{part} {why}")


def put_first(text: str, section: Sequence[Entry]) -> str:
    """The text with a section whose folders come before ComfyUI's own."""
    told = next((each for each in section if each.key == "is_default"), None)
    if told is not None:
        return text[: told.value.start] + "true" + text[told.value.end :]
    first = min(section, key=lambda each: each.key_at.start)
    return _above(text, first, "its files come first", "is_default: true  ")


def _above(text: str, entry: Entry, words: str, before: str = "") -> str:
    """A comment in a line of its own above an entry."""
    at = text.rfind("\n", 0, entry.key_at.start) + 1
    indent = text[at : entry.key_at.start]
    if indent.strip():
        raise ValueError(f"line {entry.key_at.line} holds several entries")
    end = "\r\n" if "\r\n" in text else "\n"
    return f"{text[:at]}{indent}{before}{_BY} {words}{end}{text[at:]}"


def apply(text: str, steps: Callable[[str], str]) -> str:
    """The text after a change, if ComfyUI can read it still.

    Raises:
        ValueError: it could not.
    """
    changed = steps(text)
    fault = _fault(changed)
    if fault is not None:
        raise ValueError(f"it is written in a way that is not edited ({fault[0]})")
    return changed
