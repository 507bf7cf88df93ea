"""Doing it: prove what is here, look at the room, then link, copy or fetch, file by file."""

from __future__ import annotations

import os
import queue
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from klein_doctor.download.claim import abandon, claim
from klein_doctor.download.faults import AWAY, LOCAL, DownloadError, Stopped, forbidden, of_disk
from klein_doctor.download.jobs import Job
from klein_doctor.download.part import Part, kept, lock_of, note_of, tidy, xet_of
from klein_doctor.download.place import absent, bring, settle
from klein_doctor.download.progress import Display
from klein_doctor.download.reuse import candidates
from klein_doctor.download.sources import Source, Stream
from klein_doctor.download.transfer import Transfer
from klein_doctor.identity.digest import DigestStore, Result, hash_files
from klein_doctor.outcomes import gb
from klein_doctor.recipe_downloads import Asset, Downloads

_BLOCK = 1 << 20
_WORTH_TELLING = 1 << 28  # bytes to hash, from which on the user is told
# So that the digest of a file that was just written can be remembered for it: its time has passed.
_LATER_S = 0.06


class Step(NamedTuple):
    """What is to be done for a job. how: ``here``, ``copy`` or ``fetch``; kept: of its part."""

    job: Job
    how: str
    source: Path | None = None
    kept: int = 0


class Done(NamedTuple):
    """How a job ended.

    state: ``here``, ``cloned``, ``linked``, ``copied``, ``fetched``, ``failed``, ``stopped`` or,
    of a dry run, ``to copy`` and ``to fetch``. kept: bytes of the part that stay.
    """

    job: Job
    state: str
    source: Path | None = None
    aside: Path | None = None
    kept: int = 0
    fault: DownloadError | None = None


class Tools(NamedTuple):
    """What every worker needs. sources: where to fetch from, in order; none offline.

    late: set, together with stop, when the deadline has passed. xet: the Hub's address where its
    fast transfer was asked for. away: the sources that a file has waited for in vain, and why;
    the files after it do not wait again.
    """

    downloads: Downloads
    store: DigestStore
    sources: Sequence[Source]
    display: Display
    stop: threading.Event
    deep: bool
    late: threading.Event
    xet: str
    away: dict[str, DownloadError]

    def tick(self, _: Path, __: int) -> None:
        """Told of bytes that were hashed; ends it where that was asked for.

        Raises:
            Stopped: it was.
        """
        if self.stop.is_set():
            raise Stopped


# --- what there is ---------------------------------------------------------------------------


def survey(jobs: Sequence[Job], places: Iterable[Path], tools: Tools) -> list[Step]:
    """How each job can be done, proven by digests; here and copies before anything is fetched.

    places: where a file that is not here may lie.
    """
    there = [(path, job.asset) for job in jobs for path in _own(job)]
    _hash([path for path, asset in there if _size(path) in dict(asset.builds)], tools)
    steps = {job: _here(job, tools) for job in jobs}
    missing = [job.asset for job in jobs if steps[job] is None]
    found = candidates(missing, places) if missing else {}
    _hash([path for paths in found.values() for path in paths], tools)
    return [steps[job] or _elsewhere(job, found[job.asset], tools) for job in jobs]


def _own(job: Job) -> list[Path]:
    """Where a job's file may lie already under its name: at its place, or beside."""
    return [folder / job.asset.name for folder in (job.destination.parent, *job.beside)]


def _hash(paths: Sequence[Path], tools: Tools) -> None:
    """Hash what is not remembered, on all cores; with --deep what is remembered, too."""
    unknown = [path for path in paths if tools.deep or not _remembered(path, tools.store)]
    total = sum(map(_size, unknown))
    if total >= _WORTH_TELLING:
        what = f"{len(unknown)} files" if len(unknown) > 1 else unknown[0].name
        tools.display.note(f"checking {what} ({gb(total)}) by digest")

    hash_files(unknown, tools.store, tools.tick, anew=tools.deep)


def _here(job: Job, tools: Tools) -> Step | None:
    for path in _own(job):
        if proven(path, job.asset.builds, tools):
            return Step(job._replace(destination=path), "here")
    return None


def _elsewhere(job: Job, candidates: list[Path], tools: Tools) -> Step:
    asset = job.asset
    for path in candidates:
        if proven(path, asset.builds[:1], tools):
            return Step(job, "copy", path)
    return Step(job, "fetch", None, kept(job.destination, asset.sha256, asset.size))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else -1
    except OSError:
        return -1


def _remembered(path: Path, store: DigestStore) -> bool:
    try:
        return bool(store.get(path.stat()))
    except OSError:
        return True  # it is not there to be hashed


