"""The settings of programs that install and start ComfyUI: where each keeps its installations.

Sources: Comfy-Org/comfy-cli constants.py and config_manager.py; Comfy-Org/desktop;
Comfy-Org/ComfyUI-Desktop-2.0-Beta; LykosAI/StabilityMatrix; pinokiofactory/comfy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from klein_doctor.probes.found import Saved
from klein_doctor.probes.launch_flags import split
from klein_doctor.probes.outside import Outside, names, read_text

_LONGEST = 1 << 20
_MOST = 50


class Known(NamedTuple):
    """An installation a program has written down; the folders may be gone.

    root: the code folder. base: the folder with models/, None for root.
    pythons: environments to try in turn.
    """

    root: Path
    kind: str
    found_by: str
    base: Path | None = None
    pythons: tuple[Path, ...] = ()
    saved: tuple[Saved, ...] = ()


class CliSettings(NamedTuple):
    """comfy-cli's config.ini: workspaces, launch arguments, the background server's port."""

    path: Path
    workspaces: tuple[str, ...]
    extras: str
    port: int | None


def known(outside: Outside) -> Iterator[Known]:
    """Every installation that some program's settings name."""
    yield from _desktop(outside)
    yield from _desktop_2(outside)
    yield from _stability_matrix(outside)
    yield from _pinokio(outside)
    yield from _comfy_cli(outside)


def comfy_cli(outside: Outside) -> CliSettings | None:
    """comfy-cli's settings, None where there are none that can be read."""
    home = _home(outside)
    places = {
        "win32": home / "AppData" / "Local" / "comfy-cli",
        "darwin": home / "Library" / "Application Support" / "comfy-cli",
    }
    config = Path(outside.env.get("XDG_CONFIG_HOME") or home / ".config")
    folder = places.get(outside.platform, _at(outside, config) / "comfy-cli")
    path = folder / "config.ini"
    text = read_text(path, _LONGEST)
    if not text:
        return None
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, found, value = line.partition("=")
        if found and not line.lstrip().startswith(("#", ";", "[")):
            values[key.strip().lower()] = value.strip()
    workspaces = (values.get("recent_workspace", ""), values.get("default_workspace", ""))
    return CliSettings(
        path=path,
        workspaces=tuple(dict.fromkeys(name for name in workspaces if name)),
        extras=values.get("default_launch_extras", ""),
        port=_port(values.get("background", "")),
    )


def _port(background: str) -> int | None:
    """The port in ``('127.0.0.1', 8188, 4711)``."""
    parts = background.strip("()[] ").split(",")
    text = parts[1].strip(" '\"") if len(parts) > 1 else ""
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536 else None


def _comfy_cli(outside: Outside) -> Iterator[Known]:
    settings = comfy_cli(outside)
    home = _home(outside)
    defaults = [home / "comfy" / "ComfyUI"]
    if outside.platform != "linux":
        defaults = [home / "Documents" / "comfy" / "ComfyUI"]
    saved: tuple[Saved, ...] = ()
    roots: list[Path] = []
    if settings is not None:
        roots = [_at(outside, Path(name)) for name in settings.workspaces]
        if settings.extras:
            words = tuple(split(settings.extras, outside.windows))
            saved = (Saved("comfy-cli", settings.path, words),)
    for root in (*roots, *defaults):
        for place in (root, root / "ComfyUI"):
            yield Known(place, "comfy-cli", "comfy-cli", None, (), saved)


def _desktop(outside: Outside) -> Iterator[Known]:
    home, local = _home(outside), _variable(outside, "LOCALAPPDATA", "AppData/Local")
    if outside.windows:
        config = _variable(outside, "APPDATA", "AppData/Roaming") / "ComfyUI"
        names_ = ("ComfyUI", "@comfyorgcomfyui-electron")
        roots = [local / "Programs" / name / "resources" / "ComfyUI" for name in names_]
    elif outside.platform == "darwin":
        config = home / "Library" / "Application Support" / "ComfyUI"
        roots = [outside.at("/Applications/ComfyUI.app/Contents/Resources/ComfyUI")]
    else:
        return
    base_text = _text(_json(config / "config.json"), "basePath")
    if not base_text:
        return
    base = _at(outside, Path(base_text))
    saved = [Saved("desktop", config / "config.json", ("--base-directory", str(base)))]
    settings = base / "user" / "default" / "comfy.settings.json"
    arguments = _json(settings).get("Comfy.Server.LaunchArgs")
    if isinstance(arguments, dict):
        words = [
            part
            for key, value in list(arguments.items())[:_MOST]
            for part in (f"--{str(key)[:80]}", str(value)[:200] if value else "")
            if part
        ]
        saved.append(Saved("desktop", settings, tuple(words)))
    extra = config / "extra_models_config.yaml"
    if extra.is_file():
        words = ["--extra-model-paths-config", str(extra)]
        saved.append(Saved("desktop", config / "config.json", tuple(words)))
    for root in roots:
        yield Known(root, "desktop", "Comfy Desktop", base, (base / ".venv",), tuple(saved))


