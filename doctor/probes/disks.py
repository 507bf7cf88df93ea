"""The file systems behind the folders the model needs: room, rights, kind, length of paths."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from klein_doctor.boxed import Boxed
from klein_doctor.installation import Disk
from klein_doctor.model import Fact, Fault, Known, Unknown
from klein_doctor.probes.outside import Outside

LIMIT_S = 1.0
_MOST_FOLDERS = 32
_LARGEST = (1 << 63) - 1  # what a report can hold
_LONGEST_PATH = 4096
# The longest of the places a model file gets below each kind of folder.
_FILE = "flux-2-klein-4b-fp8.safetensors"
_LONGEST = {
    "models": f"diffusion_models/{_FILE}",
    "hub-cache": "models--Comfy-Org--vae-text-encorder-for-flux-klein-4b/snapshots/"
    f"{'0' * 40}/split_files/text_encoders/qwen_3_4b.safetensors",
}


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo.

    device: as st_dev. root: the folder of the file system that is mounted; point: where.
    options: of the mount and of the file system together.
    """

    device: int
    root: str
    point: str
    kind: str
    options: frozenset[str]

    @property
    def read_only(self) -> bool:
        return "ro" in self.options


class _Seen(NamedTuple):
    """What a folder's file system answers.

    real: the folder without links; place: what of it exists; path: how to call that.
    """

    path: str
    real: str
    place: str
    volume: int
    total: int
    free: int
    writable: bool


def mounts(text: str) -> list[Mount]:
    """The mounts of a mountinfo file, in its order; lines that are none are passed over.

    Source: proc_pid_mountinfo(5).
    """
    found = []
    for line in text.split("\n"):
        left, dash, right = line.partition(" - ")
        fields, after = left.split(" "), right.split(" ")
        number = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", fields[2]) if len(fields) > 5 else None
        if not dash or number is None or len(after) < 3:
            continue
        found.append(
            Mount(
                device=_device(int(number.group(1)), int(number.group(2))),
                root=_unescaped(fields[3]),
                point=_unescaped(fields[4]),
                kind=after[0][:40],
                options=frozenset(fields[5].split(",")) | frozenset(after[2].split(",")),
            )
        )
    return found


def default_folders(outside: Outside, models: Sequence[Path]) -> list[tuple[str, Path]]:
    """The folders that matter, as (role, folder): the models', the Hub's cache, temp and state.

    A role whose folder follows from nothing that is set is left out.
    Source: huggingface_hub's constants, Python's tempfile, the XDG base directories.
    """
    env = outside.env
    home = env.get("USERPROFILE" if outside.windows else "HOME", "")
    cache = env.get("XDG_CACHE_HOME") or _below(home, ".cache")
    hub = env.get("HF_HUB_CACHE") or _below(
        env.get("HF_HOME") or _below(cache, "huggingface"), "hub"
    )
    system = _below(home, "AppData", "Local", "Temp") if outside.windows else "/tmp"
    temp = env.get("TMPDIR") or env.get("TEMP") or env.get("TMP") or system
    found = [("models", path) for path in models]
    for role, text in (("hub-cache", hub), ("temp", temp), ("state", _state(outside, home))):
        if text:
            found.append((role, outside.at(_at_home(text, home))))
    return list(dict.fromkeys(found))


def read_disks(outside: Outside, folders: Sequence[tuple[str, Path]]) -> Fact[tuple[Disk, ...]]:
    """Judge each (role, folder) by the file system it lies on, or would be made on.

    Each is asked in a box of its own: a network drive that is away costs one second once. Write
    permission is what the system's rights say; on Windows they hardly say anything of folders.
    """
    table = mounts(outside.text("/proc/self/mountinfo")) if outside.platform == "linux" else []
    boxes = [
        (role, folder, Boxed("disk", partial(_ask, folder), LIMIT_S))
        for role, folder in folders[:_MOST_FOLDERS]
    ]
    return Known(
        tuple(
            _disk(outside, table, role, folder, box.result(), number)
            for number, (role, folder, box) in enumerate(boxes)
        )
    )


