"""Where ComfyUI looks for models: base directory, extra_model_paths.yaml, legacy folder names.

Order and expansion as ComfyUI 0.33's folder_paths.py and utils/extra_config.py build them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from klein_doctor.installation import Launcher, ModelFolder, PathsFile
from klein_doctor.model import Fact, Known
from klein_doctor.probes.found import Found
from klein_doctor.probes.outside import Outside, is_dir, is_file

CATEGORIES = ("diffusion_models", "text_encoders", "vae", "checkpoints", "loras")
# Folder names from before they were renamed; a YAML's keys are mapped alike.
_LEGACY = {"unet": "diffusion_models", "clip": "text_encoders"}
_OWN = {
    "diffusion_models": ("unet", "diffusion_models"),
    "text_encoders": ("text_encoders", "clip"),
}
_OUTPUT = {"text_encoders": "clip"}
_SCRIPTS = ("bat", "sh", "ps1")
_LONGEST_YAML = 256 << 10
_MOST_FILES, _MOST_ADDED, _MOST_FOLDERS, _MOST_MISSING = 16, 200, 40, 50
_MOST_MERGED, _MOST_LEVELS = 16, 32  # of YAML's merged sections, and of nested values
_LONGEST_PATH = 1000
_LONGEST_ARGUMENT = 300  # what is longer was cut when it was read


class _Extra(NamedTuple):
    """A folder that a YAML adds."""

    category: str
    folder: str
    first: bool
    source: str


def base_of(found: Found, launchers: tuple[Launcher, ...]) -> Path:
    """The folder with models/ and custom_nodes/: --base-directory, else the installation's."""
    given = _given(launchers, "--base-directory", found.root)
    return Path(given) if given else found.base


def read_folders(
    outside: Outside,
    root: Path,
    base: Path,
    launchers: tuple[Launcher, ...],
    server_folders: Mapping[str, tuple[str, ...]] | None,
) -> tuple[Fact[tuple[ModelFolder, ...]], tuple[PathsFile, ...]]:
    """The search path of each category, and what the YAML files say."""
    code = _real(root)
    files: list[PathsFile] = []
    extras: list[_Extra] = []
    for path, folder in _yaml_files(root, code, launchers):
        told, found = _read_yaml(outside, path, folder)
        files.append(told)
        extras = [*extras, *found][: 2 * _MOST_ADDED]
    if server_folders is not None:
        pairs = [(c, f, "server") for c in CATEGORIES for f in server_folders.get(c, ())]
    else:
        own = code if base == root else base
        models = _given(launchers, "--models-directory", root) or str(own / "models")
        output = _given(launchers, "--output-directory", root) or str(own / "output")
        pairs = [each for c in CATEGORIES for each in _search(c, models, output, extras)]
    folders = tuple(
        ModelFolder(category, outside.redactor.path(folder), source, is_dir(Path(folder)))
        for category, folder, source in pairs[: _MOST_FOLDERS * len(CATEGORIES)]
    )
    return Known(folders), tuple(files)


def _search(
    category: str, models: str, output: str, extras: list[_Extra]
) -> list[tuple[str, str, str]]:
    order = [(os.path.join(models, name), "models") for name in _OWN.get(category, (category,))]
    last = os.path.join(output, _OUTPUT.get(category, category))
    for extra in (*extras, _Extra(category, last, False, "output")):
        if extra.category != category:
            continue
        there = [each for each in order if each[0] == extra.folder]
        if extra.first:  # also what is there already moves to the front
            order = [*(there or [(extra.folder, extra.source)]),
                     *(each for each in order if each not in there)]  # fmt: skip
        elif not there:
            order.append((extra.folder, extra.source))
    return [(category, folder, source) for folder, source in order[:_MOST_FOLDERS]]


def _real(root: Path) -> Path:
    """Where the code lies once links are followed, as ComfyUI does before it builds any path."""
    try:
        return Path(os.path.realpath(root / "main.py")).parent
    except (OSError, ValueError):
        return root


# --- arguments -------------------------------------------------------------------------------


