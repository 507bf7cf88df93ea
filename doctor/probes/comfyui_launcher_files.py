"""The settings of programs that install and start ComfyUI: where each keeps its installations.

Sources: Comfy-Org/comfy-cli (constants.py, config_manager.py, command/launch.py);
Comfy-Org/desktop (comfySettings.ts, comfyServerConfig.ts, comfyServer.ts);
Comfy-Org/ComfyUI-Desktop-2.0-Beta (installations.ts; paths.ts, pythonEnv.ts, models.ts in lib/);
LykosAI/StabilityMatrix (SettingsManager.cs, InstalledPackage.cs, LaunchOption.cs);
pinokiocomputer/pinokiod (kernel/store.js); pinokiofactory/comfy (start.js).
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from klein_doctor.probes.found import Saved
from klein_doctor.probes.launch_flags import split
from klein_doctor.probes.outside import Outside, is_file, names, read_text

_LONGEST = 1 << 20
_LONGEST_WORD = 1000
_MOST = 50
_DRIVES = "CDEFGH"
_DRIVE = re.compile(r"([A-Za-z]):/+(.*)", re.DOTALL)
# Records of Comfy Desktop 2 that hold no code: the first Desktop's base folder, other machines.
_ELSEWHERE = ("desktop", "cloud", "remote")
_APPS = ("StabilityMatrix", "StabilityMatrix-win-x64")


class Place(NamedTuple):
    """An installation that is named somewhere; its folders may be gone.

    root: the code folder. base: the folder with models/, None for root. pythons: environments, or
    interpreters, to try in turn. used: seconds since 1970 of its last start, None unknown.
    """

    root: Path
    kind: str
    found_by: str
    base: Path | None = None
    pythons: tuple[Path, ...] = ()
    saved: tuple[Saved, ...] = ()
    used: int | None = None


def known(outside: Outside) -> Iterator[Place]:
    """Every installation that some program's settings name, the most specific program first."""
    yield from _desktop_2(outside)
    yield from _desktop(outside)
    yield from _stability_matrix(outside)
    yield from _pinokio(outside)
    yield from _comfy_cli(outside)


# --- paths -----------------------------------------------------------------------------------


def path_of(outside: Outside, text: str) -> Path | None:
    """An absolute path that settings name, ~ included, as a path of this process; else None.

    Network shares are None too: one that is gone would hold up the search, and asking it would
    tell a stranger's server who asks.
    """
    text = text.strip()
    if not _usable(text):
        return None
    if text.startswith("~"):
        below = text[1:].replace("\\", "/") if outside.windows else text[1:]
        return home_of(outside) / below.lstrip("/") if below[:1] in ("", "/") else None
    pretend = outside.root != Path("/")
    path = Path(text)
    if pretend and (path == outside.root or outside.root in path.parents):
        return path
    if outside.windows:
        text = text.replace("\\", "/").removeprefix("//?/")
        drive = _DRIVE.match(text)
        if drive:
            # A tree that stands for a machine has a folder per drive, without the colon.
            return outside.root / drive[1].upper() / drive[2] if pretend else Path(text)
        return None
    if not text.startswith("/"):
        return None
    return outside.at(text) if pretend else path


def home_of(outside: Outside) -> Path:
    """The user's home as a path of this process; one that does not exist where none is told."""
    text = outside.env.get("USERPROFILE" if outside.windows else "HOME", "")
    path = None if text.startswith("~") else path_of(outside, text)
    return path if path is not None else outside.root / "no home"


def drives(outside: Outside) -> tuple[str, ...]:
    """The letters of this Windows machine's own disks; network drives are not touched."""
    if not outside.windows:
        return ()
    real = outside.root == Path("/")
    return tuple(letter for letter in _DRIVES if not real or _is_disk(letter))


def _is_disk(letter: str) -> bool:
    if sys.platform != "win32":
        return False
    import ctypes

    # DRIVE_REMOVABLE and DRIVE_FIXED (winbase.h); told without asking the drive itself.
    return ctypes.windll.kernel32.GetDriveTypeW(f"{letter}:\\") in (2, 3)


def _usable(text: str) -> bool:
    if not text or len(text) > 4096 or "\0" in text:
        return False
    try:
        os.fsencode(text)
    except UnicodeError:
        return False
    return True


