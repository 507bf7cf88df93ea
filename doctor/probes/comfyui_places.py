"""Where people keep ComfyUI, and which Python each installation uses: read from files alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from klein_doctor.probes.comfyui_launcher_files import Known, comfy_cli, home_of, known
from klein_doctor.probes.found import Found
from klein_doctor.probes.interpreter import find_executable
from klein_doctor.probes.outside import Outside, is_dir, is_file

# comfy-cli's own test of what a ComfyUI is: at least four of these.
_MARKS = ("main.py", "comfy", "nodes.py", "comfy_extras", "comfy_api")
_ENOUGH = 4
_IN_HOME = (
    "ComfyUI", "comfyui", "Documents/ComfyUI", "Desktop/ComfyUI", "Downloads/ComfyUI",
    "ai/ComfyUI", "AI/ComfyUI", "git/ComfyUI", "src/ComfyUI", "projects/ComfyUI",
    "ComfyUI_windows_portable/ComfyUI", "Downloads/ComfyUI_windows_portable/ComfyUI",
    "Desktop/ComfyUI_windows_portable/ComfyUI", "Documents/ComfyUI_windows_portable/ComfyUI",
)  # fmt: skip
_USUAL = ("/workspace/ComfyUI", "/opt/ComfyUI", "/app/ComfyUI", "/comfyui", "/ComfyUI",
          "/home/user/ComfyUI", "/notebooks/ComfyUI")  # fmt: skip
_ON_DRIVES = ("ComfyUI", "ComfyUI_windows_portable/ComfyUI", "AI/ComfyUI",
              "AI/ComfyUI_windows_portable/ComfyUI")  # fmt: skip
_DRIVES = "CDEFGH"
_OWN = (".venv", "venv", "env")
_EMBEDDED = "python_embeded"


def is_comfyui(folder: Path) -> bool:
    """Whether a folder holds ComfyUI's code."""
    return sum(is_file(folder / m) or is_dir(folder / m) for m in _MARKS) >= _ENOUGH


def places(outside: Outside) -> tuple[Found, ...]:
    """Every installation, each once, those that a program's settings name first."""
    found: dict[str, Found] = {}
    for place in (*known(outside), *_usual(outside)):
        if not is_comfyui(place.root):
            continue
        key = os.path.realpath(place.root)
        if key not in found:
            found[key] = describe(outside, place)
        elif place.saved:
            merged = tuple(dict.fromkeys((*found[key].saved, *place.saved)))
            found[key] = found[key]._replace(saved=merged)
    return tuple(found.values())


def describe(outside: Outside, place: Known) -> Found:
    """An installation with the Python that it uses."""
    root, kind, pythons = place.root, place.kind, place.pythons
    embedded = root.parent / _EMBEDDED
    if kind == "manual" and is_dir(embedded):
        kind, pythons = "portable", (embedded,)
    python, source = _python(outside, root, kind, pythons)
    base = place.base or root
    return Found(root, kind, place.found_by, python, source, base, _last_used(base), None,
                 place.saved)  # fmt: skip


def configured_ports(outside: Outside) -> tuple[int, ...]:
    """Ports that settings name: comfy-cli's background server, --port in saved arguments."""
    settings = comfy_cli(outside)
    ports = [settings.port] if settings is not None and settings.port else []
    for place in known(outside):
        for saved in place.saved:
            for name, value in zip(saved.arguments, saved.arguments[1:], strict=False):
                if name == "--port" and value.isascii() and value.isdigit():
                    ports.append(int(value[:6]))
    return tuple(dict.fromkeys(port for port in ports if 0 < port < 65536))[:8]


def _usual(outside: Outside) -> Iterator[Known]:
    here = outside.here()
    above = list(here.parents)[:2]
    inner = [here / "ComfyUI", here / "ComfyUI_windows_portable" / "ComfyUI"]
    for folder in (here, *above, *inner):
        yield Known(folder, "manual", "current folder")
    home = home_of(outside)
    for name in _IN_HOME:
        yield Known(home / name, "manual", "home folder")
    usual = [outside.at(name) for name in _USUAL]
    if outside.windows:
        usual = [outside.at(f"{drive}:/{name}") for drive in _DRIVES for name in _ON_DRIVES]
    for folder in usual:
        yield Known(folder, "manual", "usual folder")


def _python(
    outside: Outside, root: Path, kind: str, pythons: tuple[Path, ...]
) -> tuple[Path | None, str]:
    own = [find_executable(folder) for folder in pythons if is_dir(folder)]
    inside = [find_executable(root / name) for name in _OWN if is_dir(root / name)]
    active = [
        (find_executable(Path(outside.env[variable])), variable)
        for variable in ("VIRTUAL_ENV", "CONDA_PREFIX")
        if outside.env.get(variable) and _counts(outside, Path(outside.env[variable]))
    ]
    mine = [(path, "own") for path in own or inside]
    # comfy-cli itself takes the active environment before the workspace's own.
    order = active + mine if kind == "comfy-cli" else mine + active
    return order[0] if order else (None, "")


def _counts(outside: Outside, folder: Path) -> bool:
    """The doctor's own environment is not ComfyUI's only because it is active."""
    if not folder.is_absolute():
        return False
    if os.path.realpath(folder) != os.path.realpath(outside.prefix):
        return True
    lib = folder / ("Lib" if outside.windows else "lib")
    sites = [lib / "site-packages", *(lib / n / "site-packages" for n in _children(lib))]
    return any(is_dir(site / "torch") for site in sites)


def _children(folder: Path) -> list[str]:
    from klein_doctor.probes.outside import names

    return [name for name in names(folder) if name.startswith("python")]


def _last_used(base: Path) -> int | None:
    """The newest of what a run leaves: its log, its pictures, the user's settings."""
    newest = None
    for name in ("user/comfyui.log", "comfyui.log", "output", "user/default", "user/comfyui.db"):
        try:
            time = int((base / name).stat().st_mtime)
        except (OSError, ValueError):
            continue
        newest = time if newest is None else max(newest, time)
    return newest