def _given(launchers: tuple[Launcher, ...], name: str, root: Path) -> str:
    """A path argument, "" without one: the server's word, else what is saved, else all scripts'."""
    server = [_last(each, name, root) for each in launchers if each.kind == "server"]
    if server:
        return next((value for value in server if value), "")
    for value in (_last(each, name, root) for each in launchers if each.kind not in _SCRIPTS):
        if value:
            return value
    scripts = {_last(each, name, root) for each in launchers if each.kind in _SCRIPTS}
    return scripts.pop() if len(scripts) == 1 else ""


def _last(launcher: Launcher, name: str, root: Path) -> str:
    """Of a repeated argument the last counts."""
    values = [flag.value.real for flag in launcher.flags if flag.name == name]
    return _absolute(values[-1], launcher, root) if values and values[-1] else ""


def _absolute(text: str, launcher: Launcher, root: Path) -> str:
    """A path argument as it was meant; a relative one where such a path exists, else ""."""
    try:
        if os.path.isabs(text):
            return os.path.abspath(text)
        # The folder it was started in is not known: beside its script, or where people stand.
        beside = [Path(launcher.path.real).parent] if launcher.kind in _SCRIPTS else []
        for folder in (*beside, root, root.parent):
            path = folder / text
            if folder.is_absolute() and (is_dir(path) or is_file(path)):
                return os.path.abspath(path)
    except (OSError, ValueError):
        pass
    return ""


def _yaml_files(root: Path, code: Path, launchers: tuple[Launcher, ...]) -> list[tuple[Path, Path]]:
    """The files that are read, in order, each with the folder its relative paths start from."""
    own = root / "extra_model_paths.yaml"
    found = {own: code} if is_file(own) else {}
    running = [each for each in launchers if each.kind == "server"]
    for launcher in running or launchers:
        for flag in launcher.flags:
            if flag.name != "--extra-model-paths-config":
                continue
            for path in _several(flag.value.real, launcher, root):
                # Of many scripts nobody knows which is used: what one misses is no fault yet.
                if launcher.kind not in _SCRIPTS or is_file(path):
                    found.setdefault(path, path.parent)
    return list(found.items())[:_MOST_FILES]


def _several(text: str, launcher: Launcher, root: Path) -> Iterator[Path]:
    """The files of one argument, which takes several: a space may part two or be in a name."""
    words = text.split(" ")[:32] if text else []
    while words:
        path = ""
        for end in range(1, len(words) + 1):
            path = _absolute(" ".join(words[:end]), launcher, root)
            if path and is_file(Path(path)):
                yield Path(path)
                words = words[end:]
                break
        else:
            if path and len(text) < _LONGEST_ARGUMENT:
                yield Path(path)
            return


# --- a file of extra paths -------------------------------------------------------------------


class _Fault(Exception):
    """Why a file ends ComfyUI's start, in plain words, and in which line if that is known."""


def _read_yaml(outside: Outside, path: Path, folder: Path) -> tuple[PathsFile, list[_Extra]]:
    shown = outside.redactor.path(str(path))
    extras: list[_Extra] = []
    missing = []
    try:
        for section, key, extra in _extras(outside, path, folder):
            extras.append(extra)
            if extra.category in CATEGORIES and not is_dir(Path(extra.folder)):
                place = _label(outside, section, key)
                missing.append((place, outside.redactor.path(extra.folder)))
    except _Fault as fault:
        words, line = (*fault.args, 0)[:2]
        return PathsFile(shown, words, line, (), 0), []
    return PathsFile(shown, "", 0, tuple(missing[:_MOST_MISSING]), len(extras)), extras


def _extras(outside: Outside, path: Path, folder: Path) -> list[tuple[str, str, _Extra]]:
    """Section, key and folder of everything a file adds; raises _Fault where it ends a start."""
    source = outside.redactor.text(path.name).public[:60]
    found: list[tuple[str, str, _Extra]] = []
    for section, values in _sections(_parse(_text(path))):
        told = dict(values)
        for key, value in values:
            if key != "is_default" and value.kind != "str":
                words = f"{_label(outside, section, key)} is no text, where a folder must be"
                raise _Fault(words, value.line)
        given = told.get("base_path")
        base = os.path.join(folder, _expanded(outside, given.text)) if given else str(folder)
        first = "is_default" in told and told["is_default"].counts_as_true()
        for key, value in values:
            if key in ("base_path", "is_default"):
                continue
            for part in value.text.split("\n"):
                if part and len(found) < _MOST_ADDED:
                    place = os.path.normpath(os.path.join(os.path.abspath(base), part))
                    category = _LEGACY.get(key, key)
                    extra = _Extra(category, place[:_LONGEST_PATH], first, source)
                    found.append((section, key, extra))
    return found