def _variable(outside: Outside, name: str, below_home: str) -> Path:
    given = path_of(outside, outside.env.get(name, ""))
    return given if given is not None else home_of(outside) / below_home


def _roaming(outside: Outside) -> Path:
    """Where Electron and .NET programs keep their settings."""
    if outside.windows:
        return _variable(outside, "APPDATA", "AppData/Roaming")
    if outside.platform == "darwin":
        return home_of(outside) / "Library" / "Application Support"
    return _variable(outside, "XDG_CONFIG_HOME", ".config")


# --- Comfy Desktop ---------------------------------------------------------------------------


def _desktop_2(outside: Outside) -> Iterator[Place]:
    data = _roaming(outside)
    if outside.platform not in ("win32", "darwin"):
        data = _variable(outside, "XDG_DATA_HOME", ".local/share")
    data = data / "comfyui-desktop-2"
    listed = _value(data / "installations.json")
    for record in listed[:_MOST] if isinstance(listed, list) else ():
        install = path_of(outside, _text(record, "installPath"))
        if install is not None and _text(record, "sourceId") not in _ELSEWHERE:
            yield from _installation(outside, data, install, record)
    installs = home_of(outside) / "ComfyUI-Installs"
    for name in names(installs)[:_MOST]:
        root = installs / name / "ComfyUI"
        yield Place(root, "desktop-2", "Comfy Desktop 2", None, managed(root))


def managed(root: Path) -> tuple[Path, ...]:
    """The environments of a code folder that Comfy Desktop 2 made, newest layout first."""
    return root / ".venv", root.parent / "envs" / "default"


def _installation(
    outside: Outside, data: Path, install: Path, record: dict[str, Any]
) -> Iterator[Place]:
    """One record: the desktop's own build, an adopted one, a portable build or a git clone."""
    root, saved = install / "ComfyUI", _saved_by_desktop_2(outside, data, record)
    base = None
    if record.get("adopted") is True:
        base = path_of(outside, _text(record, "adoptedBaseDir"))
        named = path_of(outside, _text(record, "adoptedPythonPath"))
        pythons = tuple(p for p in (named, base / ".venv" if base else None) if p is not None)
    elif _text(record, "sourceId") == "git":
        venv = path_of(outside, _text(record, "venvPath"))
        pythons = (venv,) if venv is not None else ()
    else:
        pythons = managed(root)
    used = _seconds(record.get("lastLaunchedAt"))
    portable = _text(record, "sourceId") == "portable"
    inner = [install / name / "ComfyUI" for name in names(install)[:_MOST]] if portable else []
    for folder in (root, install, *inner):
        embedded = (folder.parent / "python_embeded",) if portable else ()
        kind = "portable" if portable else "desktop-2"
        yield Place(folder, kind, "Comfy Desktop 2", base, embedded or pythons, saved, used)


def _saved_by_desktop_2(outside: Outside, data: Path, record: dict[str, Any]) -> tuple[Saved, ...]:
    words = []
    base = path_of(outside, _text(record, "adoptedBaseDir"))
    if record.get("adopted") is True and base is not None:
        words += ["--base-directory", str(base)]
    folders = data / "shared_model_paths.yaml"
    if record.get("useSharedModels") is False:
        name = _text(record, "id")
        plain = re.fullmatch(r"[\w-]{1,100}", name) is not None
        folders = data / "instance-model-paths" / f"{name if plain else 'none'}.yaml"
    if is_file(folders):
        words += ["--extra-model-paths-config", str(folders)]
    words += _quoted(_text(record, "launchArgs"))
    return (Saved("desktop-2", data / "installations.json", tuple(words)),) if words else ()


def _quoted(text: str) -> list[str]:
    """Words with either kind of quotes and no escapes, as Comfy Desktop 2 splits them."""
    import shlex

    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    try:
        return [word[:_LONGEST_WORD] for word in lexer]
    except ValueError:  # a quote that never ends
        return [word[:_LONGEST_WORD] for word in text.split()]


