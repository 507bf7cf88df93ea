"""Where ComfyUI looks for models: base directory, extra_model_paths.yaml, legacy folder names.

Order and expansion as ComfyUI 0.33's folder_paths.py and utils/extra_config.py build them.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from klein_doctor.editing.model_paths import mended
from klein_doctor.installation import Launcher, ModelFolder, PathsFile
from klein_doctor.model import Fact, Known
from klein_doctor.paths_yaml import EMPTY, Fault, checked, read
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
_MOST_FILES, _MOST_ADDED, _MOST_FOLDERS, _MOST_MISSING = 16, 200, 40, 50
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


def _read_yaml(outside: Outside, path: Path, folder: Path) -> tuple[PathsFile, list[_Extra]]:
    shown = outside.redactor.path(str(path))
    extras: list[_Extra] = []
    missing = []
    text = ""
    try:
        text = read(path)
        for section, key, extra in _extras(outside, path, text, folder):
            extras.append(extra)
            if extra.category in CATEGORIES and not is_dir(Path(extra.folder)):
                place = _label(outside, section, key)
                missing.append((place, outside.redactor.path(extra.folder)))
    except Fault as fault:
        words, line = (*fault.args, 0)[:2]
        cure = mended(text) if text or words == EMPTY else None
        return PathsFile(shown, words, line, (), 0, cure.says if cure is not None else ""), []
    return PathsFile(shown, "", 0, tuple(missing[:_MOST_MISSING]), len(extras)), extras


def _extras(outside: Outside, path: Path, text: str, folder: Path) -> list[tuple[str, str, _Extra]]:
    """Section, key and folder of everything a file adds; raises Fault where it ends a start."""
    source = outside.redactor.text(path.name).public[:60]
    found: list[tuple[str, str, _Extra]] = []
    for section, node in checked(text, functools.partial(_label, outside)):
        values = node.pairs()
        told = dict(values)
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
