"""What the chosen ComfyUI is, from its files: version, support for Klein, git state, nodes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from klein_doctor.installation import ComfyUI, CustomNodes, Launcher, NodePin, Wanted
from klein_doctor.model import Fact, Known, Unknown
from klein_doctor.probes.comfyui_paths import base_of, read_folders
from klein_doctor.probes.found import Found
from klein_doctor.probes.git_state import read_checkout
from klein_doctor.probes.outside import Outside, is_dir, is_file, names, read_text
from klein_doctor.probes.requirements import (
    LONGEST_FILE,
    Line,
    parse_requirements,
    read_requirements,
    wanted,
)
from klein_doctor.values import printable

_OWN_VERSION = re.compile(
    r"^__version__[ \t]*(?::[^=\n]*)?=[ \t]*[\"']([^\"'\s]{1,40})[\"']", re.MULTILINE
)
_PROJECT_VERSION = re.compile(r"^version[ \t]*=[ \t]*[\"']([^\"'\s]{1,40})[\"']", re.MULTILINE)
_KLEIN = re.compile(r"\b(?:KleinTokenizer|klein_te)\b")
_TYPES = re.compile(r"class[ \t]+CLIPType\b")
_FLUX2 = re.compile(r"[ \t]+FLUX2[ \t]*=(?!=)")
_LARGEST_SOURCE = 4 << 20
_MOST_WANTED = 300
_MOST_NAMES, _LONGEST_NAME, _MOST_PINS = 400, 80, 200
_MOVES_TORCH = ("torch", "torchvision", "torchaudio", "xformers")
_WORDS = ("torch", "xformers")  # one of these is in every line that could move torch
_OPTION = re.compile(r"^(?:-i|-f|--(?:extra-)?index-url|--find-links)[\s=].*pytorch", re.IGNORECASE)
_WHEEL = re.compile(r"(?:^|[/\\])torch(?:vision|audio)?-\d+\.\d", re.IGNORECASE)


def read_comfyui(
    outside: Outside,
    found: Found,
    python_versions: Mapping[str, str],
    python_version: tuple[int, ...] | None,
    launchers: tuple[Launcher, ...],
    folders: Mapping[str, tuple[str, ...]] | None,
) -> ComfyUI:
    """Describe an installation.

    Args:
        python_versions: of the target's distributions, by normalised name. python_version: of the
            target, None unknown. folders: the running server's own answer, None without one.
    """
    root, base = found.root, base_of(found, launchers)
    searched, path_files = read_folders(outside, root, base, launchers, folders)
    return ComfyUI(
        root=outside.redactor.path(str(root)),
        kind=found.kind,
        base=outside.redactor.path(str(base)),
        version=read_version(root),
        klein=_klein(root / "comfy" / "text_encoders" / "flux.py"),
        flux2=_flux2(root / "comfy" / "sd.py"),
        checkout=read_checkout(outside, root),
        requirements=_requirements(outside, root, python_versions, python_version),
        custom_nodes=_custom_nodes(outside, base / "custom_nodes"),
        launchers=launchers,
        folders=searched,
        path_files=path_files,
    )


# --- its code --------------------------------------------------------------------------------


def read_version(root: Path) -> Fact[str]:
    """ComfyUI's version, as its own files tell it."""
    own = _OWN_VERSION.search(read_text(root / "comfyui_version.py", 65536))
    # Before that file existed the project's own table told.
    project = read_text(root / "pyproject.toml", 65536).partition("[project]")[2]
    found = own or _PROJECT_VERSION.search(re.split(r"\n\[", project, maxsplit=1)[0])
    if found and found.group(1).isprintable():
        return Known(found.group(1))
    return Unknown("its files do not tell its version")


def _klein(path: Path) -> Fact[bool]:
    """Whether a source names what came with the support for Klein; a comment does not count."""
    text = read_text(path, _LARGEST_SOURCE)
    if not text:
        return Unknown(f"{path.name} is missing or cannot be read")
    return Known(any(_KLEIN.search(line.partition("#")[0]) for line in text.splitlines()))