def _label(outside: Outside, section: str, key: str) -> str:
    """Names out of the file as section/category, fit to be shown anywhere."""
    plain = (re.sub(r"[^\w .-]", "?", name[:60]) for name in (section, key))
    return "/".join(outside.redactor.text(name).public for name in plain)


_POSIX_USE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})", re.ASCII)
_WINDOWS_USE = re.compile(r"'[^']*'?|%%|%([^%]*)%|\$\$|\$\{([^}]*)\}|\$([\w-]+)", re.ASCII)


def _expanded(outside: Outside, text: str) -> str:
    """A base_path with ~ and variables filled in, as Python does it on that system."""
    text = _home(outside, text[:_LONGEST_PATH])

    def value(use: re.Match[str]) -> str:
        if use[0] in ("%%", "$$"):
            return use[0][0]
        name = next((each for each in use.groups() if each is not None), "")
        return outside.env.get(name.upper() if outside.windows else name, use[0])

    return (_WINDOWS_USE if outside.windows else _POSIX_USE).sub(value, text)


def _home(outside: Outside, text: str) -> str:
    if not text.startswith("~"):
        return text
    separators = "/\\" if outside.windows else "/"
    end = next((place for place, sign in enumerate(text) if sign in separators), len(text))
    home = outside.env.get("USERPROFILE" if outside.windows else "HOME", "")
    if end > 1 and not outside.windows:
        # Another user's, by the account database.
        return os.path.expanduser(text) if text.isprintable() else text
    if not home or (end > 1 and text[1:end] != outside.env.get("USERNAME")):
        return text
    return (home if outside.windows else home.rstrip("/")) + text[end:] or "/"


# --- YAML ------------------------------------------------------------------------------------


class _Node:
    """A value of a YAML file: kind is str, bool, null, zero, map, list or other."""

    __slots__ = ("kind", "line", "parts", "text")

    def __init__(self, kind: str, text: str, line: int) -> None:
        self.kind, self.text, self.line = kind, text, line
        self.parts: list[_Node] = []  # of a list; of a map keys and values in turn

    def counts_as_true(self) -> bool:
        if self.kind == "bool":
            return self.text.lower() in ("yes", "true", "on")
        if self.kind in ("str", "list", "map"):
            return bool(self.text or self.parts)
        return self.kind == "other"

    def pairs(self, levels: int = 2) -> list[tuple[str, _Node]]:
        """The entries of a map; of two with one key the last counts, at the first one's place."""
        own: dict[str, _Node] = {}
        merged: dict[str, _Node] = {}
        for key, value in zip(self.parts[::2], self.parts[1::2], strict=True):
            if key.kind in ("map", "list"):
                raise _Fault("a list or a section stands where a name must be", key.line)
            if key.kind != "merge":
                own[key.text] = value
                continue
            sources = value.parts if value.kind == "list" else [value]
            for each in reversed(sources[:_MOST_MERGED]):
                if each.kind != "map" or not levels:
                    raise _Fault("what << names is no section", key.line)
                merged.update(each.pairs(levels - 1) if each is not self else ())
        return list({**merged, **own}.items())


def _text(path: Path) -> str:
    try:
        if not is_file(path):
            raise _Fault("there is no such file")
        with path.open("rb") as stream:
            raw = stream.read(_LONGEST_YAML + 1)
        if len(raw) > _LONGEST_YAML:
            raise _Fault("it is larger than any such file")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise _Fault(f"it cannot be read ({error.strerror or 'error'})") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _Fault("it is not UTF-8 text: save it anew in that encoding", line) from None


def _sections(top: _Node) -> Iterator[tuple[str, list[tuple[str, _Node]]]]:
    if top.kind == "null":
        raise _Fault("it is empty, or all of it is comments")
    if top.kind in ("list", "str") and not top.counts_as_true():
        return
    if top.kind != "map":
        raise _Fault("it holds a list or a text where sections must be", top.line)
    for section, values in top.pairs():
        if values.kind == "map":
            yield section, values.pairs()
        elif values.kind not in ("null", "list", "str") or values.counts_as_true():
            raise _Fault("a section holds a text or a list where folders by category must be",
                         values.line)  # fmt: skip


