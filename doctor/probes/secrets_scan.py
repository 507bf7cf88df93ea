"""Where a Hub token can be read by others. Only the place is kept, never the token.

Token files: huggingface_hub constants (HF_TOKEN_PATH, HF_HOME) and its first client's folder.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from klein_doctor.installation import Launcher, Secret
from klein_doctor.privacy import hub_token
from klein_doctor.probes.found import Found
from klein_doctor.probes.outside import Outside, is_file, names

# Bytes, and beginning with plain letters: that is what makes a search of many files fast.
_TOKEN = re.compile(hub_token(30).encode())
_NAMED = re.compile(rb"(?:HF_TOKEN|HUGGING_?FACE_?HUB_TOKEN)\s*=\s*[\"']?([A-Za-z0-9_-]{20,})")
_IN_PATH = re.compile(hub_token(30))
# The end of what may stand before a token: no word, but in JSON the n of a line's end may.
_BEFORE = re.compile(rb"(?:^|[^\w-]|\\[nrt])\Z")
_FEWEST_SIGNS = 4  # a placeholder repeats one or two
_MOST_USERS = 20
_MOST_WORKFLOWS = 200
_MOST_FOLDERS = 100
_LEVELS = 3
_LONGEST = 1 << 20
_LONGEST_IN_ALL = 64 << 20
_WINDOWS_DRIVE = re.compile(r"/mnt/[a-z]/")


def read_secrets(
    outside: Outside, found: Found | None, launchers: tuple[Launcher, ...]
) -> tuple[Secret, ...]:
    """Token files open to others, and tokens written into launchers and workflows."""
    secrets = [] if outside.windows else list(_files(outside))
    for name in dict.fromkeys(launcher.path.real for launcher in launchers):
        secrets += _written(outside, Path(name), "launcher", _bytes(Path(name)))
    if found is not None:
        left = _LONGEST_IN_ALL
        for path in workflow_files(found.base):
            data = _bytes(path)
            secrets += _written(outside, path, "workflow", data)
            left -= len(data)
            if left <= 0:
                break
    return tuple(secrets)


# --- token files -----------------------------------------------------------------------------


def _files(outside: Outside) -> Iterator[Secret]:
    wsl = "microsoft" in outside.text("/proc/sys/kernel/osrelease").lower()
    for place in _places(outside):
        # Windows' own drives show every file as open to all; Windows decides who reads it.
        if wsl and _WINDOWS_DRIVE.match(place):
            continue
        readers = _readers(outside.at(place), outside.root)
        if readers:
            shown = outside.redactor.path(_IN_PATH.sub("hf_(token)", place))
            yield Secret("file", shown, 0, readers)


def _places(outside: Outside) -> list[str]:
    env = outside.env
    home = env.get("HOME", "")

    def path(text: str) -> str:
        return home + text[1:] if text.startswith("~/") else text

    cache = env.get("XDG_CACHE_HOME") or (f"{home}/.cache" if home else "")
    hub = path(env.get("HF_HOME") or (f"{cache}/huggingface" if cache else ""))
    token = path(env.get("HF_TOKEN_PATH") or (f"{hub}/token" if hub else ""))
    places = [token, f"{token.rpartition('/')[0]}/stored_tokens"] if "/" in token else []
    if hub:
        places += [f"{hub}/token", f"{hub}/stored_tokens"]
    if home:
        places += [f"{home}/.cache/huggingface/token", f"{home}/.cache/huggingface/stored_tokens",
                   f"{home}/.huggingface/token"]  # fmt: skip
    return [place for place in dict.fromkeys(places) if place.startswith("/")]


def _readers(path: Path, root: Path) -> str:
    """Who besides the owner can read a file, through every folder on the way to it."""
    try:
        if not is_file(path):
            return ""
        path = Path(os.path.realpath(path))
        root = Path(os.path.realpath(root))
        own = path.stat()
        folders = [
            each.stat() for each in path.parents if each != root and each not in root.parents
        ]
    except (OSError, ValueError):
        return ""
    if not own.st_size:
        return ""
    if own.st_mode & stat.S_IROTH and all(each.st_mode & stat.S_IXOTH for each in folders):
        return "everyone"
    # A group of the same number as its user is, by custom, that user's alone.
    if own.st_gid == own.st_uid or not own.st_mode & stat.S_IRGRP:
        return ""
    return "group" if all(_passes(each, own.st_gid) for each in folders) else ""


def _passes(folder: os.stat_result, group: int) -> bool:
    """Whether members of a group may go through a folder."""
    return bool(folder.st_mode & (stat.S_IXGRP if folder.st_gid == group else stat.S_IXOTH))


# --- tokens in other files -------------------------------------------------------------------


def workflow_files(base: Path) -> Iterator[Path]:
    """The workflow files of every user, folders in them included."""
    users = base / "user"
    waiting = [(users / name / "workflows", _LEVELS) for name in names(users)[:_MOST_USERS]]
    files = folders = 0
    while waiting and folders < _MOST_FOLDERS:
        folder, levels = waiting.pop(0)
        folders += 1
        for name in names(folder):
            if name.lower().endswith(".json"):
                yield folder / name
                files += 1
                if files >= _MOST_WORKFLOWS:
                    return
            elif levels and "." not in name:
                waiting.append((folder / name, levels - 1))


def _bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as stream:
            return stream.read(_LONGEST)
    except (OSError, ValueError):
        return b""


def _written(outside: Outside, path: Path, kind: str, data: bytes) -> list[Secret]:
    places = [
        each.start()
        for each in _TOKEN.finditer(data)
        if _is_mixed(each[0][3:]) and _BEFORE.search(data[max(0, each.start() - 2) : each.start()])
    ]
    if b"_TOKEN" in data:
        places += [
            each.start()
            for each in _NAMED.finditer(data)
            if _is_mixed(each[1]) and re.search(rb"[0-9]", each[1])
        ]
    if not places:
        return []
    line = data.count(b"\n", 0, min(places)) + 1
    shown = outside.redactor.path(_IN_PATH.sub("hf_(token)", str(path)))
    return [Secret(kind, shown, line, "")]


def _is_mixed(text: bytes) -> bool:
    """Whether it is more than a placeholder such as hf_xxxxxxxx."""
    return len(set(text)) >= _FEWEST_SIGNS