def proven(path: Path, builds: Sequence[tuple[int, str]], tools: Tools) -> bool:
    """Whether a file is one of these builds, by size first and then by digest."""
    return digest_of(path, builds, tools) in [digest for _, digest in builds]


def digest_of(path: Path, builds: Sequence[tuple[int, str]], tools: Tools) -> Result | None:
    """The digest of a file, or why it cannot be read; None where its size is that of no build."""
    if _size(path) not in dict(builds):
        return None
    return hash_files([path], tools.store, tools.tick)[path]


def need_room(steps: Sequence[Step], margin: int) -> None:
    """See that everything fits, on every file system concerned.

    Raises:
        DownloadError: it does not; nothing was written.
    """
    needs: dict[int, tuple[Path, int]] = {}
    for step in steps:
        if step.how == "here":
            continue
        folder = _existing(step.job.destination.parent)
        if step.source is not None and _same_device(step.source, folder):
            continue  # a link takes no room
        device = folder.stat().st_dev
        place, bytes_ = needs.get(device, (folder, 0))
        needs[device] = (place, bytes_ + step.job.asset.size - step.kept)
    for place, bytes_ in needs.values():
        try:
            free = shutil.disk_usage(place).free
        except OSError:
            continue
        if free < bytes_ + margin:
            raise DownloadError(
                "space", f"{gb(bytes_)} are still to be written below {place}, and its file "
                f"system has {gb(free)} free: {gb(bytes_ + margin - free)} are missing. Nothing "
                "was fetched; make room, or name another disk with --dest",
            )  # fmt: skip


def _existing(folder: Path) -> Path:
    while not folder.is_dir() and folder.parent != folder:
        folder = folder.parent
    return folder


def _same_device(source: Path, folder: Path) -> bool:
    try:
        return source.stat().st_dev == folder.stat().st_dev
    except OSError:
        return False


# --- doing it --------------------------------------------------------------------------------


