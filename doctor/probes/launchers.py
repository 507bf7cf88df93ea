"""What starts this ComfyUI: batch files and scripts beside it, saved settings, the running one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from klein_doctor.installation import Launcher
from klein_doctor.launched import Started
from klein_doctor.probes.found import Answer, Found
from klein_doctor.probes.launch_flags import commands, flags, listen_class
from klein_doctor.probes.launcher_python import Walk
from klein_doctor.probes.outside import Outside, names, read_text
from klein_doctor.shells import COMMENTS, FURTHER, GOES_ON

_KINDS = {".bat": "bat", ".cmd": "bat", ".ps1": "ps1", ".sh": "sh"}
# Kinds whose environment the user chooses; the others come with theirs.
OWN_ENVIRONMENT = ("manual", "comfy-cli")
_MOST_FILES = 40
_MOST_LINES = 1000
_MOST_COMMANDS = 20  # of one file
_MOST_LAUNCHERS = 100
_LONGEST_FILE = 256 << 10
_LONGEST_IN_ALL = 1 << 20
_LONGEST_LINE = 8192
_LONGEST_VALUE = 1000
_WORD = r"[A-Za-z_]\w{0,60}"
# An assignment: its variable, "+" where it appends, what is assigned.
_SET = {
    "bat": re.compile(rf'\s*@?set\s+"?({_WORD})\s*()=(.*)', re.IGNORECASE),
    "ps1": re.compile(rf"\s*\$(?:env:)?({_WORD})\s*(\+?)=\s*(.*)", re.IGNORECASE),
    "sh": re.compile(rf"\s*(?:(?:export|local|readonly|declare)\s+)?({_WORD})(\+?)=(.*)"),
}
# A variable in use: its name, and in sh the value it has where it is not set.
_USE = {
    "bat": re.compile(rf"[%!]({_WORD})[%!]()"),
    "ps1": re.compile(rf"\$\{{?(?:env:)?({_WORD})\}}?()", re.IGNORECASE),
    "sh": re.compile(
        rf"\$(?:\{{({_WORD})(?:\[[@*]\])?(?::?[-=]([^{{}}]*))?\}}|({_WORD}))"
        rf"|\"\$\{{({_WORD})\[@\]\}}\""
    ),
}
_RUNS = re.compile(
    r"(?:python[\d.]*w?|py|pypy[\d.]*|run|exec|launch|nohup|start|call)(?:\.exe)?", re.IGNORECASE
)
_ONLY_NAMES = frozenset(
    "cat chmod copy cp del git grep ls move mv printf rem rm title touch type write-host "
    "write-output xcopy".split()
)


def read_launchers(
    outside: Outside, found: Found, answers: tuple[Answer, ...]
) -> tuple[Launcher, ...]:
    """The running server's arguments first, then saved settings, then files."""
    launchers = [
        _launcher(outside, "server", found.root, answer.argv[1:])
        for answer in answers
        if found.port is not None and answer.server.port == found.port
    ]
    launchers += [
        _launcher(outside, saved.kind, saved.path, saved.arguments) for saved in found.saved
    ]
    left, own = _LONGEST_IN_ALL, found.kind in OWN_ENVIRONMENT
    for path in _files(found):
        text = _readable(read_text(path, min(left, _LONGEST_FILE)))
        launchers += _in_file(outside, path, text, found.root if own else None)
        left -= len(text)
        if left <= 0 or len(launchers) >= _MOST_LAUNCHERS:
            break
    return tuple(launchers[:_MOST_LAUNCHERS])


def _launcher(
    outside: Outside,
    kind: str,
    path: Path,
    arguments: Sequence[str],
    line: int = 0,
    isolated: bool | None = None,
    started: Started | None = None,
) -> Launcher:
    shown = outside.redactor.path(str(path))
    kept = flags(outside.redactor, arguments)
    return Launcher(kind, shown, line, kept, listen_class(arguments), isolated, started)


def _files(found: Found) -> list[Path]:
    folders = [found.root]
    if found.kind == "portable":
        folders = [found.root.parent, found.root.parent / "advanced", found.root]
    paths = [
        folder / name
        for folder in folders
        for name in names(folder)
        if Path(name).suffix.lower() in _KINDS
    ]
    return paths[:_MOST_FILES]


# --- a file's lines --------------------------------------------------------------------------


def _in_file(outside: Outside, path: Path, text: str, root: Path | None) -> list[Launcher]:
    """What a file starts. root: of a ComfyUI whose environment the file may choose, else None."""
    shell = _KINDS[path.suffix.lower()]
    if not re.search(r"main\.py|\blaunch\b", text, re.IGNORECASE):
        return []
    variables: dict[str, str] = {}
    found: list[Launcher] = []
    walk = Walk(outside, path, shell, root) if root is not None else None
    for number, line in _lines(text, shell):
        whole = _resolved(line, shell, variables)
        if walk is not None:
            walk.see(_all(whole, shell), line, number)
        for before, after in _starts(whole, shell):
            isolated = _isolated(before)
            started = walk.started(before, line, number) if walk is not None else None
            found.append(_launcher(outside, shell, path, after, number, isolated, started))
            break
        else:
            _assign(whole, shell, variables)
        if len(found) >= _MOST_COMMANDS:
            break
    return found


