"""What keeps torch where it is: pip's constraints in the target, and ComfyUI-Manager's list."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from klein_doctor.installation import BLACKLIST, CONSTRAINTS, Guard, Pin
from klein_doctor.model import Interpreter, Private
from klein_doctor.probes.outside import Outside, is_dir, is_file, names, read_text

_LONGEST = 256 << 10  # bytes of a configuration or a list
_MOST_FILES = 16
_NAMES = "torch", "torchvision", "torchaudio"
_PIN = re.compile(
    r"\s*(torch|torchvision|torchaudio)\s*(?:\[[^\]]{0,99}\]\s*)?(?:(===?)\s*([\w.+!*]{1,60})|(@))",
    re.IGNORECASE | re.ASCII,
)
_MORE = re.compile(r"\s*(?:-c|--constraint)[ \t=]+(\S+)")
_MANAGER = "comfyui-manager"
_USE_UV = re.compile(r"^\s*use_uv\s*[=:]\s*(\w+)", re.IGNORECASE | re.MULTILINE)


def read_guard(outside: Outside, interpreter: Interpreter, base: Path) -> Guard:
    """Read it for the interpreter and the ComfyUI whose models and nodes lie below base."""
    pip, unread = _pins(outside, interpreter, _told_pip(outside, interpreter))
    uv, _ = _pins(outside, interpreter, outside.env.get("UV_CONSTRAINT", "").split())
    manager, packaged = _manager(base)
    listed: tuple[str, ...] = ()
    if manager is not None:
        there = {line.strip() for line in read_text(manager / BLACKLIST, _LONGEST).split("\n")}
        listed = tuple(name for name in _NAMES if name in there)
    return Guard(
        pip=pip,
        uv=uv,
        unread=unread,
        manager=None if manager is None else outside.redactor.path(str(manager)),
        listed=listed,
        manager_uv=manager is not None and _uses_uv(manager, packaged),
    )


# --- pip -------------------------------------------------------------------------------------


def _told_pip(outside: Outside, interpreter: Interpreter) -> list[str]:
    """The constraints that pip keeps to: a variable, else what its files say together."""
    named = outside.env.get("PIP_CONSTRAINT", "").split()
    if named:
        return named
    values: dict[str, str] = {}
    for path in _configurations(outside, Path(interpreter.prefix.real)):
        text = read_text(path, _LONGEST)
        if "constraint" in text.lower():
            values |= _told(text)
    if not values:
        return []
    from klein_doctor.pip_conf import in_force

    return in_force(values)


def _told(text: str) -> Mapping[str, str]:
    from klein_doctor.pip_conf import told

    try:
        return told(text)
    except ValueError:
        return {}  # pip stops at such a file, whatever stands in it


def _configurations(outside: Outside, prefix: Path) -> Iterator[Path]:
    """The files pip reads, in its order: the system's, the user's, the environment's, a named one.

    Source: pip, src/pip/_internal/configuration.py.
    """
    env, name = outside.env, "pip.ini" if outside.windows else "pip.conf"
    named = env.get("PIP_CONFIG_FILE", "")
    if named == ("nul" if outside.windows else "/dev/null"):
        return
    home = env.get("USERPROFILE" if outside.windows else "HOME", "")
    yield from (path / name for path in _of_the_system(outside))
    if not (named and is_file(outside.at(named))) and home:
        yield outside.at(home) / ("pip" if outside.windows else ".pip") / name
        yield from (path / name for path in _of_the_user(outside, home))
    yield prefix / name
    if named:
        yield outside.at(named)


def _of_the_system(outside: Outside) -> list[Path]:
    if outside.windows:
        data = outside.env.get("PROGRAMDATA", "")
        return [Path(data) / "pip"] if data else []
    if outside.platform == "darwin":
        return [outside.at("/Library/Application Support/pip")]
    folders = (outside.env.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    return [*(outside.at(each) / "pip" for each in folders if each), outside.at("/etc")]


def _of_the_user(outside: Outside, home: str) -> list[Path]:
    if outside.windows:
        data = outside.env.get("APPDATA", "")
        return [Path(data) / "pip"] if data else []
    if outside.platform == "darwin":
        own = outside.at(home) / "Library/Application Support/pip"
        return [own if is_dir(own) else outside.at(home) / ".config/pip"]
    config = outside.env.get("XDG_CONFIG_HOME", "")
    return [(outside.at(config) if config else outside.at(home) / ".config") / "pip"]


# --- constraints -----------------------------------------------------------------------------


def _pins(
    outside: Outside, interpreter: Interpreter, places: list[str]
) -> tuple[tuple[Pin, ...], int]:
    """What constraints say of torch and its partners, and how many could not be read."""
    own = os.path.normcase(Path(interpreter.prefix.real) / CONSTRAINTS)
    found: dict[tuple[str, str], Pin] = {}
    seen: set[str] = set()
    left, unread = [(place, outside.here()) for place in places], 0
    while left:
        place, folder = left.pop(0)
        path = _file(outside, place, folder)
        if path is None or len(seen) >= _MOST_FILES or not is_file(path):
            unread += 1
            continue
        key = os.path.normcase(path)
        if key in seen:
            continue
        seen.add(key)
        shown = outside.redactor.path(str(path))
        for line in read_text(path, _LONGEST).split("\n"):
            if more := _MORE.match(line):
                left.append((more.group(1), path.parent))
            elif pin := _PIN.match(line):
                new = _pin(pin, shown, own=key == own)
                found.setdefault((new.name, new.wants), new)
    return tuple(found.values()), unread


def _pin(found: re.Match[str], file: Private, *, own: bool) -> Pin:
    # An address may hold a password: that there is one says enough.
    wants = found.group(4) or f"{found.group(2)}{found.group(3)}"
    return Pin(found.group(1).lower(), wants, file, own)


def _file(outside: Outside, place: str, folder: Path) -> Path | None:
    """The file that a constraint names, None for an address elsewhere."""
    if place.lower().startswith("file:"):
        try:
            text = unquote(urlsplit(place).path)
        except ValueError:
            return None
        if outside.windows:
            text = text.lstrip("/")
        return None if "\0" in text else outside.at(text)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", place) or "\0" in place:
        return None
    return outside.at(place) if os.path.isabs(place) else folder / place


# --- ComfyUI-Manager -------------------------------------------------------------------------


def _manager(base: Path) -> tuple[Path | None, bool]:
    """Where ComfyUI-Manager keeps its lists, and whether it is the one that pip installs.

    Newer ones use ``user/__manager``, those before ``user/default/ComfyUI-Manager``, the oldest
    their own folder.
    """
    nodes, user = base / "custom_nodes", base / "user"
    own = next((name for name in names(nodes) if name.lower() == _MANAGER), None)
    newest = user / "__manager"
    if own is None:
        return (newest, True) if is_dir(newest) else (None, False)
    places = (newest, user / "default" / "ComfyUI-Manager", nodes / own)
    return next((place for place in places if is_dir(place)), None), False


def _uses_uv(manager: Path, packaged: bool) -> bool:
    """By its settings; the one that pip installs takes uv by itself, the custom node does not."""
    told = _USE_UV.search(read_text(manager / "config.ini", _LONGEST))
    return packaged if told is None else told.group(1).lower() == "true"