def perform(steps: Sequence[Step], tools: Tools, at_once: int) -> list[Done]:
    """Do every step, several at once, until tools.stop is set.

    Returns in any case, with what became of each job.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in sorted(range(len(steps)), key=lambda n: -steps[n].job.asset.size):
        waiting.put(number)
    ended: dict[int, Done | BaseException] = {}
    made = absent(step.job.destination.parent for step in steps)
    workers = [
        # Daemons: what hangs in a read must not keep the user waiting after Ctrl-C.
        threading.Thread(target=_work, args=(steps, waiting, ended, tools), daemon=True)
        for _ in range(max(1, min(at_once, len(steps))))
    ]
    for worker in workers:
        worker.start()
    try:
        while any(worker.is_alive() for worker in workers):
            if tools.stop.is_set():
                _settle_down(workers)
                break
            workers[0].join(0.1)
            workers = [worker for worker in workers if worker.is_alive()] or workers
    except KeyboardInterrupt:
        tools.stop.set()
        _settle_down(workers)
    for number, step in enumerate(steps):
        if number not in ended:
            abandon(step.job.destination)
    for folder in made:
        with suppress(OSError):  # something is in it
            folder.rmdir()
    return [_end(step, ended.get(number), tools) for number, step in enumerate(steps)]


def _settle_down(workers: Sequence[threading.Thread]) -> None:
    until = time.monotonic() + 1.0
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))


def _end(step: Step, found: Done | BaseException | None, tools: Tools) -> Done:
    if isinstance(found, Done):
        return found
    if isinstance(found, DownloadError):
        return Done(step.job, "failed", fault=found, kept=_kept(step.job))
    if found is not None and not isinstance(found, Stopped):
        raise found
    return stopped(step.job, tools)


def stopped(job: Job, tools: Tools) -> Done:
    """A job that was not finished, and why."""
    fault = None
    if tools.late.is_set():
        fault = DownloadError("deadline", "the deadline has passed", again=True)
    return Done(job, "stopped", fault=fault, kept=_kept(job))


def _kept(job: Job) -> int:
    return kept(job.destination, job.asset.sha256, job.asset.size)


def _work(
    steps: Sequence[Step],
    waiting: queue.SimpleQueue[int],
    ended: dict[int, Done | BaseException],
    tools: Tools,
) -> None:
    while not tools.stop.is_set():
        try:
            number = waiting.get_nowait()
        except queue.Empty:
            return
        job = steps[number].job
        try:
            ended[number] = _do(steps[number], tools)
        except BaseException as error:
            ended[number] = error
        end = ended[number]
        tools.display.done(job.asset.label, end.state if isinstance(end, Done) else "failed")


def _do(step: Step, tools: Tools) -> Done:
    job = step.job
    if step.how == "here":
        _tidy(job, tools)
        return Done(job, "here")
    idle = tools.downloads.limits.lock_idle_s
    with claim(job.destination, idle, tools.stop, tools.display.note):
        # Another doctor may have finished it while this one waited.
        if proven(job.destination, job.asset.builds, tools):
            return Done(job, "here")
        _must_be_readable(job, tools)
        shutil.rmtree(xet_of(job.destination), ignore_errors=True)
        first = job.asset.builds[:1]
        if step.source is not None and proven(step.source, first, tools):
            how = bring(step.source, job.destination)
            if how == "cloned" and not proven(step.source, first, tools):
                how = ""  # it was changed in between
            if not how:
                _copy(step.source, job, tools)
                how = "copied"
            return _placed(job, how, tools, step.source)
        if not (tools.xet and _by_xet(job, tools)):
            _fetch(job, tools)
        return _placed(job, "fetched", tools, None)


def _must_be_readable(job: Job, tools: Tools) -> None:
    """A file of the right size that cannot be read may be the right one: it is not replaced.

    Raises:
        DownloadError: it is such a file.
    """
    found = digest_of(job.destination, job.asset.builds, tools)
    if isinstance(found, OSError):
        why = found.strerror or str(found)
        raise DownloadError(
            "permission", f"{job.destination} has the right size, but cannot be read ({why}); it "
            "was left as it is. Give it to this user, or move it away",
        )  # fmt: skip


def _tidy(job: Job, tools: Tools) -> None:
    """Remove what a doctor left that was killed just after it had finished the file."""
    destination = job.destination
    left = (note_of(destination), xet_of(destination), lock_of(destination))
    if any(os.path.lexists(path) for path in left):
        with suppress(DownloadError), claim(destination, 0.0, tools.stop, lambda _: None):
            tidy(destination)


def _placed(job: Job, how: str, tools: Tools, source: Path | None) -> Done:
    aside = settle(job.destination, tools.downloads.rules, tools.store)
    if how != "linked":  # a link is the file whose digest is remembered already
        time.sleep(_LATER_S)
        tools.store.put(job.destination.stat(), job.asset.sha256, time.time_ns())
    return Done(job, how, source, aside)


def _part(job: Job, tools: Tools, doing: str) -> Part:
    asset = job.asset
    tools.display.file(asset.label, asset.size, doing)

    def tick(count: int, fresh: bool) -> None:
        tools.display.add(asset.label, count, fresh)

    return Part(job.destination, asset.sha256, asset.size, tick, tools.stop)


def _by_xet(job: Job, tools: Tools) -> bool:
    from klein_doctor.download.xet import by_xet

    asset, shown = job.asset, tools.display
    shown.file(asset.label, asset.size, "fetching by Xet")
    idle = tools.downloads.limits.lock_idle_s
    done = by_xet(asset, job.destination, tools.xet, idle, tools.stop, shown.note)
    if done:
        shown.add(asset.label, asset.size)
    return done


def _fetch(job: Job, tools: Tools) -> None:
    """From the first source that has it."""
    with _part(job, tools, "fetching") as part:
        if part.size == job.asset.size and part.digest() == job.asset.sha256:
            part.finish()
            return
        for source in tools.sources:
            try:
                if source.host in tools.away:
                    raise tools.away[source.host]
                Transfer(
                    job.asset, part, source, tools.downloads.limits, tools.stop, tools.display.note
                ).run()
                part.finish()
                return
            except DownloadError as fault:
                if fault.cause in AWAY:
                    tools.away[source.host] = fault
                if fault.cause in LOCAL or source is tools.sources[-1]:
                    raise
                tools.display.note(f"{job.asset.label}: {fault.says}; the next source is asked")
    raise forbidden()


def _copy(source: Path, job: Job, tools: Tools) -> None:
    """A copy is proven like a download: what was read may not be what was hashed before."""
    limits = tools.downloads.limits
    with _part(job, tools, "copying") as part:
        Transfer(job.asset, part, _Disk(source), limits, tools.stop, tools.display.note).run()
        part.finish()


class _Disk:
    """A file as a source."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.host = str(path)

    def check(self, asset: Asset) -> None:
        """It was proven already."""

    @contextmanager
    def open(self, asset: Asset, start: int) -> Iterator[Stream]:
        """Its bytes from start on."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(start)
                yield Stream(start, iter(lambda: stream.read(_BLOCK), b""))
        except OSError as error:
            raise of_disk(error, self.host) from error
