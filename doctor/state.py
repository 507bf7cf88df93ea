"""The folder in which the doctor remembers: digests, later what it changed. Read or made here."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from klein_doctor.exits import UsageError


def state_folder(given: str, env: Mapping[str, str]) -> Path | None:
    """``--state-dir``, else the user's own state folder; None where there is no home for one."""
    if given:
        return Path(given)
    home = "LOCALAPPDATA" if sys.platform == "win32" else "HOME"
    if not env.get(home) and not env.get("XDG_STATE_HOME"):
        return None
    import platformdirs

    return platformdirs.user_state_path("klein-doctor", appauthor=False)


def need_state_folder(given: str, env: Mapping[str, str]) -> Path:
    """As ``state_folder``, for what cannot be done without.

    Raises:
        UsageError: there is no home for one.
    """
    found = state_folder(given, env)
    if found is None:
        raise UsageError(
            "there is no home folder to keep the journal and the originals in; name one with "
            "--state-dir DIR"
        )
    return found


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Create a folder; what root makes inside a user's folder takes that folder's owner.

    mode: the rights of what is made, less the umask; a folder of models is for others, too.

    Raises:
        OSError: it cannot be made.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent, mode)
    folder.mkdir(mode=mode, exist_ok=True)
    own_like_parent(folder)


def replace_file(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    make_folder(path.parent)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:30]}.")
    try:
        with open(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        own_like_parent(Path(temporary))
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def own_like(folder: Path, paths: Iterable[str]) -> None:
    """What a program made as root inside a user's folder, folders below it included, is theirs."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return
    owner = folder.stat()
    if owner.st_uid == 0:
        return
    done: set[str] = set()
    for path in paths:
        while path not in done and path.startswith(os.path.join(folder, "")):
            done.add(path)
            with contextlib.suppress(OSError):  # a share, or a file system without owners
                if os.lstat(path).st_uid == 0:
                    os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
            path = os.path.dirname(path)


def own_like_parent(path: Path) -> None:
    """What root makes inside a user's folder takes that folder's owner, where it can be given."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return
    owner = path.parent.stat()
    if owner.st_uid != 0:
        with contextlib.suppress(OSError):  # a share, or a file system without owners
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