def _parse(text: str) -> _Node:
    """The value of a text as PyYAML, which ComfyUI uses, reads it: nothing is built from tags."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 1)
    try:
        return _built(reader.parse(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _Fault(_said(str(error.problem or "")), mark.line + 1 if mark else 0) from None
    except (YAMLError, ValueError, RecursionError, TypeError, AttributeError, LookupError):
        raise _Fault("it is not valid YAML") from None


def _said(problem: str) -> str:
    if "\\t" in problem:
        return "a tab stands where only spaces may"
    if "escape" in problem:
        return "a backslash stands in double quotes: write the path in single quotes or in none"
    # Words of the file's own, which may name somebody, are quoted in it.
    plain = re.fullmatch(r"[\w ,-]{1,100}", problem, re.ASCII)
    return f"it is not valid YAML ({problem})" if plain else "it is not valid YAML"


def _built(events: Any) -> _Node:
    """The first document of a stream of events; aliases share what they name."""
    top = _Node("list", "", 0)
    open_ones = [top]
    anchors: dict[str, _Node] = {}
    for event in events:
        kind = type(event).__name__
        if kind in ("SequenceEndEvent", "MappingEndEvent"):
            open_ones.pop()
        if kind not in ("AliasEvent", "ScalarEvent", "SequenceStartEvent", "MappingStartEvent"):
            continue
        line, siblings = int(event.start_mark.line) + 1, open_ones[-1].parts
        if kind == "AliasEvent":
            if event.anchor not in anchors:
                raise _Fault("it refers (*) to a name that nothing has", line)
            siblings.append(anchors[event.anchor])
            continue
        node = _Node(_kind(event), str(getattr(event, "value", "")), line)
        if node.kind == "null" and siblings:
            node.line = siblings[-1].line  # what is not there is marked where the next begins
        if event.anchor is not None:
            if event.anchor in anchors:
                raise _Fault("it gives one name (&) twice", line)
            anchors[event.anchor] = node
        siblings.append(node)
        if kind != "ScalarEvent":
            open_ones.append(node)
            if len(open_ones) > _MOST_LEVELS:
                raise _Fault("it is nested deeper than any such file", line)
    if len(top.parts) > 1:
        raise _Fault("it holds more than one document (---)", top.parts[1].line)
    return top.parts[0] if top.parts else _Node("null", "", 0)


_KINDS = {"str": "str", "bool": "bool", "null": "null", "map": "map", "seq": "list"}
_KINDS |= dict.fromkeys(("int", "float", "binary", "timestamp", "omap", "pairs", "set"), "other")
# What an unquoted word means in YAML 1.1, in the spellings PyYAML knows.
_BOOL = re.compile("yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF")
_NUMBER = re.compile(
    r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+|0|[1-9][0-9_]*(?::[0-5]?[0-9])*)"
    r"|[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_TIME = re.compile(r"\d{4}-\d\d-\d\d|\d{4}-\d\d?-\d\d?[Tt \t]+\d\d?:\d\d:\d\d[\d.:Z \t+-]*", re.A)


def _kind(event: Any) -> str:
    tag = str(event.tag) if event.tag is not None else ""
    if tag and tag != "!":
        kind = _KINDS.get(tag.removeprefix("tag:yaml.org,2002:"))
        if kind is None:
            raise _Fault("it has a tag (!) that ComfyUI does not know", event.start_mark.line + 1)
        return kind
    if not hasattr(event, "value"):
        return "map" if type(event).__name__ == "MappingStartEvent" else "list"
    text = str(event.value)
    if tag or not event.implicit[0]:
        return "str"
    if text in ("", "~", "null", "Null", "NULL"):
        return "null"
    if _BOOL.fullmatch(text):
        return "bool"
    if _NUMBER.fullmatch(text):
        return "other" if text.strip("+-0._xb:") else "zero"
    if text == "<<":
        return "merge"
    return "other" if text == "=" or _TIME.fullmatch(text) else "str"
