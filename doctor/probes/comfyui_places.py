"""Where people keep ComfyUI, and which Python each installation uses: read from files alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

from klein_doctor.installation import PRIVATE, Launcher
from klein_doctor.probes.comfyui_launcher_files import (
    Place,
    background_port,
    drives,
    home_of,
    known,
    managed,
    packages_of,
    path_of,
    port_of,
)
from klein_doctor.probes.found import Found
from klein_doctor.probes.interpreter import find_executable
from klein_doctor.probes.launchers import read_launchers
from klein_doctor.probes.outside import COMFYUI_PORTS, Outside, is_dir, is_file, names

# comfy-cli's own test of what a ComfyUI is: at least four of these.
_MARKS = ("main.py", "comfy", "nodes.py", "comfy_extras", "comfy_api")
_ENOUGH = 4
# Folders in which ComfyUI is looked for by its name; "" is the home folder itself.
_IN_HOME = ("", "comfy", "ai", "AI", "git", "src", "code", "dev", "repos", "projects", "apps")
# macOS asks the user before a program may look into these.
_GUARDED = ("Documents", "Documents/comfy", "Desktop", "Downloads", "OneDrive/Documents",
            "OneDrive/Desktop")  # fmt: skip
_USUAL = ("/workspace", "/opt", "/app", "/data", "/notebooks", "/srv", "/")
_ON_DRIVES = ("", "AI")
_INNER = ("", "ComfyUI", "ComfyUI_windows_portable/ComfyUI")
_ENVIRONMENTS = {"manual": (PRIVATE, ".venv", "venv", "env"), "comfy-cli": (".venv", "venv")}
_EMBEDDED = "python_embeded"
_MOST_ENTRIES = 20_000
_MOST_NAMED = 12
_MOST_LOGS = 50
_MOST_PORTS = 8


def is_comfyui(folder: Path) -> bool:
    """Whether a folder holds ComfyUI's code."""
    missing = 0
    for name in _MARKS:
        missing += not (is_file(folder / name) or is_dir(folder / name))
        if missing > len(_MARKS) - _ENOUGH:
            return False
    return True


def missing_marks(folder: Path) -> list[str]:
    """What of ComfyUI's code a folder lacks."""
    return [name for name in _MARKS if not (is_file(folder / name) or is_dir(folder / name))]


def key_of(folder: Path) -> str:
    """Equal for paths that mean the same folder."""
    try:
        return os.path.normcase(os.path.realpath(folder))
    except (OSError, ValueError):
        return os.path.normcase(folder)


def places(outside: Outside) -> tuple[Found, ...]:
    """Every installation, each once, those that a program's settings name first.

    One that several programs name is of the first one's kind and has the arguments of all.
    """
    found: dict[str, Place] = {}
    for place in (*known(outside), *_usual(outside)):
        if not is_comfyui(place.root):
            continue
        first = found.setdefault(key_of(place.root), place)
        if first is not place:
            merged = tuple(dict.fromkeys((*first.saved, *place.saved)))
            found[key_of(place.root)] = first._replace(saved=merged)
    return tuple(describe(outside, place) for place in found.values())


def describe(outside: Outside, place: Place) -> Found:
    """An installation with the Python that it uses and when it was last used."""
    place = _by_surroundings(outside, place)
    base = place.base or place.root
    bare = Found(place.root, place.kind, place.found_by, None, "", base)
    launchers = read_launchers(outside, bare, ())
    python, source = _python(outside, place, launchers)
    times = [each for each in (place.used, _last_used(base)) if each is not None]
    return Found(
        root=place.root,
        kind=place.kind,
        found_by=place.found_by,
        python=python,
        python_from=source,
        base=base,
        last_used=max(times, default=None),
        saved=place.saved,
        ports=_ports(launchers),
    )


def _ports(launchers: tuple[Launcher, ...]) -> tuple[int, ...]:
    """The ports that its files start it on."""
    named = [flag.value.real for each in launchers for flag in each.flags if flag.name == "--port"]
    return tuple(dict.fromkeys(port for text in named if (port := port_of(text)) is not None))


def configured_ports(outside: Outside, found: Sequence[Found] = ()) -> tuple[int, ...]:
    """Ports beyond the usual ones: of comfy-cli's background server, and where settings and the
    launchers of what was found say --port."""
    ports = [background_port(outside), *(port for each in found for port in each.ports)]
    for place in known(outside):
        for saved in place.saved:
            words = [part for word in saved.arguments for part in word.split("=", 1)]
            ports += [port_of(value) for name, value in pairwise(words) if name == "--port"]
    wanted = dict.fromkeys(port for port in ports if port is not None)
    return tuple(port for port in wanted if port not in COMFYUI_PORTS)[:_MOST_PORTS]


# --- where to look ---------------------------------------------------------------------------


def _usual(outside: Outside) -> Iterator[Place]:
    for folder in _near(outside):
        yield Place(folder, "manual", "current folder")
    home = home_of(outside)
    guarded = () if outside.platform == "darwin" else _GUARDED
    for name in (*_IN_HOME, *guarded):
        for folder in _named_so(home / name):
            yield Place(folder, "manual", "home folder")
    usual = [outside.at(name) for name in _USUAL]
    if outside.windows:
        roots = [path_of(outside, f"{letter}:/") for letter in drives(outside)]
        usual = [root / name for root in roots if root is not None for name in _ON_DRIVES]
    for above in usual:
        for folder in _named_so(above):
            yield Place(folder, "manual", "usual folder")