def _disk(
    outside: Outside,
    table: list[Mount],
    role: str,
    folder: Path,
    seen: _Seen | Fault,
    number: int,
) -> Disk:
    if isinstance(seen, Fault):
        mount = _mount_of(table, _on_machine(outside, str(folder)))
        reason = Unknown(_said(seen))
        # No two that gave no answer are known to be one file system.
        seen = _Seen(str(folder), str(folder), "", -1 - number, 0, 0, False)
        total: Fact[int] = reason
        free: Fact[int] = reason
        writable: Fact[bool] = reason
    else:
        mount = _mount_of(table, _on_machine(outside, seen.place))
        silent = Unknown("this file system does not tell its size")
        total = Known(min(seen.total, _LARGEST)) if seen.total > 0 else silent
        free = Known(min(seen.free, _LARGEST)) if seen.total > 0 else silent
        writable = Known(seen.writable and not (mount is not None and mount.read_only))
    kind = mount.kind if mount is not None else ""
    named = _on_machine(outside, str(folder))
    return Disk(
        role=role,
        path=outside.redactor.path(seen.path[:_LONGEST_PATH]),
        # Each subvolume of btrfs has a number of its own; the room is one.
        volume=mount.device if mount is not None and kind == "btrfs" else seen.volume,
        kind=kind,
        total=total,
        free=free,
        writable=writable,
        ascii=named.isascii() and _on_machine(outside, seen.real).isascii(),
        longest=len(named) + 1 + len(_LONGEST.get(role, _FILE)),
    )


def _ask(folder: Path) -> _Seen:
    """Ask the file system; runs in a box.

    Raises:
        OSError, ValueError: it gives no answer.
    """
    if len(str(folder)) > _LONGEST_PATH:
        raise ValueError("no path is that long")
    real = os.path.realpath(folder)
    place = real
    while not os.path.isdir(place):
        above = os.path.dirname(place)
        if above == place:
            raise FileNotFoundError(place)
        place = above
    total, free = _room(place)
    return _Seen(
        path=str(folder) if place == real else place,
        real=real,
        place=place,
        volume=os.stat(place).st_dev & _LARGEST,
        total=total,
        free=free,
        writable=os.access(place, os.W_OK | os.X_OK),
    )


def _room(place: str) -> tuple[int, int]:
    """Bytes in all, and those this user may still write."""
    if sys.platform == "win32":
        import shutil

        usage = shutil.disk_usage(place)
        return usage.total, usage.free
    found = os.statvfs(place)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def _said(fault: Fault) -> str:
    if fault.kind == "timeout":
        return f"the file system gave {fault.detail} (a network drive that is away?)"
    return "the file system could not be asked"


def _mount_of(table: list[Mount], path: str) -> Mount | None:
    """The mount a path lies on; of several on one point the last covers the others."""
    found = None
    for mount in table:
        point = mount.point.rstrip("/")
        if path == point or path.startswith(point + "/"):
            if found is None or len(point) >= len(found.point.rstrip("/")):
                found = mount
    return found


def _on_machine(outside: Outside, path: str) -> str:
    """A path of this process as a path of the machine: the other way round than Outside.at."""
    if outside.root.parent == outside.root:
        return path
    for root in (str(outside.root), os.path.realpath(outside.root)):
        if path == root or path.startswith(root + os.sep):
            return path[len(root) :] or "/"
    return path


def _state(outside: Outside, home: str) -> str:
    named = outside.env.get("KLEIN_DOCTOR_STATE_DIR", "")
    if named:
        return named
    if outside.windows:
        base = outside.env.get("LOCALAPPDATA") or _below(home, "AppData", "Local")
    elif outside.platform == "darwin":
        base = _below(home, "Library", "Application Support")
    else:
        base = outside.env.get("XDG_STATE_HOME") or _below(home, ".local", "state")
    return _below(base, "klein-doctor")


def _below(base: str, *names: str) -> str:
    return os.path.join(base, *names) if base else ""


def _at_home(text: str, home: str) -> str:
    """A leading ``~`` of a setting, as the programs that read it understand it."""
    return home + text[1:] if home and (text == "~" or text[:2] in ("~/", "~\\")) else text


def _unescaped(text: str) -> str:
    """mountinfo writes spaces, tabs, line ends and backslashes as three octal digits."""
    return re.sub(r"\\([0-3][0-7]{2})", lambda found: chr(int(found.group(1), 8)), text)


def _device(major: int, minor: int) -> int:
    if sys.platform == "win32":
        return 0
    try:
        return os.makedev(major, minor) & _LARGEST
    except (OverflowError, ValueError):
        return 0
