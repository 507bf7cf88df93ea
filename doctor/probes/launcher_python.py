"""Which environment a launcher's file starts ComfyUI with: by its cd, activate and python words."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from klein_doctor.editing.launch_environment import names
from klein_doctor.launched import Started
from klein_doctor.probes.comfyui_launcher_files import home_of, path_of
from klein_doctor.probes.interpreter import find_executable, prefix_of
from klein_doctor.probes.outside import Outside, is_dir, is_file
from klein_doctor.probes.shims import behind

_SELF = r"(?:\$\{?0\}?|\$\{?BASH_SOURCE(?:\[0\])?\}?)"
_SELF = rf"(?:\"?{_SELF}\"?|\"?\$\(\s*(?:readlink\s+-f|realpath)\s+\"?{_SELF}\"?\s*\)\"?)"
_DIRNAME = rf"\$\(\s*dirname\s+(?:--\s+)?{_SELF}\s*\)"
# How each shell writes the folder that its file lies in, and the one it is in at the moment.
_FILE = {
    "bat": re.compile(r"%~dp0%?", re.IGNORECASE),
    "ps1": re.compile(r"\$\{?PSScriptRoot\}?", re.IGNORECASE),
    "sh": re.compile(
        rf"\$\(\s*cd\s+(?:--\s+|-P\s+)?\"?{_DIRNAME}\"?[^()]{{0,40}}&&\s*pwd(?:\s+-[PL])?\s*\)"
        rf"|{_DIRNAME}|\$\{{0%/\*\}}"
    ),
}
_HERE = {
    "bat": re.compile(r"%cd%", re.IGNORECASE),
    "ps1": re.compile(r"\$\{?PWD\}?(?:\.Path)?", re.IGNORECASE),
    "sh": re.compile(r"\$\{?PWD\}?|\$\(\s*pwd\s*\)"),
}
_HOME = re.compile(r"\$\{?(?:env:)?(?:HOME|USERPROFILE)\}?|%USERPROFILE%", re.IGNORECASE)
_LEFT = re.compile(r"[$%!`*?]")
_GO = frozenset("cd chdir pushd set-location sl push-location".split())
_TURNS = {"else": True, "elif": True, "elseif": True, "fi": False}
_ACTIVATE = frozenset("activate activate.bat activate.ps1 activate.sh".split())
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*w?(?:\.exe)?", re.IGNORECASE)
_ASKING = frozenset("[ [[ test test-path echo echo. rem printf write-host write-output".split())
_MOST_WORDS = 64


class Walk:
    """A launcher's file from command to command: the folder it is in, the environment that is on.

    It begins in the folder of the file, as a launcher does that is clicked on or goes there first.
    """

    def __init__(self, outside: Outside, path: Path, shell: str, root: Path) -> None:
        self._outside, self._shell, self._root = outside, shell, root
        self._file = self._folder = path.parent
        self._on: Started | None = None
        self._else = False  # what comes now is done only where something else was not

    def see(self, commands: Sequence[Sequence[str]], raw: str, line: int) -> None:
        """Follow the commands of a line; raw: as the file has it, variables and all."""
        for words in commands:
            lowered = [word.lower().lstrip("@") for word in words[:_MOST_WORDS]]
            if lowered and lowered[0] in _TURNS:
                self._else = _TURNS[lowered[0]]
            if not lowered or _ASKING & set(lowered):
                continue
            if lowered[0] in _GO:
                self._go(words[1:])
            for word in words[:_MOST_WORDS]:
                inner = self._outer(word)
                if inner is not None and not self._is_on(line):
                    self._on = self._started(inner, None, raw, line)

    def started(self, before: Sequence[str], raw: str, line: int) -> Started | None:
        """What a command starts main.py with: the interpreter it names, else what is on."""
        for word in reversed(before[:_MOST_WORDS]):
            parts = re.split(r"[\\/]", word)
            if len(parts) > 1 and _PYTHON.fullmatch(parts[-1]):
                python = self._path(word)
                return None if python is None else self._started(None, python, raw, line)
        return self._on

    def _is_on(self, line: int) -> bool:
        """Whether an environment is on that a further one of this line does not replace."""
        on = self._on
        return on is not None and on.there and (self._else or on.line == line)

    def _go(self, words: Sequence[str]) -> None:
        word = next((word for word in words if word.lower() not in ("/d", "--", "-path")), "")
        folder = self._path(word) if word else None
        if folder is not None and is_dir(folder):
            self._folder = folder

    def _outer(self, word: str) -> Path | None:
        """The environment of an activation script that a word names."""
        parts = re.split(r"[\\/]+", word)
        if len(parts) < 2 or parts[-1].lower() not in _ACTIVATE:
            return None
        script = self._path(word)
        inside = script is not None and script.parent.name.lower() in ("bin", "scripts")
        return script.parent.parent if script is not None and inside else None

    def _started(self, folder: Path | None, python: Path | None, raw: str, line: int) -> Started:
        activated = folder is not None
        if folder is not None:
            python = find_executable(folder)
            if python == folder:
                python = folder / ("Scripts/python.exe" if self._outside.windows else "bin/python")
        assert python is not None
        python = behind(python, self._outside.env, self._folder)
        folder = folder if folder is not None else prefix_of(python)
        redact = self._outside.redactor.path
        return Started(
            folder=redact(str(folder)),
            python=redact(str(python)),
            line=line,
            there=_is_there(python),
            activated=activated,
            plain=names(raw, str(folder), str(self._root)),
        )

    def _path(self, word: str) -> Path | None:
        """The path a word means; None where it hangs on what only the shell knows."""
        for pattern, folder in (
            (_FILE[self._shell], f"{self._file}/"),
            (_HERE[self._shell], str(self._folder)),
            (_HOME, str(home_of(self._outside))),
        ):
            word = pattern.sub(lambda _, folder=folder: folder, word)  # type: ignore[misc]
        text = word.strip("\"'").replace("\\", "/") if self._shell != "sh" else word
        if not text or _LEFT.search(text) or "\0" in text:
            return None
        if text.startswith(("/", "~")) or re.match(r"[A-Za-z]:", text):
            path = path_of(self._outside, text)
        else:
            path = self._folder / text
        return None if path is None else Path(os.path.normpath(path))


def _is_there(python: Path) -> bool:
    """Whether there is an interpreter, or a link that should lead to one."""
    try:
        return is_file(python) or python.is_symlink()
    except (OSError, ValueError):
        return False
