"""The search for ComfyUI: everything that is there, which of it is judged, and why."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from klein_doctor.exits import UsageError
from klein_doctor.installation import Install, Search
from klein_doctor.probes.comfyui_launcher_files import Known
from klein_doctor.probes.comfyui_places import describe, is_comfyui, places
from klein_doctor.probes.found import Answer, Found
from klein_doctor.probes.outside import Outside, is_dir, names

_LOOKED = (
    "servers on this machine", "the current folder", "the home folder", "usual folders",
    "settings of Comfy Desktop, comfy-cli, StabilityMatrix and Pinokio",
)  # fmt: skip


class FindError(UsageError):
    """``--comfyui`` names no ComfyUI."""


def find(
    outside: Outside, named: str, python: str, answers: tuple[Answer, ...]
) -> tuple[Search, Found | None]:
    """Everything that is there, and the one that is judged.

    Raises:
        FindError: ``named`` is given and holds no ComfyUI.
    """
    found = list(places(outside)) if not named else [_named(outside, named)]
    found = _with_running(outside, found, answers, only_known=bool(named))
    chosen, why = _choose(found, python)
    shown = tuple(_shown(outside, each) for each in found)
    search = Search(shown, chosen, why if len(found) > 1 or chosen is None else "", _LOOKED)
    return search, None if chosen is None else found[chosen]


def _named(outside: Outside, named: str) -> Found:
    text = "".join(sign if sign.isprintable() else "?" for sign in named[:200])
    try:
        path = outside.here() / named
        there = is_dir(path)
    except (OSError, ValueError):
        there = False
    if not there:
        raise FindError(f"--comfyui {text}: there is no such folder")
    for place in places(outside):
        if os.path.realpath(path) in (os.path.realpath(place.root), os.path.realpath(place.base)):
            return place._replace(found_by="--comfyui")
    for root in (path, path / "ComfyUI"):
        if is_comfyui(root):
            return describe(outside, Known(root, "manual", "--comfyui"))
    raise FindError(f"--comfyui {text}: no ComfyUI there (main.py, nodes.py, comfy/ are missing)")


def _with_running(
    outside: Outside, found: list[Found], answers: tuple[Answer, ...], only_known: bool
) -> list[Found]:
    """The list with what runs marked, and what runs elsewhere added."""
    for answer in answers:
        root = _root(answer) if answer.server.outcome == "ok" else None
        if root is None:
            continue
        key = os.path.realpath(root)
        place = next((n for n, f in enumerate(found) if os.path.realpath(f.root) == key), None)
        if place is None:
            if only_known:
                continue
            found.append(describe(outside, Known(root, "manual", "server")))
            place = len(found) - 1
        running = found[place]._replace(port=answer.server.port)
        if answer.executable is not None:
            running = running._replace(python=answer.executable, python_from="server")
        found[place] = running
    return found


def _root(answer: Answer) -> Path | None:
    """The code folder of a server: from its command line, its custom nodes or its models."""
    candidates: list[Path] = []
    if answer.argv and answer.cwd is not None:
        candidates.append((answer.cwd / answer.argv[0]).parent)
    for folders in (answer.folders or {}).values():
        for folder in folders[:4]:
            candidates += [Path(folder).parent, *list(Path(folder).parents)[1:3]]
    candidates += [answer.cwd] if answer.cwd is not None else []
    try:
        return next((path for path in candidates if is_comfyui(path)), None)
    except (OSError, ValueError):
        return None


def _choose(found: list[Found], python: str) -> tuple[int | None, str]:
    if not found:
        return None, ""
    if python:
        for number, each in enumerate(found):
            if _uses(each, python):
                return number, "the one that this Python belongs to"
        if _has_diffusers(Path(python)):
            return None, "the Python that was named belongs to none of them and has diffusers"
    for number, each in enumerate(found):
        if each.port is not None:
            return number, f"the one that is running on port {each.port}"
    for number, each in enumerate(found):
        if each.found_by == "current folder":
            return number, "the one in the current folder"
    last = max(range(len(found)), key=lambda number: found[number].last_used or 0)
    used = found[last].last_used
    if used:
        return last, f"used last ({_day(used)})"
    return 0, "the first that was found"


def _day(seconds: int) -> str:
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d")
    except (OSError, OverflowError, ValueError):
        return "at an unknown time"


def _uses(each: Found, python: str) -> bool:
    if each.python is not None and os.path.abspath(each.python.parent) == os.path.abspath(
        Path(python).parent
    ):
        return True
    # The prefix of an environment inside the installation, links not resolved.
    return os.path.abspath(each.root) in map(str, Path(os.path.abspath(python)).parents)


def _has_diffusers(python: Path) -> bool:
    prefix = python.parent.parent if python.parent.name in ("bin", "Scripts") else python.parent
    lib = prefix / "lib"
    sites = [prefix / "Lib" / "site-packages", *(lib / n / "site-packages" for n in names(lib))]
    return any(is_dir(site / "diffusers") for site in sites)


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
