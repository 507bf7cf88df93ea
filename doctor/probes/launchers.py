"""What starts this ComfyUI: batch files and scripts beside it, saved settings, the running one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from klein_doctor.installation import Launcher
from klein_doctor.probes.found import Answer, Found
from klein_doctor.probes.launch_flags import flags, listen_class, split
from klein_doctor.probes.outside import Outside, names, read_text

_KINDS = {".bat": "bat", ".cmd": "bat", ".ps1": "ps1", ".sh": "sh"}
_MOST_FILES = 40
_LONGEST_FILE = 256 << 10
_LONGEST_LINE = 8192
_SET = re.compile(
    r"""^\s*(?:set\s+"?|export\s+|\$)?([A-Za-z_]\w{0,60})\s*=\s*(.*)$""", re.IGNORECASE
)
_USE = re.compile(r"%([A-Za-z_]\w{0,60})%|\$\{?(?:env:)?([A-Za-z_]\w{0,60})\}?")
_COMMENT = re.compile(r"^\s*(?:@?rem\b|::|#)", re.IGNORECASE)


def read_launchers(
    outside: Outside, found: Found, answers: tuple[Answer, ...]
) -> tuple[Launcher, ...]:
    """The running server's arguments first, then saved settings, then files."""
    launchers = [
        Launcher(
            "server",
            outside.redactor.path(str(found.root)),
            0,
            flags(outside.redactor, answer.argv[1:]),
            listen_class(answer.argv),
            None,
        )
        for answer in answers
        if found.port is not None and answer.server.port == found.port
    ]
    launchers += [
        Launcher(
            saved.kind,
            outside.redactor.path(str(saved.path)),
            0,
            flags(outside.redactor, saved.arguments),
            listen_class(saved.arguments),
            None,
        )
        for saved in found.saved
    ]
    for path in _files(found):
        launchers += _in_file(outside, path)
    return tuple(launchers)


def _files(found: Found) -> list[Path]:
    folders = [found.root]
    if found.kind == "portable":
        folders += [found.root.parent, found.root.parent / "advanced"]
    paths = [
        folder / name
        for folder in folders
        for name in names(folder)
        if Path(name).suffix.lower() in _KINDS
    ]
    return paths[:_MOST_FILES]


def _in_file(outside: Outside, path: Path) -> list[Launcher]:
    windows = path.suffix.lower() != ".sh"
    variables: dict[str, str] = {}
    found = []
    for number, line in _lines(read_text(path, _LONGEST_FILE), windows):
        if _COMMENT.match(line):
            continue
        text = _USE.sub(lambda use: variables.get((use[1] or use[2]).upper(), ""), line)
        arguments = _arguments(split(text, windows))
        assigned = _SET.match(line)
        if arguments is None:
            if assigned:
                variables[assigned.group(1).upper()] = assigned.group(2).strip().strip("\"'")
            continue
        before, after = arguments
        found.append(
            Launcher(
                _KINDS[path.suffix.lower()],
                outside.redactor.path(str(path)),
                number,
                flags(outside.redactor, after),
                listen_class(after),
                _isolated(before),
            )
        )
    return found


def _lines(text: str, windows: bool) -> list[tuple[int, str]]:
    """Lines by number, continued ones (^ or a backslash at the end) put together."""
    found: list[tuple[int, str]] = []
    begun = False
    for number, line in enumerate(text.splitlines(), 1):
        line = line[:_LONGEST_LINE]
        goes_on = line.endswith("^" if windows else "\\")
        part = line[:-1] if goes_on else line
        if begun:
            first, before = found[-1]
            found[-1] = (first, (before + part)[:_LONGEST_LINE])
        else:
            found.append((number, part))
        begun = goes_on
    return found


def _arguments(words: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """What stands before and after main.py in a command, None where it does not run it."""
    for place, word in enumerate(words):
        if re.split(r"[\\/]", word)[-1].lower() == "main.py":
            return list(words[:place]), list(words[place + 1 :])
    if "launch" in words and "--" in words and words[0].endswith("comfy"):
        place = list(words).index("--")
        return list(words[:place]), list(words[place + 1 :])
    return None


def _isolated(before: Sequence[str]) -> bool | None:
    """Whether an embedded Python is told to leave the user's packages out."""
    place = next((n for n, word in enumerate(before) if "python_embeded" in word), None)
    if place is None:
        return None
    options = [word for word in before[place + 1 :] if re.fullmatch(r"-[A-Za-z]+", word)]
    return any("s" in option or "I" in option for option in options)
