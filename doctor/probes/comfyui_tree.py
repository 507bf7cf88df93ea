"""What the chosen ComfyUI is, from its files: version, support for Klein, git state, nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from klein_doctor.installation import ComfyUI, CustomNodes, Launcher, NodePin, Wanted
from klein_doctor.model import Fact, Known, Unknown
from klein_doctor.probes.comfyui_paths import base_of, read_folders
from klein_doctor.probes.found import Found
from klein_doctor.probes.git_state import read_checkout
from klein_doctor.probes.outside import Outside, is_dir, is_file, names, read_text
from klein_doctor.probes.requirements import LONGEST_FILE, parse, wanted

_VERSION = re.compile(r"^\s*(?:__)?version(?:__)?\s*=\s*[\"']([^\"'\s]{1,40})[\"']", re.MULTILINE)
# Support for Klein brought both names; support for FLUX.2 brought the type.
_KLEIN = re.compile(r"^[^#\n]*\b(KleinTokenizer|klein_te)\b", re.MULTILINE)
_FLUX2 = re.compile(r"^\s+FLUX2\s*=", re.MULTILINE)
_MOST_NAMES, _LONGEST_NAME, _MOST_PINS = 400, 80, 200
_MOVES_TORCH = ("torch", "torchvision", "torchaudio", "xformers")
_OPTION = re.compile(r"^(?:-i|-f|--(?:extra-)?index-url|--find-links)[\s=].*pytorch", re.IGNORECASE)
_WHEEL = re.compile(r"/torch(?:vision|audio)?-\d[^/\s]*\.whl", re.IGNORECASE)
_DEPENDENCIES = re.compile(r"^dependencies\s*=\s*\[(.*?)\]", re.MULTILINE | re.DOTALL)


def read_comfyui(
    outside: Outside,
    found: Found,
    python_versions: Mapping[str, str],
    python_version: tuple[int, ...] | None,
    launchers: tuple[Launcher, ...],
    folders: Mapping[str, tuple[str, ...]] | None,
) -> ComfyUI:
    """Describe an installation; folders are the running server's own answer, if there is one."""
    root, base = found.root, base_of(found, launchers)
    searched, path_files = read_folders(outside, root, base, launchers, folders)
    return ComfyUI(
        root=outside.redactor.path(str(root)),
        kind=found.kind,
        base=outside.redactor.path(str(base)),
        version=_version(root),
        klein=_holds(root / "comfy" / "text_encoders" / "flux.py", _KLEIN),
        flux2=_holds(root / "comfy" / "sd.py", _FLUX2),
        checkout=read_checkout(root),
        requirements=_requirements(outside, root, python_versions, python_version),
        custom_nodes=_custom_nodes(outside, base / "custom_nodes"),
        launchers=launchers,
        folders=searched,
        path_files=path_files,
    )


def _version(root: Path) -> Fact[str]:
    for name in ("comfyui_version.py", "pyproject.toml"):
        text = read_text(root / name, 65536)
        found = _VERSION.search(text)
        if found and found.group(1).isprintable():
            return Known(found.group(1))
    return Unknown("its files do not tell its version")


def _holds(path: Path, pattern: re.Pattern[str]) -> Fact[bool]:
    """Whether a source file defines or uses a name; a comment does not count."""
    text = read_text(path, 4 << 20)
    if not text:
        return Unknown(f"{path.name} is missing or cannot be read")
    return Known(pattern.search(text) is not None)


def _requirements(
    outside: Outside, root: Path, versions: Mapping[str, str], python: tuple[int, ...] | None
) -> Fact[tuple[Wanted, ...]]:
    try:
        return Known(tuple(wanted(root / "requirements.txt", versions, outside, python)[:300]))
    except (OSError, ValueError):
        return Unknown("its requirements.txt is missing or cannot be read")


def _custom_nodes(outside: Outside, folder: Path) -> Fact[CustomNodes]:
    if not is_dir(folder):
        return Unknown("there is no folder custom_nodes")
    entries = [name for name in names(folder) if _is_node(folder / name)]
    active = [name for name in entries if not name.endswith(".disabled")]
    shown = tuple(outside.redactor.text(_plain(name)) for name in active[:_MOST_NAMES])
    pins: list[NodePin] = []
    for name in active:
        if len(pins) >= _MOST_PINS:
            break
        pins += _pins(folder / name)
    disabled = len(entries) - len(active)
    return Known(CustomNodes(len(active), disabled, shown, tuple(pins[:_MOST_PINS])))


def _is_node(path: Path) -> bool:
    if path.name == "__pycache__" or path.name.startswith("."):
        return False
    stem = path.name.removesuffix(".disabled")
    return is_dir(path) or (stem.endswith(".py") and is_file(path))


def _pins(node: Path) -> list[NodePin]:
    """The requirements of a custom node that could move torch."""
    name = _plain(node.name)
    found = [
        NodePin(name, "requirements.txt", number, text)
        for number, text in _moving(read_text(node / "requirements.txt", LONGEST_FILE))
    ]
    listed = _DEPENDENCIES.search(read_text(node / "pyproject.toml", LONGEST_FILE))
    if listed:
        quoted = re.findall(r"\"([^\"\n]+)\"|'([^'\n]+)'", listed.group(1))
        lines = "\n".join(one or other for one, other in quoted)
        found += [NodePin(name, "pyproject.toml", 0, text) for _, text in _moving(lines)]
    return found


def _moving(text: str) -> list[tuple[int, str]]:
    if "torch" not in text and "xformers" not in text:
        return []
    found = []
    for line in parse(text):
        named = line.requirement
        if named is None:
            if _OPTION.match(line.text) or _WHEEL.search(line.text):
                found.append((line.number, line.text))
        elif named.name.lower() in _MOVES_TORCH and (named.specifier or named.url):
            found.append((line.number, line.text))
    return found


def _plain(name: str) -> str:
    shown = "".join(sign if sign.isprintable() else "?" for sign in name)
    return shown[:_LONGEST_NAME]
