"""What a step may do to the machine: few things, each announced first and each with an inverse.

The inverses stand in ``inverse.py``, by the name that is announced.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from klein_doctor.state import make_folder, own_like, own_like_parent
from klein_doctor.steps import StepFailed
from klein_doctor.transaction.around import Around
from klein_doctor.transaction.child import Child
from klein_doctor.transaction.content import digest, listing, temporary, write_list, write_new
from klein_doctor.transaction.journal import Journal, sync_folder
from klein_doctor.transaction.place import backup_folder, free_name


class Transaction:
    """One step under way.

    Args:
        journal: of the run. number: of the step. scratch: a folder that is removed after the run.
        child: runs programs, bounded. note: told in one line what goes on. around: what the command
            line says of the whole run.

    Every method raises StepFailed where it cannot be done, and OSError where the disk says no;
    either way the step is rolled back by whoever began it.
    """

    def __init__(
        self,
        journal: Journal,
        number: int,
        scratch: Path,
        child: Child,
        note: Callable[[str], None] = lambda text: None,
        around: Around | None = None,
    ):
        self.journal = journal
        self.number = number
        self.scratch = scratch
        self.note = note
        self.around = around or Around()
        self._child = child

    def announce(self, do: str, **data: Any) -> None:
        """Write an intent into the journal; ``inverse.py`` must know its name."""
        self.journal.add(do, step=self.number, **data)

    def left_s(self) -> float | None:
        """Seconds left to the whole run, None for as long as it takes."""
        return self._child.left_s()

    def run(self, argv: Sequence[str], **options: Any) -> str:
        """Run a program to its end and answer what it printed; options as ``Child.run``.

        Raises:
            StepFailed: it did not end with 0, with the line in which it says why.
        """
        return self._child.run(argv, **options)

    def edit(self, path: Path, data: bytes) -> None:
        """Replace the content of a file; the original is kept, rights and owner stay."""
        path = Path(os.path.realpath(path))
        status = os.stat(path)
        backup = free_name(backup_folder(self.journal, path.parent, self.announce))
        temp = temporary(path)
        self.announce(
            "edit", path=str(path), backup=str(backup), temp=str(temp),
            before=digest(path), after=digest(data),
        )  # fmt: skip
        _keep(path, backup)
        write_new(temp, data, stat.S_IMODE(status.st_mode))
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                os.chown(temp, status.st_uid, status.st_gid)
        os.replace(temp, path)
        sync_folder(path.parent)

    def create(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        """Write a file that is not there yet."""
        if os.path.lexists(path):
            raise StepFailed(f"{path} is there already")
        temp = temporary(path)
        self.announce("create", path=str(path), temp=str(temp), after=digest(data))
        write_new(temp, data, mode)
        own_like_parent(temp)
        os.rename(temp, path)
        sync_folder(path.parent)

    def folder(self, path: Path) -> None:
        """Make a folder and those above it; taken back where they are still empty."""
        missing = []
        while not path.exists():
            missing.append(str(path))
            path = path.parent
        if missing:
            self.announce("folder", paths=missing)
            make_folder(Path(missing[0]), 0o777)

    def move(self, source: Path, target: Path) -> None:
        """Rename a file or folder within its file system; never over another."""
        if os.path.lexists(target):
            raise StepFailed(f"{target} is there already")
        self.announce("move", source=str(source), target=str(target))
        try:
            os.rename(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            raise StepFailed(f"{target} is on another disk than {source}") from error
        sync_folder(target.parent)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name: a hard link, else a symbolic one."""
        if os.path.lexists(target):
            raise StepFailed(f"{target} is there already")
        source = Path(os.path.realpath(source))
        self.announce("link", source=str(source), target=str(target))
        try:
            os.link(source, target)
        except OSError:
            os.symlink(source, target)
            own_like_parent(target)
        sync_folder(target.parent)

    def merge(self, copy: Path, original: Path) -> None:
        """Make a copy another name of its original; taking it back makes it a copy again."""
        status, other = os.stat(copy), os.stat(original)
        if os.path.samestat(status, other):
            return
        found = digest(copy)
        if found != digest(original) or _changed(copy, status) or _changed(original, other):
            raise StepFailed(f"{copy} and {original} are not the same any more")
        temp = temporary(copy)
        self.announce(
            "merge", copy=str(copy), original=str(original), temp=str(temp), digest=found,
            mtime=status.st_mtime_ns, mode=stat.S_IMODE(status.st_mode),
        )  # fmt: skip
        try:
            os.link(original, temp)
        except OSError as error:
            raise StepFailed(f"{copy} cannot be a link to {original}: {error.strerror}") from error
        os.replace(temp, copy)
        sync_folder(copy.parent)

    def tree(self, path: Path) -> None:
        """Claim a folder that is not there yet, or empty, and that the step is about to fill.

        ``filled`` must follow when that is done, so that undo can tell what came later.
        """
        there = path.is_dir() and not path.is_symlink()
        if os.path.lexists(path) and (not there or any(path.iterdir())):
            raise StepFailed(f"{path} is there already")
        mode = stat.S_IMODE(path.stat().st_mode) if there else None
        self.announce("tree", path=str(path), was_empty=mode)

    def filled(self, path: Path) -> None:
        """What lies in a claimed folder now was put there by this step."""
        inside = listing([path])
        own_like(path.parent, [str(path), *inside])
        name = self._write_list("tree", inside)
        self.announce("filled", path=str(path), listing=name)

    def _write_list(self, kind: str, paths: Sequence[str]) -> str:
        """Keep a list of paths in the run's folder; answers with its name there."""
        numbers = itertools.count(1)
        names = (f"{kind}-{self.number}-{number}" for number in numbers)
        name = next(each for each in names if not (self.journal.folder / each).exists())
        write_list(self.journal.folder / name, paths)
        return name

    def take_out(self, root: Path, files: Sequence[Path]) -> Path | None:
        """Move many files that lie below root out of the way; emptied folders go, too.

        Answers with the folder in which they lie under the same names; None where none was there.
        """
        there = [os.path.relpath(path, root) for path in files if os.path.lexists(path)]
        if not there:
            return None
        backup = free_name(backup_folder(self.journal, root, self.announce))
        folders = _folders_of(there)
        self.announce(
            "take-out", root=str(root), backup=str(backup), files=there,
            folders=[[name, stat.S_IMODE(os.stat(root / name).st_mode)] for name in folders],
        )  # fmt: skip
        for name in ("", *folders):
            make_folder(backup / name)
        top, place = str(root), str(backup)
        for name in there:
            os.rename(os.path.join(top, name), os.path.join(place, name))
        for name in reversed(folders):
            with contextlib.suppress(OSError):  # not empty: what is in there is not ours
                os.rmdir(root / name)
        return backup

    @contextlib.contextmanager
    def additions(self, folders: Sequence[Path]) -> Iterator[None]:
        """Whatever files appear meanwhile below these folders, or as these, are this step's.

        Nothing that is there already may be written over: take it out before.
        """
        before = listing(folders, empty=True)
        name = self._write_list("before", before)
        self.announce(
            "additions", folders=[str(each) for each in folders], before=name,
            absent=[str(each) for each in folders if not os.path.lexists(each)],
        )  # fmt: skip
        yield
        had = set(before)
        added = [path for path in listing(folders) if path not in had]
        for folder in folders:
            if folder.is_dir():
                own_like(folder, added)
        told = [[path, *_mark(path)] for path in added]
        self.announce("added", files=told, before=name)

    def fetched(self, path: Path) -> None:
        """A model file is about to arrive here; undo parks it beside and never deletes it."""
        if os.path.lexists(path):
            raise StepFailed(f"{path} is there already")
        self.announce("fetched", path=str(path))


def _changed(path: Path, status: os.stat_result) -> bool:
    now = os.stat(path)
    return (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns)


def _keep(path: Path, backup: Path) -> None:
    """A second name for the original itself, else a copy that is whole or not there."""
    try:
        os.link(path, backup)
    except OSError:  # a file system without hard links
        part = backup.with_suffix(".part")
        shutil.copy2(path, part)
        os.replace(part, backup)
    sync_folder(backup.parent)


def _folders_of(names: Sequence[str]) -> list[str]:
    """The folders in which relative names lie, those above before those below."""
    found: set[str] = set()
    for name in names:
        folder = os.path.dirname(name)
        while folder and folder not in found:
            found.add(folder)
            folder = os.path.dirname(folder)
    return sorted(found)


def _mark(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_size, status.st_mtime_ns
