"""Python packages changed as a whole: prepared first, moved out by their records, put in offline.

Until everything that will be installed lies on this machine, nothing of the target is touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from packaging.utils import canonicalize_name as canonical
from packaging.version import InvalidVersion, Version

from klein_doctor.outcomes import gib
from klein_doctor.steps import StepFailed
from klein_doctor.transaction.own import lives_in, own_packages
from klein_doctor.transaction.pip_tool import Pip
from klein_doctor.transaction.prepared import (
    Change,
    Layout,
    Prepared,
    Tool,
    children,
    named,
    once_more,
)
from klein_doctor.transaction.records import (
    Installed,
    claims,
    conda_record,
    files_of,
    installed,
)
from klein_doctor.transaction.transaction import Transaction
from klein_doctor.transaction.uv_tool import Uv

__all__ = ["Change", "Changed", "change_packages"]
_SPARE = 256 << 20  # bytes that stay free, for what others write meanwhile
_TOOLS: dict[str, Callable[[Change, Path, Transaction], Tool]] = {"pip": Pip, "uv": Uv}
_ASK = """
import json, site, sys, sysconfig
p = sysconfig.get_paths()
user = bool(site.ENABLE_USER_SITE) and sys.prefix == sys.base_prefix
print("\\n" + json.dumps({
    "prefix": p["data"], "purelib": p["purelib"], "platlib": p["platlib"],
    "scripts": p["scripts"], "include": p["include"], "path": [x for x in sys.path if x],
    "user_site": site.getusersitepackages() if user else "",
    "user_base": site.getuserbase() if user else "", "venv": sys.prefix != sys.base_prefix,
}))
"""


class Changed(NamedTuple):
    """installed: name and version of what was put there, new or again. removed: names."""

    installed: tuple[tuple[str, str], ...]
    removed: tuple[str, ...]


def change_packages(change: Change, transaction: Transaction) -> Changed:
    """Change packages of a target; what is there already as wanted is left alone.

    Raises:
        StepFailed: it cannot be done, or did not come out as resolved; whoever began the step
            takes back what was done of it.
        OSError: the disk says no.
    """
    layout = _layout(change, transaction)
    there = installed(layout.path)
    here = Path(tempfile.mkdtemp(prefix="packages-", dir=transaction.scratch))
    prepared = _prepare(change, layout, there, here, transaction)
    goes = _going(change, layout, there, prepared)
    if not goes and not prepared.pins:
        return Changed((), ())
    _refuse(prepared, change, layout, there)
    files = {path for one in goes for path in files_of(one, layout.tops)}
    # Nothing is written over: what lies where a new file will be can be brought back, too.
    files.update(path for path in prepared.files if os.path.isfile(path) or path.is_symlink())
    _enough_disk(prepared, layout)
    if os.path.lexists(layout.purelib) and not os.access(layout.purelib, os.W_OK):
        raise StepFailed(f"{layout.purelib} cannot be written by this user")
    shared = _shared(files, [one for one in there if one not in goes])
    transaction.note(f"moving {len(files)} files out of the way")
    kept = _take_out(files, layout, transaction)
    with transaction.additions(_watched(prepared, layout)):
        if prepared.pins:
            transaction.note("installing " + ", ".join(str(pin) for pin in prepared.pins))
            prepared.install()
        _put_back(shared, kept)
    _verify(change, layout, prepared)
    wanted = {pin.name for pin in prepared.pins}
    removed = dict.fromkeys(one.name for one in goes if one.name not in wanted)
    return Changed(tuple((pin.name, pin.version) for pin in prepared.pins), tuple(removed))


def _layout(change: Change, transaction: Transaction) -> Layout:
    argv = [change.python, *(["-s"] if change.isolated else []), "-c", _ASK]
    said = transaction.run(argv, env=children(change), limit_s=120, cwd=transaction.scratch)
    try:
        told = json.loads(said.rstrip().rpartition("\n")[2])
        folders = [Path(each) for each in told["path"] if os.path.isdir(each)]
        return Layout(
            prefix=Path(told["prefix"]), purelib=Path(told["purelib"]),
            platlib=Path(told["platlib"]), scripts=Path(told["scripts"]),
            include=Path(told["include"]), user_site=told["user_site"],
            user_base=told["user_base"], venv=told["venv"],
            path=_distinct([Path(told["purelib"]), Path(told["platlib"]), *folders]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise StepFailed(f"{change.python} does not tell where its packages are") from error


def _distinct(folders: Sequence[Path]) -> tuple[Path, ...]:
    """Without second names of the same folder (lib64)."""
    found: dict[str, Path] = {}
    for folder in folders:
        found.setdefault(os.path.realpath(folder), folder)
    return tuple(found.values())


def _prepare(
    change: Change, layout: Layout, there: list[Installed], here: Path, transaction: Transaction
) -> Prepared:
    if not change.install and not change.requirements:
        return Prepared((), (), 0, lambda: None)
    kind = _TOOLS.get(change.tool)
    if kind is None:
        raise StepFailed(f"{change.tool!r} is no tool that installs packages: pip or uv")
    with _no_new_lock(layout):
        tool = kind(change, here, transaction)
        transaction.note(f"asking {change.tool} what would change")
        pins = tool.resolve(change.install, change.requirements)
        if change.again:
            pins += tool.resolve_again(once_more(change, pins, there))
        if not pins:
            return Prepared((), (), 0, lambda: None)
        transaction.note("fetching " + ", ".join(str(pin) for pin in pins))
        files, size = tool.fetch(pins, layout)
        return Prepared(tuple(pins), tuple(files), size, lambda: tool.install(pins))


@contextlib.contextmanager
def _no_new_lock(layout: Layout) -> Iterator[None]:
    """uv leaves an empty lock file in an environment that has none."""
    lock = layout.prefix / ".lock"
    had = os.path.lexists(lock)
    try:
        yield
    finally:
        if not had and lock.is_file() and lock.stat().st_size == 0:
            lock.unlink()


def _going(
    change: Change, layout: Layout, there: list[Installed], prepared: Prepared
) -> list[Installed]:
    """What will be moved out: the old of what changes, and what is to be removed."""
    wanted = {pin.name for pin in prepared.pins}
    removed = {canonical(name) for name in change.remove} - set(named(change))
    found = []
    for one in there:
        if one.name not in wanted | removed:
            continue
        if one.site in layout.roots:
            found.append(one)
        elif one.name in removed and one.name not in wanted:
            raise StepFailed(
                f"{one} lies in {one.site}, which does not belong to this environment: "
                "remove it with what installed it"
            )
    return found


def _refuse(prepared: Prepared, change: Change, layout: Layout, there: list[Installed]) -> None:
    """Raises StepFailed for what must not be changed from here."""
    names = {pin.name for pin in prepared.pins} | {canonical(name) for name in change.remove}
    if change.tool == "pip" and "pip" in names:
        raise StepFailed(
            f"pip cannot replace itself: run {change.python} -m pip install --upgrade pip first"
        )
    mine = names & own_packages() if lives_in(layout.prefix) else frozenset[str]()
    if mine:
        raise StepFailed(
            f"the doctor itself runs on {', '.join(sorted(mine))} of this environment and does not "
            "move that under its own feet: install it apart (pipx install klein-doctor, or uv tool "
            "install klein-doctor) and run it from there"
        )
    known = {one.name for one in there}
    for name in sorted(names - known):
        if record := conda_record(layout.prefix, name):
            raise StepFailed(f"{name} was installed by conda ({record}): change it with conda")


def _enough_disk(prepared: Prepared, layout: Layout) -> None:
    """What is moved out is renamed and takes no more room than before."""
    place = layout.purelib
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    needed = prepared.bytes + (_SPARE if prepared.bytes else 0)
    if free < needed:
        raise StepFailed(
            f"the disk of {place} has {gib(free)} free and {gib(needed)} are needed: "
            f"make {gib(max(needed - free, 1 << 27))} more room there"
        )


def _shared(files: set[Path], staying: Sequence[Installed]) -> list[Path]:
    """Files of these that other distributions, which stay, list as theirs, too."""
    wanted = {str(path) for path in files}
    found: set[str] = set()
    for one in staying:
        if one.info.suffix == ".dist-info":
            found.update(path for path in claims(one) if path in wanted)
    return [Path(path) for path in sorted(found)]


def _take_out(
    files: set[Path], layout: Layout, transaction: Transaction
) -> list[tuple[Path, Path]]:
    """Answers with the folders files were moved out of, each with where they lie now."""
    kept = []
    left = sorted(files)
    for top in layout.homes:
        inside = [path for path in left if path.is_relative_to(top)]
        left = [path for path in left if not path.is_relative_to(top)]
        backup = transaction.take_out(top, inside) if inside else None
        if backup is not None:
            kept.append((top, backup))
    return kept


def _put_back(shared: Sequence[Path], kept: Sequence[tuple[Path, Path]]) -> None:
    """Files that a package which stays needs, too, unless a new one brought its own."""
    for path in shared:
        for top, backup in kept:
            if path.is_relative_to(top) and not os.path.lexists(path):
                source = backup / path.relative_to(top)
                if os.path.lexists(source):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(source, path, follow_symlinks=False)


def _watched(prepared: Prepared, layout: Layout) -> list[Path]:
    """Where something new may appear."""
    found = dict.fromkeys((*layout.roots, layout.scripts))
    found.update(dict.fromkeys([layout.prefix / ".lock"]))
    for path in prepared.files:
        if not any(path.is_relative_to(top) for top in found):
            inside = path.relative_to(layout.prefix) if path.is_relative_to(layout.prefix) else path
            found[layout.prefix / inside.parts[0] if inside.parts[1:] else path] = None
    return list(found)


def _verify(change: Change, layout: Layout, prepared: Prepared) -> None:
    """Raises StepFailed unless the records there now are those that were resolved."""
    now: dict[str, list[Installed]] = {}
    for one in installed(layout.roots):
        now.setdefault(one.name, []).append(one)
    for pin in prepared.pins:
        found = now.get(pin.name, [])
        if [_plain(one.version) for one in found] != [_plain(pin.version)]:
            said = ", ".join(one.version for one in found) or "nothing"
            raise StepFailed(f"{pin} was to be installed, and {said} is there")
    wanted = {*(pin.name for pin in prepared.pins), *named(change)}
    for name in map(canonical, change.remove):
        if name in now and name not in wanted:
            raise StepFailed(f"{now[name][0]} was to be removed and is still there")


def _plain(version: str) -> str:
    try:
        return str(Version(version))
    except InvalidVersion:
        return version
