"""Who asks for another attention implementation: Python sources and model configs, never run.

Nearly all files are done with once their bytes were searched for a few words. What is left out:
environments and packages, tests, examples and documents, folders of data, disabled custom nodes.
"""

from __future__ import annotations

import codecs
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from klein_doctor.attention import Override, Replaced, Scan
from klein_doctor.probes.outside import Outside, is_dir
from klein_doctor.probes.override_config import read_config
from klein_doctor.probes.override_source import Found, read_source
from klein_doctor.probes.override_words import is_worth_parsing, may_replace, tells
from klein_doctor.values import printable

SECONDS = 20.0
_MOST_FILES = 100_000
_MOST_FOLDERS = 50_000
_MOST_BYTES = 2 << 30  # searched in all
_MOST_OVERRIDES = 1_000
_MOST_COMPONENTS = 100  # folders of a pipeline
_LONGEST = 2 << 20  # searched of one file; of a longer one only this beginning
_LONGEST_PARSED = 512 << 10  # longer sources are tables; a tree takes 300 times its source
_LONGEST_CONFIG = 1 << 20
_PIECE = 1 << 16
_LONGEST_TEXT = 120
_SKIPPED = frozenset(
    """
    __pycache__ site-packages dist-packages node_modules venv env virtualenv
    python_embeded python_embedded tests test tests-unit docs doc examples web output input temp
    """.split()
)
# Scripts of a custom node's author, which ComfyUI never runs; elsewhere they are the user's own.
_TEST = re.compile(r"(?:test|conftest|setup|test_.*|.*_test)\.py$")
_ENVIRONMENT = ("pyvenv.cfg", "conda-meta")  # what makes a folder an environment
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_BLANK = re.compile(rb"^[ \t\f]*(?:#.*)?\r?$")
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Python's own versions of these take the square of a text's length, or are no encodings of texts.
_REFUSED = frozenset({"punycode", "idna", "undefined", "unicode-escape", "raw-unicode-escape"})
# A pipe in the place of a file must not be waited for; no-ops where there is no such flag.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_Identity = tuple[int, int]


def read_overrides(
    outside: Outside,
    roots: Sequence[Path],
    configs: Sequence[Path],
    custom_nodes: Path | None,
    seconds: float = SECONDS,
) -> Scan:
    """Look for overrides.

    Args:
        roots: folders of Python sources, each walked to its ends; a file, .py or .pth, is one too.
            configs: diffusers folders, whose components' config.json are read. custom_nodes: the
            folder whose entries are custom nodes. seconds: when to stop, between two files.
    """
    search = _Search(outside, time.monotonic() + seconds)
    for folder in configs:
        search.pipeline(folder)
    search.walk(roots, custom_nodes)
    return search.result()


