"""The search for ComfyUI: everything that is there, which of it is judged, and why."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from pathlib import Path

from klein_doctor.exits import UsageError
from klein_doctor.installation import Install, Search
from klein_doctor.probes.comfyui_launcher_files import Place, home_of, path_of
from klein_doctor.probes.comfyui_places import (
    describe,
    is_comfyui,
    key_of,
    missing_marks,
    places,
)
from klein_doctor.probes.found import Answer, Found
from klein_doctor.probes.interpreter import read_interpreter
from klein_doctor.probes.outside import Outside, is_dir, is_file, names
from klein_doctor.values import printable

_LOOKED = (
    "servers on this machine", "the current folder", "the home folder", "usual folders",
    "settings of Comfy Desktop, comfy-cli, StabilityMatrix and Pinokio",
)  # fmt: skip
_INNER = ("", "ComfyUI", "ComfyUI_windows_portable/ComfyUI")
_LONGEST_SHOWN = 200
_MOST_CANDIDATES = 64
_LEVELS = 4  # from a folder of models up to the code, at most


class FindError(UsageError):
    """``--comfyui`` names no ComfyUI."""


def candidates(outside: Outside, named: str) -> list[Found]:
    """Everything that is there, as files tell it, or the one that is named.

    Args:
        named: the folder given by --comfyui, "" none: the code, a portable build's outer folder,
            a desktop's base folder or installation folder.

    Raises:
        FindError: ``named`` is given and holds no ComfyUI.
    """
    return [_named(outside, named)] if named else list(places(outside))


def find(
    outside: Outside,
    named: str,
    python: str,
    answers: tuple[Answer, ...],
    listed: list[Found] | None = None,
) -> tuple[Search, Found | None]:
    """Everything that is there, and the one that is judged.

    Args:
        named: as for ``candidates``. python: the absolute path given by --python, "" none.
            answers: what listens on ComfyUI's ports. listed: the candidates where they are known.

    Raises:
        FindError: as for ``candidates``.
    """
    found = candidates(outside, named) if listed is None else listed
    found = _with_running(outside, found, answers, only_known=bool(named))
    chosen, why = _choose(outside, found, python, by_name=bool(named))
    shown = tuple(_shown(outside, each) for each in found)
    search = Search(shown, chosen, why if len(found) > 1 or chosen is None else "", _LOOKED)
    return search, None if chosen is None else found[chosen]


def is_vacant(outside: Outside, named: str) -> bool:
    """Whether a folder that is named is empty: what is not there may be a slip of the pen."""
    try:
        path = path_of(outside, named) or outside.here() / named
        return is_dir(path) and not names(path)
    except (OSError, ValueError):
        return False


# --- the one that is named -------------------------------------------------------------------


def _named(outside: Outside, named: str) -> Found:
    path = _folder(outside, named)
    known = places(outside)
    by_root = {key_of(each.root): each for each in known}
    for root in (path / inner for inner in _INNER):
        if is_comfyui(root):
            found = by_root.get(key_of(root)) or describe(outside, Place(root, "manual", ""))
            return found._replace(found_by="--comfyui")
    for each in known:
        if key_of(each.base) == key_of(path):
            return each._replace(found_by="--comfyui")
    missing = [f"{name}/" if "." not in name else name for name in missing_marks(path)]
    data = is_dir(path / "models") and is_dir(path / "custom_nodes")
    what = "it has models but not ComfyUI's code" if data else "no ComfyUI there"
    raise _error(named, f"{what} ({', '.join(missing)} not found)")


def _folder(outside: Outside, named: str) -> Path:
    """The folder that was named, without links or dots that would hide what lies beside it."""
    try:
        path = path_of(outside, named) or outside.here() / named
        if is_file(path) and path.name == "main.py":
            path = path.parent
        if ".." in path.parts:
            path = Path(os.path.realpath(path))
    except (OSError, ValueError):
        raise _error(named, "there is no such folder") from None
    if not is_dir(path):
        raise _error(named, "it is no folder" if is_file(path) else "there is no such folder")
    return path


def _error(named: str, why: str) -> FindError:
    return FindError(f"--comfyui {printable(named, _LONGEST_SHOWN)}: {why}")


# --- those that run --------------------------------------------------------------------------


def _with_running(
    outside: Outside, found: list[Found], answers: tuple[Answer, ...], only_known: bool
) -> list[Found]:
    """The list with what runs marked, and what runs elsewhere added."""
    for answer in answers:
        root = _root(outside, answer) if answer.server.outcome == "ok" else None
        if root is None:
            continue
        key = key_of(root)
        place = next((n for n, each in enumerate(found) if key_of(each.root) == key), None)
        if place is None:
            if only_known:
                continue
            found.append(describe(outside, Place(root, "manual", "server")))
            place = len(found) - 1
        if found[place].port is not None:  # a second server of the same installation
            continue
        running = found[place]._replace(port=answer.server.port)
        if answer.executable is not None:
            running = running._replace(python=answer.executable, python_from="server")
        found[place] = running
    return found


def _root(outside: Outside, answer: Answer) -> Path | None:
    """The code folder of a server: from its command line, its custom nodes or its models."""
    seen: set[Path] = set()
    for path in _candidates(outside, answer):
        if path not in seen and is_comfyui(path):
            return Path(os.path.realpath(path)) if ".." in path.parts else path
        seen.add(path)
        if len(seen) >= _MOST_CANDIDATES:
            break
    return None


def _candidates(outside: Outside, answer: Answer) -> Iterator[Path]:
    script = answer.argv[0] if answer.argv else ""
    script = script.replace("\\", "/") if outside.windows else script
    if script.endswith("main.py"):
        path = path_of(outside, script)
        if path is None and answer.cwd is not None and "\0" not in script:
            path = answer.cwd / script
        if path is not None:
            yield path.parent
    folders = {
        category: [path for path in (path_of(outside, text) for text in texts[:4]) if path]
        for category, texts in (answer.folders or {}).items()
    }
    yield from (path.parent for path in folders.pop("custom_nodes", []))
    if answer.cwd is not None:
        yield answer.cwd
    for paths in folders.values():
        for path in paths:
            yield from list(path.parents)[:_LEVELS]


# --- the choice ------------------------------------------------------------------------------


def _choose(
    outside: Outside, found: list[Found], python: str, by_name: bool
) -> tuple[int | None, str]:
    if not found or by_name:
        return (0 if found else None), ""
    pool = list(range(len(found)))
    if python:
        fitting = [number for number in pool if _uses(found[number], python)]
        if not fitting and _has_diffusers(outside, python):
            return None, "the Python that was named belongs to none of them and has diffusers"
        if len(fitting) == 1:
            return fitting[0], "the one that the named Python belongs to"
        pool = fitting or pool
    for number in pool:
        if found[number].port is not None:
            return number, f"the one that is running on port {found[number].port}"
    near = [number for number in pool if _is_near(outside, found[number])]
    if len(near) == 1:
        return near[0], "the one in the current folder"
    last = max(near or pool, key=lambda number: found[number].last_used or 0)
    used = found[last].last_used
    return last, f"used last ({_day(used)})" if used else "the first that was found"


def _day(seconds: int) -> str:
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d")
    except (OSError, OverflowError, ValueError):
        return "at an unknown time"


def _is_near(outside: Outside, each: Found) -> bool:
    """Whether the current folder is inside this installation, or holds it.

    A home folder holds all of them: that one stands there says nothing.
    """
    here = key_of(outside.here())
    outer = each.root.parent if each.kind == "portable" else each.root
    if any(_is_below(here, key_of(folder)) for folder in (each.root, each.base, outer)):
        return True
    holds = here in (key_of(each.root.parent), key_of(outer.parent))
    return holds and here != key_of(home_of(outside))


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _uses(each: Found, python: str) -> bool:
    """Whether this Python is the installation's or lies inside it; the link of an environment
    stays what it is, only the folder it lies in is resolved."""
    folder = key_of(Path(python).parent)
    if each.python is not None and key_of(each.python.parent) == folder:
        return True
    return _is_below(folder, key_of(each.root))


def _has_diffusers(outside: Outside, python: str) -> bool:
    try:
        folders = read_interpreter(outside, python).site_packages
    except (OSError, ValueError):
        return False
    return any(is_dir(Path(folder.real) / "diffusers") for folder in folders)


def _shown(outside: Outside, each: Found) -> Install:
    path = outside.redactor.path
    return Install(
        root=path(str(each.root)),
        kind=each.kind,
        found_by=each.found_by,
        python=None if each.python is None else path(str(each.python)),
        python_from=each.python_from,
        base=path(str(each.base)),
        last_used=each.last_used,
        port=each.port,
    )