def _desktop_2(outside: Outside) -> Iterator[Known]:
    if outside.windows:
        data = _variable(outside, "APPDATA", "AppData/Roaming")
    elif outside.platform == "darwin":
        data = _home(outside) / "Library" / "Application Support"
    else:
        given = outside.env.get("XDG_DATA_HOME")
        data = _at(outside, Path(given)) if given else _home(outside) / ".local" / "share"
    listed = _value(data / "comfyui-desktop-2" / "installations.json")
    for item in listed[:_MOST] if isinstance(listed, list) else ():
        path = _text(item, "installPath")
        if not path:
            continue
        install = _at(outside, Path(path))
        root = install / "ComfyUI"
        adopted = _text(item, "adoptedBaseDir")
        base = _at(outside, Path(adopted)) if adopted else None
        pythons: tuple[Path, ...] = (root / ".venv", install / "ComfyUI" / "envs" / "default",
                   install / "envs" / "default", install / "standalone-env")  # fmt: skip
        if base is not None:
            pythons = (base / ".venv", *pythons)
        yield Known(root, "desktop-2", "Comfy Desktop 2", base, pythons)
    installs = _home(outside) / "ComfyUI-Installs"
    for name in names(installs)[:_MOST]:
        root = installs / name / "ComfyUI"
        yield Known(
            root,
            "desktop-2",
            "Comfy Desktop 2",
            None,
            (root / ".venv", root / "envs" / "default", installs / name / "standalone-env"),
        )


def _stability_matrix(outside: Outside) -> Iterator[Known]:
    roaming = _variable(outside, "APPDATA", "AppData/Roaming")
    if not outside.windows:
        roaming = _home(outside) / ".config"
    library = _text(_json(roaming / "StabilityMatrix" / "library.json"), "LibraryPath")
    places = [_at(outside, Path(library))] if library else []
    places += [roaming / "StabilityMatrix"]
    here = outside.here()
    places += [folder / "Data" for folder in (here, here / "StabilityMatrix")]
    for data in places:
        settings = _json(data / "settings.json")
        packages = settings.get("InstalledPackages")
        for package in packages[:_MOST] if isinstance(packages, list) else ():
            inner = _text(package, "LibraryPath").replace("\\", "/")
            if not inner:
                continue
            root = data / inner
            words = _launch_words(package)
            saved = (Saved("stability-matrix", data / "settings.json", words),) if words else ()
            yield Known(root, "stability-matrix", "StabilityMatrix", None, (root / "venv",), saved)
        for name in names(data / "Packages")[:_MOST]:
            root = data / "Packages" / name
            yield Known(root, "stability-matrix", "StabilityMatrix", None, (root / "venv",))


def _launch_words(package: Any) -> tuple[str, ...]:
    """The chosen arguments of a package: entries of Name and OptionValue."""
    arguments = package.get("LaunchArgs") if isinstance(package, dict) else None
    words: list[str] = []
    for item in arguments[:_MOST] if isinstance(arguments, list) else ():
        name, value = _text(item, "Name"), item.get("OptionValue") if isinstance(item, dict) else 0
        if name.startswith("--") and value not in (None, False, ""):
            words += [name] if value is True else [name, str(value)[:200]]
        elif not name.startswith("--") and isinstance(value, str):
            words += split(value, True)  # the free text of further arguments
    return tuple(words)


def _pinokio(outside: Outside) -> Iterator[Known]:
    home = _home(outside)
    given = _text(_json(home / ".pinokio" / "config.json"), "home")
    places = [_at(outside, Path(given))] if given else []
    places += [home / "pinokio"] + ([outside.at("C:/pinokio")] if outside.windows else [])
    for place in places:
        for name in names(place / "api")[:_MOST]:
            root = place / "api" / name / "app"
            yield Known(root, "pinokio", "Pinokio", None, (root / "env", root / "venv"))


def _home(outside: Outside) -> Path:
    home = outside.env.get("USERPROFILE" if outside.windows else "HOME", "")
    return _at(outside, Path(home)) if home else outside.root / "no home"


def home_of(outside: Outside) -> Path:
    """The user's home as a path of this process; one that does not exist where none is told."""
    return _home(outside)


def _variable(outside: Outside, name: str, below_home: str) -> Path:
    given = outside.env.get(name, "")
    return _at(outside, Path(given)) if given else _home(outside) / below_home


def _at(outside: Outside, path: Path) -> Path:
    """A path that settings name: ~ is the home, a path of the machine is one below its root."""
    text = str(path)
    if text.startswith("~"):
        return _home(outside) / text.lstrip("~").lstrip("/\\")
    if (
        text.startswith("/")
        and outside.root != Path("/")
        and not text.startswith(str(outside.root))
    ):
        return outside.at(text)
    return path


def _value(path: Path) -> Any:
    try:
        return json.loads(read_text(path, _LONGEST).lstrip("\ufeff") or "null")
    except (ValueError, RecursionError):
        return None


def _json(path: Path) -> dict[str, Any]:
    value = _value(path)
    return value if isinstance(value, dict) else {}


def _text(data: Any, key: str) -> str:
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, str) and "\0" not in value and len(value) < 4096 else ""
