"""Where a Hub token can be read by others. Only the place is kept, never the token."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from klein_doctor.installation import Launcher, Secret
from klein_doctor.probes.found import Found
from klein_doctor.probes.outside import Outside, is_file, names, read_text

_TOKEN = re.compile(r"hf_[A-Za-z0-9]{30,}")
_NAMED = re.compile(r"\b(?:HF_TOKEN|HUGGING_FACE_HUB_TOKEN)\s*=\s*[\"']?[A-Za-z0-9_-]{20,}")
_MOST_WORKFLOWS = 200
_LONGEST = 1 << 20


def read_secrets(
    outside: Outside, found: Found | None, launchers: tuple[Launcher, ...]
) -> tuple[Secret, ...]:
    """Token files open to others, and tokens written into launchers and workflows."""
    secrets = [] if outside.windows else _files(outside)
    for name in dict.fromkeys(launcher.path.real for launcher in launchers):
        secrets += _written(outside, Path(name), "launcher")
    if found is not None:
        for path in _workflows(found.base):
            secrets += _written(outside, path, "workflow")
    return tuple(secrets)


def _files(outside: Outside) -> list[Secret]:
    env = outside.env
    home = env.get("HOME", "")
    cache = env.get("XDG_CACHE_HOME") or (f"{home}/.cache" if home else "")
    hub = env.get("HF_HOME") or (f"{cache}/huggingface" if cache else "")
    places = [env.get("HF_TOKEN_PATH", "")]
    places += [f"{hub}/token", f"{hub}/stored_tokens"] if hub else []
    places += [f"{home}/.huggingface/token"] if home else []
    found = []
    for place in dict.fromkeys(place for place in places if place.startswith("/")):
        readers = _readers(outside.at(place), outside.root)
        if readers:
            found.append(Secret("file", outside.redactor.path(place), 0, readers))
    return found


def _readers(path: Path, root: Path) -> str:
    """Who besides the owner can read a file, through every folder on the way to it."""
    try:
        if not is_file(path):
            return ""
        own = path.stat()
        folders = [folder.stat() for folder in path.parents if folder != root.parent]
    except OSError:
        return ""
    if not own.st_size:
        return ""
    if own.st_mode & stat.S_IROTH and all(each.st_mode & stat.S_IXOTH for each in folders):
        return "everyone"
    # A group of the same number as its user is, by custom, that user's alone.
    shared = own.st_gid != own.st_uid
    ways = (each.st_mode & (stat.S_IXOTH | stat.S_IXGRP) for each in folders)
    return "group" if shared and own.st_mode & stat.S_IRGRP and all(ways) else ""


def _workflows(base: Path) -> list[Path]:
    users = base / "user"
    return [
        users / user / "workflows" / name
        for user in names(users)[:20]
        for name in names(users / user / "workflows")
        if name.endswith(".json")
    ][:_MOST_WORKFLOWS]


def _written(outside: Outside, path: Path, kind: str) -> list[Secret]:
    text = read_text(path, _LONGEST)
    found = _TOKEN.search(text) or _NAMED.search(text)
    if found is None:
        return []
    line = text.count("\n", 0, found.start()) + 1
    shown = outside.redactor.path(_TOKEN.sub("hf_(token)", str(path)))
    return [Secret(kind, shown, line, "")]