def _seconds(milliseconds: Any) -> int | None:
    number = isinstance(milliseconds, (int, float)) and not isinstance(milliseconds, bool)
    return int(milliseconds // 1000) if number and 0 < milliseconds < 1e14 else None


def _desktop(outside: Outside) -> Iterator[Place]:
    """The first Comfy Desktop: its code lies in the application, its data in the base folder."""
    if outside.windows:
        programs = _variable(outside, "LOCALAPPDATA", "AppData/Local") / "Programs"
        apps = [programs / name / "resources" for name in ("ComfyUI", "@comfyorgcomfyui-electron")]
    elif outside.platform == "darwin":
        apps = [outside.at("/Applications/ComfyUI.app/Contents/Resources")]
    else:
        return
    config = _roaming(outside) / "ComfyUI"
    extra = config / "extra_models_config.yaml"
    named = _text(_object(config / "config.json"), "basePath") or _base_in_yaml(extra)
    base = path_of(outside, named)
    if base is None:
        return
    words = ["--base-directory", str(base)]
    if is_file(extra):
        words += ["--extra-model-paths-config", str(extra)]
    saved = [Saved("desktop", config / "config.json", tuple(words))]
    settings = base / "user" / "default" / "comfy.settings.json"
    chosen = _chosen(_object(settings).get("Comfy.Server.LaunchArgs"))
    saved += [Saved("desktop", settings, chosen)] if chosen else []
    for app in apps:
        yield Place(
            app / "ComfyUI", "desktop", "Comfy Desktop", base, (base / ".venv",), tuple(saved)
        )


def _base_in_yaml(path: Path) -> str:
    """base_path of the section comfyui_desktop, or comfyui before it had that name."""
    found: dict[str, str] = {}
    section = ""
    for line in read_text(path, _LONGEST).splitlines():
        if line[:1].strip():
            section = line.partition(":")[0].strip()
        key, colon, value = line.partition(":")
        if colon and line[:1] == " " and key.strip() == "base_path":
            found.setdefault(section, value.strip().strip("'\""))
    return found.get("comfyui_desktop") or found.get("comfyui", "")


def _chosen(arguments: Any) -> tuple[str, ...]:
    """An object of arguments without their dashes; an empty text is an argument with no value."""
    words: list[str] = []
    for name, value in list(arguments.items())[:_MOST] if isinstance(arguments, dict) else ():
        if not re.fullmatch(r"[A-Za-z][\w-]{0,60}", name) or value in (None, False):
            continue
        words += [f"--{name}", *_values(value)]
    return tuple(words)


def _values(value: Any) -> list[str]:
    """The value of an argument, nothing for a switch."""
    if value is True or not isinstance(value, (str, int, float)) or value == "":
        return []
    return [str(value)[:_LONGEST_WORD]]


# --- StabilityMatrix -------------------------------------------------------------------------


def _stability_matrix(outside: Outside) -> Iterator[Place]:
    homes = [_roaming(outside) / "StabilityMatrix"]
    if outside.platform == "darwin":  # .NET before 8 kept to the Linux place
        homes.append(home_of(outside) / ".config" / "StabilityMatrix")
    for home in homes:
        library = path_of(outside, _text(_object(home / "library.json"), "LibraryPath"))
        for data in (library, home):
            if data is not None:
                yield from packages_of(outside, data)
    here, home = outside.here(), home_of(outside)
    above = [path_of(outside, f"{letter}:/") for letter in drives(outside)]
    above += [home, here] if outside.platform == "darwin" else [
        home, home / "Downloads", home / "Desktop", home / "Documents", here,
    ]  # fmt: skip
    for app in (here, *(folder / name for folder in above if folder for name in _APPS)):
        if is_file(app / "Data" / ".sm-portable"):
            yield from packages_of(outside, app / "Data")


def packages_of(outside: Outside, data: Path) -> Iterator[Place]:
    """The packages of one StabilityMatrix library: those its settings list, then the rest."""
    settings = data / "settings.json"
    listed = _object(settings).get("InstalledPackages")
    for package in listed[:_MOST] if isinstance(listed, list) else ():
        inner = _text(package, "LibraryPath").replace("\\", "/")
        if not _usable(inner):
            continue
        root, words = data / inner, _launch_words(outside, package)
        saved = (Saved("stability-matrix", settings, words),) if words else ()
        yield Place(root, "stability-matrix", "StabilityMatrix", None, (root / "venv",), saved)
    for name in names(data / "Packages")[:_MOST]:
        root = data / "Packages" / name
        yield Place(root, "stability-matrix", "StabilityMatrix", None, (root / "venv",))


def _launch_words(outside: Outside, package: dict[str, Any]) -> tuple[str, ...]:
    """The chosen arguments of a package; the one with no name is a free text of further ones."""
    arguments = package.get("LaunchArgs")
    words: list[str] = []
    for item in arguments[:_MOST] if isinstance(arguments, list) else ():
        name, value = _text(item, "Name"), item.get("OptionValue") if isinstance(item, dict) else 0
        if name.startswith("--") and value not in (None, False, ""):
            words += [name[:_LONGEST_WORD], *_values(value)]
        elif not name and isinstance(value, str):
            words += split(value, outside.windows)
    return tuple(words)


# --- Pinokio ---------------------------------------------------------------------------------


def _pinokio(outside: Outside) -> Iterator[Place]:
    home = home_of(outside)
    drive = _DRIVE.match(outside.env.get("USERPROFILE", "").replace("\\", "/"))
    above = f"{drive[1] if drive else 'C'}:/pinokio" if outside.windows else ""
    named = (
        _text(_object(home / ".pinokio" / "config.json"), "home"),
        outside.env.get("PINOKIO_HOME", ""),
        above,
    )
    folders = [path_of(outside, text) for text in named]
    for folder in dict.fromkeys(each for each in (*folders, home / "pinokio") if each is not None):
        for name in names(folder / "api")[: 4 * _MOST]:
            root = folder / "api" / name / "app"
            yield Place(root, "pinokio", "Pinokio", None, (root / "env", root / "venv"))


# --- comfy-cli -------------------------------------------------------------------------------


def _comfy_cli(outside: Outside) -> Iterator[Place]:
    path, values = _cli_settings(outside)
    if not values:
        return
    home = home_of(outside)
    usual = home / "comfy" / "ComfyUI"
    if outside.platform in ("win32", "darwin"):
        usual = home / "Documents" / "comfy" / "ComfyUI"
    # Its saved arguments go with the default workspace alone, and are parted at spaces.
    words = tuple(word[:_LONGEST_WORD] for word in values.get("default_launch_extras", "").split())
    saved = (Saved("comfy-cli", path, words[:_MOST]),) if words else ()
    default = path_of(outside, values.get("default_workspace", ""))
    recent = path_of(outside, values.get("recent_workspace", ""))
    for folder, its in ((default or usual, saved), (recent, ()), (usual, ())):
        for root in (folder, folder / "ComfyUI") if folder is not None else ():
            yield Place(root, "comfy-cli", "comfy-cli", None, (), its)


def background_port(outside: Outside) -> int | None:
    """The port of comfy-cli's background server, kept as ``('127.0.0.1', 8188, 4711)``."""
    parts = _cli_settings(outside)[1].get("background", "").strip("()[] ").split(",")
    return port_of(parts[1].strip(" '\"")) if len(parts) > 1 else None


def port_of(text: str) -> int | None:
    """A port number, None for what is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text) and 0 < int(text) < 65536 else None


def _cli_settings(outside: Outside) -> tuple[Path, dict[str, str]]:
    """comfy-cli's config.ini and its values by lower-case key; the first of a key counts."""
    below = {"win32": "AppData/Local", "darwin": "Library/Application Support"}
    folder = home_of(outside) / below.get(outside.platform, ".config") / "comfy-cli"
    values: dict[str, str] = {}
    for line in read_text(folder / "config.ini", _LONGEST).splitlines():
        key, found, value = line.partition("=")
        if found and not line.startswith(("#", ";", "[", " ", "\t")):
            values.setdefault(key.strip().lower(), value.strip().replace("%%", "%"))
    return folder / "config.ini", values


# --- JSON ------------------------------------------------------------------------------------


def _value(path: Path) -> Any:
    try:
        return json.loads(read_text(path, _LONGEST).lstrip("\ufeff") or "null")
    except (ValueError, RecursionError):
        return None


def _object(path: Path) -> dict[str, Any]:
    value = _value(path)
    return value if isinstance(value, dict) else {}


def _text(data: Any, key: str) -> str:
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, str) and "\0" not in value and len(value) < 8192 else ""
