"""Which programs use the packages of an environment right now: they are not moved under them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import NamedTuple

import psutil

_SHOWN = 3


class User(NamedTuple):
    """A process that uses an environment."""

    pid: int
    name: str


def users(prefix: str) -> tuple[User, ...]:
    """The processes whose program or loaded libraries lie below prefix, this one's line left out.

    Processes of other users whose libraries cannot be looked at are told by their program alone.
    """
    top = os.path.join(os.path.realpath(prefix), "")
    own = _line()
    found = []
    for process in psutil.process_iter(["pid", "name"]):
        if process.pid not in own and _uses(process, top, prefix):
            found.append(User(process.pid, process.info.get("name") or "?"))
    return tuple(found)


def in_use(places: Iterable[str]) -> str:
    """Who uses the environments in which these folders lie, in one line; "" where nobody does."""
    for place in dict.fromkeys(_prefix(place) for place in places):
        found = users(place)
        if found:
            return f"{place} is in use by {in_words(found)}: close it, then run this again"
    return ""


def _prefix(place: str) -> str:
    path = PurePath(place)
    return next((str(p.parent) for p in (path, *path.parents) if p.name.lower() == "lib"), place)


def in_words(found: Sequence[User]) -> str:
    """Who it is, in a few words."""
    who = ", ".join(f"{user.name} (process {user.pid})" for user in found[:_SHOWN])
    return f"{who} and {len(found) - _SHOWN} more" if found[_SHOWN:] else who


def _line() -> set[int]:
    own = {os.getpid()}
    try:
        own.update(parent.pid for parent in psutil.Process().parents())
    except psutil.Error:
        pass
    return own


def _uses(process: psutil.Process, top: str, prefix: str) -> bool:
    try:
        if os.path.realpath(process.exe()).startswith(top):
            return True
    except (psutil.Error, OSError):
        pass
    try:
        argv = process.cmdline()
        if argv and (argv[0].startswith((top, os.path.join(prefix, "")))):
            return True
    except (psutil.Error, OSError):
        pass
    try:
        with open(f"/proc/{process.pid}/maps", encoding="utf-8", errors="replace") as maps:
            return any(f" {top}" in line for line in maps)
    except OSError:
        return False