def _near(outside: Outside) -> Iterator[Path]:
    """The current folder and what it holds, then up to two folders above it."""
    here = outside.here()
    for inner in _INNER:
        yield here / inner
    above = list(here.parents)[:2] if outside.root == Path("/") else []  # never out of a tree
    yield from above
    for folder in (here, *above):  # update\ and the like lie beside the portable's ComfyUI
        if is_dir(folder / _EMBEDDED):
            yield folder / "ComfyUI"


def _named_so(above: Path) -> Iterator[Path]:
    """Folders whose name begins with ComfyUI, and what an unpacked archive has within."""
    found = []
    try:
        with os.scandir(above) as entries:
            for entry in islice(entries, _MOST_ENTRIES):
                # Pictures are called ComfyUI_00001_.png: only folders count.
                if entry.name.lower().startswith("comfyui") and _is_folder(entry):
                    found.append(entry.name)
    except (OSError, ValueError):
        return
    for name in sorted(found)[:_MOST_NAMED]:
        for inner in _INNER:
            yield above / name / inner


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _by_surroundings(outside: Outside, place: Place) -> Place:
    """A clone, as far as was told, may be a launcher's: what lies around it says so."""
    if place.kind not in _ENVIRONMENTS:
        return place
    told = _told_by(outside, place, place.root)
    if told is place:  # what is reached by a link has its surroundings where it really lies
        told = _told_by(outside, place, Path(os.path.realpath(place.root)))
    return told._replace(root=place.root)


def _told_by(outside: Outside, place: Place, root: Path) -> Place:
    above = root.parent
    if is_dir(above / _EMBEDDED):
        return place._replace(kind="portable", pythons=(above / _EMBEDDED,))
    if is_dir(above / "standalone-env"):
        return place._replace(kind="desktop-2", pythons=managed(root))
    if above.name == "Packages" and is_file(above.parent / "settings.json"):
        for package in packages_of(outside, above.parent):
            if key_of(package.root) == key_of(root):
                saved = (*place.saved, *package.saved)
                return package._replace(found_by=place.found_by, saved=saved)
    if root.name == "app" and above.parent.name == "api":
        return place._replace(kind="pinokio", pythons=(root / "env", root / "venv"))
    if above.name.lower() == "resources" and root.name == "ComfyUI":
        return place._replace(kind="desktop")
    return place


# --- its Python, its last use ----------------------------------------------------------------


def _python(
    outside: Outside, place: Place, launchers: tuple[Launcher, ...]
) -> tuple[Path | None, str]:
    """The interpreter, and where it is from as Install.python_from.

    A launcher starts its own environment and no other. A clone of one's own runs in what its files
    start it with, else in what it holds, else in the active environment; comfy-cli takes the active
    one before what it holds.
    """
    inner = _ENVIRONMENTS.get(place.kind, ())
    own = [
        (path, "own") for path in _interpreters((*place.pythons, *map(place.root.joinpath, inner)))
    ]
    if place.kind not in _ENVIRONMENTS:
        return own[0] if own else (None, "")
    active = _active(outside)
    order = active + own if place.kind == "comfy-cli" else own + active
    named = _named_python(launchers)
    if named is not None and not (order and key_of(order[0][0].parent) == key_of(named.parent)):
        return named, "launcher"
    return order[0] if order else (None, "")


def _named_python(launchers: tuple[Launcher, ...]) -> Path | None:
    """The interpreter that its files start it with; None where none is there, or they disagree."""
    named = [each.started for each in launchers if each.started is not None and each.started.there]
    folders = {key_of(Path(each.folder.real)) for each in named}
    return Path(named[0].python.real) if len(folders) == 1 else None


def _interpreters(folders: tuple[Path, ...]) -> list[Path]:
    """The interpreters of environments that exist; one that lacks its own comes last."""
    whole, damaged = [], []
    for folder in folders:
        try:
            path = find_executable(folder)
        except (OSError, ValueError):
            continue
        if is_file(path) or path != folder:
            whole.append(path)
        elif is_file(folder / "pyvenv.cfg") or (folder.name == _EMBEDDED and is_dir(folder)):
            damaged.append(path)
    return whole + damaged


def _active(outside: Outside) -> list[tuple[Path, str]]:
    """The environments that are switched on here, the doctor's own only where it holds torch."""
    found = []
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        folder = path_of(outside, outside.env.get(variable, ""))
        if folder is None or (_is_own(outside, folder) and not _holds_torch(folder)):
            continue
        found += [(path, variable) for path in _interpreters((folder,))]
    return found


def _is_own(outside: Outside, folder: Path) -> bool:
    return key_of(folder) == key_of(Path(outside.prefix))


def _holds_torch(folder: Path) -> bool:
    lib = folder / "lib"
    inner = [lib / name / "site-packages" for name in names(lib) if name.startswith("python")]
    return any(is_dir(site / "torch") for site in (*inner, folder / "Lib" / "site-packages"))


def _last_used(base: Path) -> int | None:
    """The newest of what a run leaves, in seconds since 1970; None where there is none.

    Looked at: user/comfyui*.log, comfyui.log, output/, user/default/ and user/comfyui.db.
    """
    user = base / "user"
    logs = [name for name in names(user) if name.startswith("comfyui") and name.endswith(".log")]
    witnesses = [user / name for name in logs[:_MOST_LOGS]]
    witnesses += [base / "comfyui.log", base / "output", user / "default", user / "comfyui.db"]
    newest = None
    for path in witnesses:
        try:
            time = int(path.stat().st_mtime)
        except (OSError, ValueError, OverflowError):
            continue
        newest = time if newest is None else max(newest, time)
    return newest