class _Search:
    def __init__(self, outside: Outside, end: float) -> None:
        self._outside = outside
        self._end = end
        self._overrides: list[Override] = []
        self._replaced: list[Replaced] = []
        self._folders: set[_Identity] = set()
        self._told: set[_Identity] = set()  # files that were parsed
        self._files = self._bytes = self._unread = 0
        self._complete = True

    def result(self) -> Scan:
        """Everything found, in order of the paths."""
        found = sorted(self._overrides, key=lambda each: (each.path.real, each.line))
        replaced = sorted(self._replaced, key=lambda each: (each.path.real, each.line))
        return Scan(tuple(found), self._files, self._complete, self._unread, tuple(replaced))

    def _is_over(self) -> bool:
        over = (
            self._files >= _MOST_FILES
            or self._bytes >= _MOST_BYTES
            or len(self._folders) >= _MOST_FOLDERS
            or len(self._overrides) + len(self._replaced) >= _MOST_OVERRIDES
            or time.monotonic() >= self._end
        )
        if over:
            self._complete = False
        return over

    # --- configs ---

    def pipeline(self, folder: Path) -> None:
        """The configs of a pipeline's components, and its own where it is a single model."""
        names = [""]
        try:
            with os.scandir(folder) as entries:
                names += sorted(entry.name for entry in entries if _is_folder(entry))
        except (OSError, ValueError):
            return
        for name in names[: _MOST_COMPONENTS + 1]:
            if self._is_over():
                return
            path = str(folder / name / "config.json")
            data = self._read(path, _LONGEST_CONFIG)
            if data and tells(data):
                self._add("config", path, "", read_config(data))

    # --- sources ---

    def walk(self, roots: Sequence[Path], custom_nodes: Path | None) -> None:
        """Every source below some folders, each folder once, however it is reached."""
        nodes = _identity(str(custom_nodes)) if custom_nodes is not None else None
        waiting = [(str(root), _node_of(root, custom_nodes)) for root in reversed(roots)]
        while waiting:
            if self._is_over():
                return
            path, node = waiting.pop()
            identity = _identity(path)
            if identity is None or identity in self._folders:
                continue
            if path.endswith((".py", ".pth")) and not is_dir(Path(path)):
                self._source(path, node, node != "")
                continue
            self._folders.add(identity)
            waiting += reversed(list(self._entries(path, node, identity == nodes)))

    def _entries(self, folder: str, node: str, of_nodes: bool) -> Iterator[tuple[str, str]]:
        """Read the sources of a folder; gives the folders in it with the node they are of."""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except (OSError, ValueError):
            return
        names = {entry.name for entry in entries}
        if not names.isdisjoint(_ENVIRONMENT):
            return
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name.lower().endswith(".disabled"):
                continue
            if _is_folder(entry):
                # Beside custom_nodes it holds weights; in a package it is code as any other.
                data = name == "models" and "custom_nodes" in names
                if (name not in _SKIPPED and not data) or of_nodes:
                    yield entry.path, name if of_nodes else node
            elif name.endswith(".py") and _is_file(entry):
                if self._is_over():
                    return
                inner = name if of_nodes else node
                if not (inner and _TEST.match(name)):
                    self._source(entry.path, inner, inner != "" or "__init__.py" in names)

    def _source(self, path: str, node: str, library: bool) -> None:
        data = self._read(path, _LONGEST)
        if data is None:
            return
        if data.startswith(_WIDE):
            # Python itself reads no such source: nobody can say what it would do.
            narrow = data.decode("utf-16", "ignore").encode("ascii", "ignore")
            self._unread += tells(narrow) and is_worth_parsing(narrow)
        elif (tells(data) and is_worth_parsing(data)) or may_replace(data):
            text = _decoded(data) if len(data) <= _LONGEST_PARSED else None
            if text is not None and path.endswith(".pth"):
                text = _code(text)
            identity = _identity(path)
            if identity is not None and identity not in self._told:
                self._told.add(identity)
                found = read_source(text, library) if text is not None else None
                self._add("source", path, node, found)

    def _read(self, path: str, longest: int) -> bytes | None:
        """The beginning of a file; None where it cannot be read."""
        try:
            descriptor = os.open(path, _FLAGS)
        except (OSError, ValueError):
            return None
        try:
            data = os.read(descriptor, _PIECE)
            if len(data) == _PIECE:
                pieces = [data]
                left = longest + 1 - _PIECE
                while left > 0 and (data := os.read(descriptor, min(left, longest))):
                    pieces.append(data)
                    left -= len(data)
                data = b"".join(pieces)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        self._files += 1
        self._bytes += len(data)
        return data

    def _add(self, kind: str, path: str, node: str, found: Found | None) -> None:
        if found is None:
            self._unread += 1
            return
        shown = self._outside.redactor.path(path)
        name = self._public(node)
        for hit in found.hits:
            self._overrides.append(
                Override(
                    kind=kind,
                    path=shown,
                    line=hit.line,
                    how=hit.how,
                    asks=self._public(hit.asks),
                    owner=self._public(hit.owner),
                    model=self._public(hit.model),
                    node=name,
                    klein=found.klein,
                )
            )

        for swap in found.swaps:
            self._replaced.append(
                Replaced(
                    path=shown,
                    line=swap.line,
                    target=swap.target,
                    by=self._public(swap.by),
                    calls=tuple(map(self._public, swap.calls)),
                    needs=tuple(map(self._public, swap.needs)),
                    turns=swap.turns,
                    masked=swap.masked,
                    when=swap.when,
                    node=name,
                )
            )

    def _public(self, text: str) -> str:
        """A stranger's text as it may be shown anywhere: one with a path may name its user."""
        return self._outside.redactor.text(printable(text, _LONGEST_TEXT)).public


def _decoded(data: bytes) -> str | None:
    """A source as text, by its mark or its declared encoding, as Python would read it."""
    name = "utf-8"
    if data.startswith(codecs.BOM_UTF8):
        data = data[len(codecs.BOM_UTF8) :]
    else:
        for line in data.split(b"\n", 2)[:2]:
            cookie = _COOKIE.match(line)
            if cookie:
                name = cookie[1].decode("ascii", "replace")
            if cookie or not _BLANK.match(line):
                break
    try:
        if codecs.lookup(name).name.replace("_", "-") in _REFUSED:
            return None
        return data.decode(name).replace("\r\n", "\n").replace("\r", "\n")
    except (LookupError, ValueError, MemoryError):
        return None


def _code(text: str) -> str:
    """The lines of a .pth file that Python runs, by their numbers; the others are folders."""
    lines = text.split("\n")
    return "\n".join(line if line.startswith(("import ", "import\t")) else "" for line in lines)


def _node_of(root: Path, custom_nodes: Path | None) -> str:
    """The custom node that a root lies in."""
    try:
        parts = root.relative_to(custom_nodes).parts if custom_nodes is not None else ()
    except ValueError:
        return ""
    return parts[0] if parts else ""


def _identity(path: str) -> _Identity | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False
