"""Where ComfyUI looks for models: base directory, extra_model_paths.yaml, legacy folder names.

Order and expansion as ComfyUI 0.33's folder_paths.py and utils/extra_config.py build them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
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
_LONGEST_YAML = 256 << 10
_MOST_FOLDERS = 200
_MOST_KEYS = 1000


class _Extra(NamedTuple):
    """A folder that a YAML adds."""

    category: str
    folder: str
    first: bool
    source: str


def base_of(found: Found, launchers: tuple[Launcher, ...]) -> Path:
    """The folder with models/ and custom_nodes/: --base-directory, else the installation's."""
    given = _given(launchers, "--base-directory")
    return Path(given[0]) if given else found.base


def read_folders(
    outside: Outside,
    root: Path,
    base: Path,
    launchers: tuple[Launcher, ...],
    answered: Mapping[str, tuple[str, ...]] | None,
) -> tuple[Fact[tuple[ModelFolder, ...]], tuple[PathsFile, ...]]:
    """The search path of each category, and what the YAML files say."""
    files, extras = [], []
    named = _given(launchers, "--extra-model-paths-config")
    for path in dict.fromkeys((root / "extra_model_paths.yaml", *map(Path, named))):
        if is_file(path) or str(path) in named:
            told, found = _read_yaml(outside, path)
            files.append(told)
            extras += found
    if answered is not None:
        pairs = [(c, f, "server") for c in CATEGORIES for f in answered.get(c, ())]
    else:
        models = (_given(launchers, "--models-directory") or [str(base / "models")])[0]
        output = (_given(launchers, "--output-directory") or [str(base / "output")])[0]
        pairs = [each for c in CATEGORIES for each in _search(c, Path(models), output, extras)]
    folders = tuple(
        ModelFolder(category, outside.redactor.path(folder), source, is_dir(Path(folder)))
        for category, folder, source in pairs[:_MOST_FOLDERS]
    )
    return Known(folders), tuple(files)


def _given(launchers: tuple[Launcher, ...], name: str) -> list[str]:
    """The values of a path argument: the running server's word, else what is saved."""
    for kinds in (("server",), ("desktop", "desktop-2", "comfy-cli", "stability-matrix")):
        told = [launcher for launcher in launchers if launcher.kind in kinds]
        values = [f.value.real for each in told for f in each.flags if f.name == name]
        if values or (told and kinds == ("server",)):
            return [value for value in values if value]
    return []


def _search(
    category: str, models: Path, output: str, extras: list[_Extra]
) -> list[tuple[str, str, str]]:
    order = [(str(models / name), "models") for name in _OWN.get(category, (category,))]
    for extra in (extra for extra in extras if extra.category == category):
        there = [each for each in order if each[0] == extra.folder]
        if extra.first:  # also what is there already moves to the front
            order = [*(there or [(extra.folder, extra.source)]),
                     *(each for each in order if each not in there)]  # fmt: skip
        elif not there:
            order.append((extra.folder, extra.source))
    order.append((str(Path(output) / _OUTPUT.get(category, category)), "output"))
    return [(category, folder, source) for folder, source in order]


def _read_yaml(outside: Outside, path: Path) -> tuple[PathsFile, list[_Extra]]:
    shown = outside.redactor.path(str(path))
    data, fault, line = _load(path)
    if fault:
        return PathsFile(shown, fault, line, (), 0), []
    extras: list[_Extra] = []
    missing = []
    for section, values in data.items():
        if values is None:
            continue  # an empty section is passed over
        if not _is_section(values):
            fault = f"its section {str(section)[:60]!r} does not hold folders by category"
            return PathsFile(shown, fault, 0, (), 0), []
        base = _base(outside, path, values.get("base_path"))
        for key, value in values.items():
            if key in ("base_path", "is_default"):
                continue
            for part in value.split("\n"):
                folder = _folder(path, base, part)
                category = _LEGACY.get(str(key), str(key))
                if not part or len(extras) >= _MOST_FOLDERS:
                    continue
                extras.append(_Extra(category, folder, bool(values.get("is_default")), path.name))
                if category in CATEGORIES and not is_dir(Path(folder)):
                    place = f"{str(section)[:60]}/{str(key)[:60]}"
                    missing.append((place, outside.redactor.path(folder)))
    return PathsFile(shown, "", 0, tuple(missing[:50]), len(extras)), extras


def _is_section(values: Any) -> bool:
    """Whether ComfyUI can read a section: texts by category; anything else stops its start."""
    return isinstance(values, dict) and all(
        isinstance(value, str) for key, value in values.items() if key != "is_default"
    )


def _base(outside: Outside, path: Path, value: Any) -> str:
    if not isinstance(value, str) or not value:
        return ""
    home = outside.env.get("USERPROFILE" if outside.windows else "HOME", "")
    text = home + value[1:] if value.startswith("~") and home else value
    for name, content in outside.env.items():
        text = text.replace(f"${{{name}}}", content).replace(f"${name}", content)
    return os.path.abspath(text if os.path.isabs(text) else path.parent / text)


def _folder(path: Path, base: str, part: str) -> str:
    if base:
        return os.path.normpath(os.path.join(base, part))
    if os.path.isabs(part):
        return os.path.normpath(part)
    return os.path.normpath(os.path.abspath(path.parent / part))


def _load(path: Path) -> tuple[dict[Any, Any], str, int]:
    """The file's mapping, or what is wrong with it and in which line."""
    try:
        if not is_file(path):
            return {}, "there is no such file", 0
        with path.open("rb") as stream:
            raw = stream.read(_LONGEST_YAML + 1)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        return {}, f"it cannot be read ({error.strerror or 'error'})", 0
    except UnicodeDecodeError as error:
        return {}, "it is not UTF-8 text", raw.count(b"\n", 0, error.start) + 1
    if len(raw) > _LONGEST_YAML:
        return {}, "it is larger than any such file", 0
    return _parse(text)


def _parse(text: str) -> tuple[dict[Any, Any], str, int]:
    """The sections of a text as PyYAML, which ComfyUI uses, would read them."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 1)
    try:
        # Composed, not constructed: nothing is built from tags, and no alias is unfolded.
        node = reader.compose(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 0
        return {}, f"it is not valid YAML ({_plain(str(error.problem or 'error'))})", line
    except (YAMLError, ValueError, RecursionError, TypeError, AttributeError, KeyError):
        return {}, "it is not valid YAML", 0
    data = None if node is None else _value(node, 2)
    if data is None:
        return {}, "it is empty, over which ComfyUI's start ends", 0
    if not isinstance(data, dict):
        return {}, "it holds a list or a text where sections must be", 1
    return data, "", 0


def _value(node: Any, depth: int) -> Any:
    """A node as the plain value it stands for, so many levels deep; of two keys the last counts."""
    kind = str(node.tag).rpartition(":")[2]
    if kind == "map" and isinstance(node.value, list):
        pairs = node.value[:_MOST_KEYS] if depth else ()
        return {str(_value(key, 0)): _value(value, depth - 1) for key, value in pairs}
    if kind == "str":
        return str(node.value)
    if kind == "bool":
        return str(node.value).lower() in ("yes", "true", "on")
    return None if kind == "null" else [kind]


def _plain(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text[:200])
