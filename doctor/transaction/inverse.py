"""Taking back what the journal announces; each may be repeated, and may find it half done.

An inverse answers with the things it could not take back, each in one line: what was changed by
somebody else since then is left as it is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from klein_doctor.state import make_folder, own_like_parent
from klein_doctor.transaction.content import digest, listing, read_list, unused
from klein_doctor.transaction.journal import Journal, Record, StepRecord
from klein_doctor.transaction.records import compiled_in

Inverse = Callable[[Record, Journal, StepRecord], list[str]]


def take_back(journal: Journal, step: StepRecord) -> list[str]:
    """Take back a step, sealed or open, and say so in the journal where all of it is.

    Answers with what could not be taken back; the journal then keeps the step as it is.
    """
    problems: list[str] = []
    for record in reversed(step.records):
        inverse = INVERSES.get(record["do"])
        if inverse is None:
            problems.append(f"this version does not know how to take back {record['do']!r}")
            continue
        try:
            problems += inverse(record, journal, step)
        except OSError as error:
            problems.append(f"{error.filename or record['do']}: {error.strerror or error}")
    if not problems:
        journal.add("undone", step=step.number)
    return problems


def _edit(record: Record, _: Journal, __: StepRecord) -> list[str]:
    path, backup = Path(record["path"]), Path(record["backup"])
    Path(record["temp"]).unlink(missing_ok=True)
    if not backup.exists():
        return []
    now = digest(path)
    if now == record["before"] and os.path.samefile(path, backup):
        backup.unlink()
    elif now in ("", record["before"], record["after"]):
        os.replace(backup, path)
    else:
        return [f"{path} was changed since; the original is {backup}"]
    return []


def _create(record: Record, _: Journal, __: StepRecord) -> list[str]:
    path = Path(record["path"])
    Path(record["temp"]).unlink(missing_ok=True)
    now = digest(path)
    if now == record["after"]:
        path.unlink()
    elif now:
        return [f"{path} was changed since and stays"]
    return []


def _folder(record: Record, _: Journal, __: StepRecord) -> list[str]:
    for path in record["paths"]:
        with contextlib.suppress(OSError):  # not empty: something of the user's lies there now
            os.rmdir(path)
    return []


def _move(record: Record, _: Journal, __: StepRecord) -> list[str]:
    source, target = record["source"], record["target"]
    if not os.path.lexists(target):
        return [] if os.path.lexists(source) else [f"{target} is gone; it was {source}"]
    if os.path.lexists(source):
        return [f"{source} is there again; what it was is {target}"]
    os.makedirs(os.path.dirname(source), exist_ok=True)
    os.rename(target, source)
    return []


def _link(record: Record, _: Journal, __: StepRecord) -> list[str]:
    source, target = record["source"], record["target"]
    if not os.path.lexists(target):
        return []
    if os.path.exists(target) and os.path.exists(source):
        if os.path.samefile(source, target):
            os.unlink(target)
            return []
    elif os.path.islink(target):
        os.unlink(target)
        return []
    return [f"{target} is another file by now and stays"]


def _merge(record: Record, _: Journal, __: StepRecord) -> list[str]:
    copy, original, temp = (Path(record[name]) for name in ("copy", "original", "temp"))
    temp.unlink(missing_ok=True)
    if not copy.exists():
        return [f"{copy} is gone; it was a copy of {original}"]
    if not original.exists() or not os.path.samefile(copy, original):
        return []  # a file of its own, as it was
    if digest(copy) != record["digest"]:
        return [f"{copy} was changed since, by its other name {original}; both are that file now"]
    shutil.copyfile(original, temp)
    os.chmod(temp, record["mode"])
    os.utime(temp, ns=(record["mtime"], record["mtime"]))
    own_like_parent(temp)
    os.replace(temp, copy)
    return []


def _tree(record: Record, journal: Journal, step: StepRecord) -> list[str]:
    path = Path(record["path"])
    told = next(
        (r for r in step.records if r["do"] == "filled" and r["path"] == record["path"]), None
    )
    if os.path.lexists(path) and step.state == "sealed" and told is not None:
        had = read_list(journal.folder / told["listing"])
        ours = ("__pycache__", ".git")
        later = [p for p in listing([path]) if p not in had and not _within(p, ours)]
        if later:
            os.rename(path, path.with_name(f"{path.name}.undone-{journal.run}"))
    if os.path.lexists(path):
        shutil.rmtree(path)
    if record.get("was_empty") is not None:
        path.mkdir()
        os.chmod(path, record["was_empty"])
        own_like_parent(path)
    return []


def _within(path: str, names: tuple[str, ...]) -> bool:
    return bool(set(Path(path).parts) & set(names))


def _take_out(record: Record, _: Journal, __: StepRecord) -> list[str]:
    """All of it or nothing: half a package would be worse than either."""
    root, backup = Path(record["root"]), Path(record["backup"])
    pairs = [(backup / name, root / name) for name in record["files"]]
    pairs = [pair for pair in pairs if os.path.lexists(pair[0])]
    taken = [target for _, target in pairs if os.path.lexists(target)]
    if taken:
        more = f" and {len(taken) - 1} more files" if taken[1:] else ""
        return [f"{taken[0]}{more} came since; what was there is in {backup}"]
    for name, mode in record.get("folders", ()):
        # Those above come first; of a restore that was broken off, some are there already.
        if not os.path.isdir(root / name):
            make_folder(root / name, 0o777)
            os.chmod(root / name, mode)
    for source, target in pairs:
        os.rename(source, target)
    if backup.exists():
        shutil.rmtree(backup)  # empty folders
    return []


def _additions(record: Record, journal: Journal, step: StepRecord) -> list[str]:
    """Of a step that ended, what its list names; of one that did not, all that came meanwhile."""
    if any(r["do"] == "added" and _begun(r, step) is record for r in step.records):
        return []
    try:
        before = _before(record, journal)
    except FileNotFoundError:
        return []
    kept = _kept(record, before)
    for path in listing(Path(each) for each in record["folders"]):
        if path not in before:
            os.unlink(path)
            _drop_empty(os.path.dirname(path), kept)
    _drop_absent(record, kept)
    return []


def _added(record: Record, journal: Journal, step: StepRecord) -> list[str]:
    begun = _begun(record, step)
    changed = [path for path, size, time in record["files"] if not _as_left(path, size, time)]
    if changed:
        more = f" and {len(changed) - 1} more files" if changed[1:] else ""
        return [f"{changed[0]}{more}: changed since by something else, and left as it is"]
    try:
        before = _before(begun, journal)
    except FileNotFoundError:
        before = frozenset()
    kept = _kept(begun, before)
    for path, *_mark in record["files"]:
        Path(path).unlink(missing_ok=True)
    _drop_compiled([path for path, *_mark in record["files"]], before)
    for folder in {os.path.dirname(path) for path, *_mark in record["files"]}:
        _drop_empty(folder, kept)
    _drop_absent(begun, kept)
    return []


def _begun(added: Record, step: StepRecord) -> Record:
    """The record of the additions that this one ends."""
    return next(
        r
        for r in step.records
        if r["do"] == "additions" and added.get("before", r["before"]) == r["before"]
    )


def _before(record: Record, journal: Journal) -> frozenset[str]:
    return read_list(journal.folder / record["before"])


def _kept(record: Record, before: frozenset[str]) -> set[str]:
    """The folders that stay although they are empty: they were, or are where listing began."""
    absent = set(record.get("absent", ()))
    tops = {each for each in record["folders"] if each not in absent}
    return tops | {os.path.dirname(each) for each in before if each.endswith(os.sep)}


def _drop_absent(record: Record, kept: set[str]) -> None:
    for path in record.get("absent", ()):
        if os.path.isdir(path):
            _drop_empty(path, {*kept, os.path.dirname(path)})


def _as_left(path: str, size: int, time: int) -> bool:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return True  # taken back already
    return (status.st_size, status.st_mtime_ns) == (size, time)


def _drop_compiled(paths: Iterable[str], before: frozenset[str]) -> None:
    """What Python compiled of these modules since, beside them."""
    modules: dict[str, set[str]] = {}
    for path in paths:
        if path.endswith(".py"):
            modules.setdefault(os.path.dirname(path), set()).add(os.path.basename(path)[:-3])
    for folder, names in modules.items():
        for compiled in compiled_in(folder, names):
            if compiled not in before:
                Path(compiled).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(folder, "__pycache__"))


def _drop_empty(folder: str, kept: set[str]) -> None:
    """Remove a folder and those above it while they are empty."""
    while folder not in kept and folder != os.path.dirname(folder):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            pass  # gone with what was below another of its folders
        except OSError:
            return
        folder = os.path.dirname(folder)


def _fetched(record: Record, _: Journal, __: StepRecord) -> list[str]:
    from klein_doctor.download.claim import tidy_up

    path = Path(record["path"])
    if os.path.lexists(path):
        os.rename(path, unused(path.with_name(f"{path.name}.parked"), at_end=True))
    tidy_up(path)  # what came of it so far stays beside it, to go on from
    return []


def _probe(record: Record, _: Journal, __: StepRecord) -> list[str]:
    Path(record["path"]).unlink(missing_ok=True)
    return []


def _nothing(_: Record, __: Journal, ___: StepRecord) -> list[str]:
    return []


INVERSES: dict[str, Inverse] = {
    "edit": _edit,
    "create": _create,
    "folder": _folder,
    "move": _move,
    "link": _link,
    "merge": _merge,
    "tree": _tree,
    "filled": _nothing,
    "take-out": _take_out,
    "additions": _additions,
    "added": _added,
    "fetched": _fetched,
    "probe": _probe,
}