def _flux2(path: Path) -> Fact[bool]:
    """Whether FLUX.2 is among the types of text encoders."""
    text = read_text(path, _LARGEST_SOURCE)
    if not text:
        return Unknown(f"{path.name} is missing or cannot be read")
    inside = False
    for line in text.splitlines():
        if line[:1].strip("# \t"):  # what begins at the margin begins or ends a class
            inside = _TYPES.match(line) is not None
        elif inside and _FLUX2.match(line):
            return Known(True)
    return Known(False)


def _requirements(
    outside: Outside, root: Path, versions: Mapping[str, str], python: tuple[int, ...] | None
) -> Fact[tuple[Wanted, ...]]:
    try:
        rows = wanted(root / "requirements.txt", versions, outside, python)[:_MOST_WANTED]
    except (OSError, ValueError):
        return Unknown("its requirements.txt is missing or cannot be read")
    return Known(tuple(row._replace(text=_public(outside, row.text)) for row in rows))


# --- custom nodes ----------------------------------------------------------------------------


def _custom_nodes(outside: Outside, folder: Path) -> Fact[CustomNodes]:
    try:
        entries = sorted(name for name in os.listdir(folder) if _is_node(folder / name))
    except (FileNotFoundError, NotADirectoryError):
        return Unknown("there is no folder custom_nodes")
    except (OSError, ValueError):
        return Unknown("its folder custom_nodes cannot be read")
    active = [name for name in entries if not name.endswith(".disabled")]
    # ComfyUI-Manager moves what it disables into a folder of this name.
    parked = [name for name in names(folder / ".disabled") if _is_node(folder / ".disabled" / name)]
    shown = tuple(
        outside.redactor.text(printable(name, _LONGEST_NAME)) for name in active[:_MOST_NAMES]
    )
    pins: list[NodePin] = []
    for name in active:
        if len(pins) >= _MOST_PINS:
            break
        if is_dir(folder / name):
            pins += _pins(outside, folder / name)
    disabled = len(entries) - len(active) + len(parked)
    return Known(CustomNodes(len(active), disabled, shown, tuple(pins[:_MOST_PINS])))


def _is_node(path: Path) -> bool:
    """Whether ComfyUI would load this, or would but for its name's end."""
    if path.name == "__pycache__" or path.name.startswith("."):
        return False
    return is_dir(path) or (path.name.removesuffix(".disabled").endswith(".py") and is_file(path))


def _pins(outside: Outside, node: Path) -> list[NodePin]:
    """The requirements of a custom node that could move torch."""
    name = outside.redactor.text(printable(node.name, _LONGEST_NAME)).public
    lines = [("requirements.txt", line) for line in _in_requirements(node)]
    lines += [("pyproject.toml", line) for line in _in_project(node)]
    return [
        NodePin(name, file, line.number, _public(outside, line.text))
        for file, line in lines[:_MOST_PINS]
        if _moves(line)
    ]


def _in_requirements(node: Path) -> Iterator[Line]:
    try:
        text = read_requirements(node / "requirements.txt")
    except (OSError, ValueError):
        return
    yield from parse_requirements(text, _WORDS)


def _in_project(node: Path) -> Iterator[Line]:
    text = read_text(node / "pyproject.toml", LONGEST_FILE).removeprefix("\ufeff")
    if not any(word in text.lower() for word in _WORDS):
        return
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        project = tomllib.loads(text).get("project")
    except (ValueError, RecursionError):
        return
    listed = project.get("dependencies") if isinstance(project, dict) else None
    for item in listed if isinstance(listed, list) else ():
        if not isinstance(item, str):
            continue
        place = text.find(item)
        number = text.count("\n", 0, place) + 1 if place >= 0 else 0
        for line in parse_requirements(item, _WORDS):
            yield line._replace(number=number)


def _moves(line: Line) -> bool:
    """Whether a line names a version or a source of torch or of one of its partners."""
    if _WHEEL.search(line.text):
        return True
    named = line.requirement
    if named is None:
        return _OPTION.match(line.text) is not None
    return named.name.lower() in _MOVES_TORCH and bool(named.specifier or named.url)


def _public(outside: Outside, text: str) -> str:
    """A requirement as it may be shown anywhere: one with a path may name its user."""
    return outside.redactor.text(text).public if "/" in text or "\\" in text else text