def _readable(text: str) -> str:
    """The text without the mark some editors put first; PowerShell's two bytes a letter as one."""
    if text.startswith("\ufffd\ufffd"):
        return text[2:].replace("\0", "")
    return text.lstrip("\ufeff")


def _lines(text: str, shell: str) -> Iterator[tuple[int, str]]:
    """Lines by number, without comments, continued ones put together."""
    begun, parts, length = 0, [""], 0
    for number, line in enumerate(text.split("\n", _MOST_LINES)[:_MOST_LINES], 1):
        line = line.rstrip("\r")[:_LONGEST_LINE]
        if not begun and COMMENTS[shell].match(line):
            continue
        goes_on = line.endswith(GOES_ON[shell])
        if length < _LONGEST_LINE:
            parts.append(line[:-1] if goes_on else line)
            length += len(line)
        begun = begun or number
        if not goes_on:
            yield begun, "".join(parts)[:_LONGEST_LINE]
            begun, parts, length = 0, [], 0
    if begun:
        yield begun, "".join(parts)[:_LONGEST_LINE]


def _resolved(line: str, shell: str, variables: dict[str, str]) -> str:
    """The line with the variables that the file itself has set so far."""

    def value(use: re.Match[str]) -> str:
        named = next(name for name in (use[1], *use.groups()[2:]) if name)
        return variables.get(named.upper(), use[2] or use[0])

    return _USE[shell].sub(value, line)[:_LONGEST_LINE]


def _assign(line: str, shell: str, variables: dict[str, str]) -> None:
    found = _SET[shell].match(line)
    if found is None:
        return
    name, more, text = found.groups()
    text = text.strip()
    if shell == "bat":
        quoted = line[: found.start(1)].endswith('"')
        text = text.rpartition('"')[0] if quoted and '"' in text else re.split("[&|]", text)[0]
    elif text.startswith(("(", "@(")):
        inner = text.lstrip("@(").rpartition(")")[0]
        text = inner.replace(",", " ") if shell == "ps1" else inner
    else:
        words = commands(text, shell)
        text = words[0][0] if words else ""
    before = variables.get(name.upper(), "") + " " if more else ""
    variables[name.upper()] = (before + text.strip())[:_LONGEST_VALUE]


# --- a line's commands -----------------------------------------------------------------------


def _starts(line: str, shell: str, deep: bool = True) -> Iterator[tuple[list[str], list[str]]]:
    """What stands before and after main.py in the commands of a line that run it."""
    lowered = line.lower()
    if "main.py" not in lowered and "launch" not in lowered:
        return
    for words in commands(line, shell):
        place = _place(words)
        if place is not None:
            after = [word for word in words[place + 1 :] if not FURTHER.fullmatch(word)]
            yield words[:place], after
        elif deep:
            # A whole command given to another program: cmd /k "python main.py".
            for word in words:
                if any(sign.isspace() for sign in word):
                    yield from _starts(word, shell, deep=False)


def _all(line: str, shell: str) -> list[list[str]]:
    """The commands of a line, those among them that are given to another program as one word."""
    found = commands(line, shell)
    words = [word for command in found for word in command if "$(" not in word]
    given = [word for word in words if any(sign.isspace() for sign in word)]
    return [*found, *(command for word in given for command in commands(word, shell))]


def _place(words: Sequence[str]) -> int | None:
    """Where main.py stands in a command that runs it, or the "--" of comfy launch."""
    for place, word in enumerate(words):
        if _base(word) == "main.py" and _is_run(words[:place]):
            return place
    bases = [_base(word).removesuffix(".exe") for word in words]
    if "comfy" in bases and "launch" in bases and "--" in words:
        place = words.index("--")
        return place if bases.index("comfy") < bases.index("launch") < place else None
    return None


def _is_run(before: Sequence[str]) -> bool:
    if not before:
        return True
    lowered = [word.lower().lstrip("@") for word in before]
    if {"-m", "-c", "echo"} & set(lowered) or _base(before[0]) in _ONLY_NAMES:
        return False
    return any(_RUNS.fullmatch(_base(word)) or word[0:1] in ("$", "%", "!") for word in before)


def _base(word: str) -> str:
    return re.split(r"[\\/]", word)[-1].lower().lstrip("@")


def _isolated(before: Sequence[str]) -> bool | None:
    """Whether an embedded Python is told to leave the user's packages out."""
    place = next((n for n, word in enumerate(before) if "python_embeded" in word.lower()), None)
    if place is None:
        return None
    options = [word for word in before[place + 1 :] if re.fullmatch(r"-[bBdEhiIOPqsSuvVx]+", word)]
    return any("s" in option or "I" in option for option in options)
