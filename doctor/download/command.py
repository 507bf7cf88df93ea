"""``klein-doctor download``: the files of a route, in their places, proven."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from klein_doctor.download import remembered
from klein_doctor.download.claim import tidy_up
from klein_doctor.download.faults import DownloadError, Stopped, forbidden
from klein_doctor.download.jobs import Ask, Errand, is_address, plan
from klein_doctor.download.leftovers import leftovers, remove
from klein_doctor.download.part import MODE
from klein_doctor.download.progress import display
from klein_doctor.download.run import Done, Step, Tools, need_room, perform, stopped, survey
from klein_doctor.download.sources import HubSource, MirrorSource, Source, require_client
from klein_doctor.duration import seconds
from klein_doctor.exits import Exit, UsageError
from klein_doctor.identity.digest import DigestStore
from klein_doctor.interrupts import ends_politely
from klein_doctor.outcomes import gb
from klein_doctor.output import Output
from klein_doctor.probes.outside import Outside
from klein_doctor.recipe import load
from klein_doctor.recipe_downloads import Downloads, load_downloads
from klein_doctor.report.download import Summary, render_json, render_text
from klein_doctor.rows import RecipeError
from klein_doctor.state import make_folder, state_folder
from klein_doctor.target import Wish

_THERE = ("here", "cloned", "linked", "copied", "fetched")


def download(options: argparse.Namespace, output: Output, note: Callable[[str], None]) -> Exit:
    """Fetch what is missing, write what became of it, and return the exit code.

    Raises:
        UsageError: in one line.
    """
    if options.format not in ("text", "json"):
        raise UsageError(f"--format {options.format}: download writes text or json")
    summary = fetch(options, note, threading.Event())
    render = render_json if options.format == "json" else render_text
    output.send(lambda stream: render(summary, stream))
    return summary.exit_code


def fetch(
    options: argparse.Namespace,
    note: Callable[[str], None],
    stop: threading.Event,
    expect: Callable[[Errand], None] = lambda errand: None,
) -> Summary:
    """Fetch what is missing. stop: ends it; expect: told of the files before anything is done.

    Raises:
        UsageError: in one line.
    """
    deadline = seconds(options.deadline)
    downloads = _tables(options.recipe)
    state = state_folder(options.state_dir, os.environ)
    if not options.offline:
        require_client()
    try:
        errand = plan(_ask(options), downloads, Outside.real())
        expect(errand)
        sources = _sources(options, downloads, note)
        tools = Tools(
            downloads, DigestStore(state), sources, display(options.progress), stop,
            options.deep, threading.Event(), _xet(options, sources), {},
        )  # fmt: skip
        with ends_politely(tools.stop), _deadline(deadline, tools):
            summary = _run(options, errand, tools)
    except OSError as error:
        raise UsageError(f"{error.filename or 'a folder'}: {error.strerror or error}") from error
    _remember(state, summary, tools, note)
    return summary


def _ask(options: argparse.Namespace) -> Ask:
    wish = Wish(options.python, options.comfyui, "", "", options.route)
    return Ask(wish, options.only, options.variant, options.dest, options.assets_from)


def _tables(folder: str) -> Downloads:
    try:
        return load_downloads(folder)
    except RecipeError as error:
        raise UsageError(f"--recipe {folder}: {error}") from error


def _sources(
    options: argparse.Namespace, downloads: Downloads, note: Callable[[str], None]
) -> list[Source]:
    """The mirror that was named, then the Hub; none at all offline."""
    if options.offline:
        return []
    read_s = float(downloads.limits.read_s)
    found: list[Source] = []
    if is_address(options.assets_from):
        if not re.match(r"(?i)https?://[^/]", options.assets_from):
            raise UsageError("--assets-from: a folder, or an address that begins with https://")
        found.append(MirrorSource(options.assets_from, read_s))
    hub = HubSource(read_s)
    own = hub.address == downloads.limits.hub
    if not own:
        note(f"HF_ENDPOINT is set: the files come from {hub.host}, and are proven all the same")
    if options.use_hf_token:
        if own:
            from huggingface_hub import get_token

            hub.token = get_token()
        else:
            note(f"--use-hf-token: no token is sent to {hub.host}, which is not the Hub's own host")
    return [*found, hub]


def _xet(options: argparse.Namespace, sources: Sequence[Source]) -> str:
    hub = sources[-1] if sources and options.xet else None
    return hub.address if isinstance(hub, HubSource) else ""


# --- the run ---------------------------------------------------------------------------------


def _run(options: argparse.Namespace, errand: Errand, tools: Tools) -> Summary:
    shown = tools.display
    total = sum(job.asset.size for job in errand.jobs)
    try:
        steps = survey(errand.jobs, errand.places, tools)
    except Stopped:
        if not tools.late.is_set():
            raise KeyboardInterrupt from None
        ended = [stopped(job, tools) for job in errand.jobs]
        code = Exit.TRY_AGAIN
        return Summary(errand.route, options.dry_run, total, 0, tuple(ended), (), 0, code)
    here = sum(s.job.asset.size for s in steps if s.how != "fetch") + sum(s.kept for s in steps)
    shown.note(_first_line(steps, total, here))
    ended = _dry(steps, tools) if options.dry_run else _do(steps, tools, total)
    old = leftovers(errand.caches, errand.folders, tools.downloads.limits.orphan_age_s)
    freed = 0
    if options.sweep and not options.dry_run:
        freed, refused = remove(old)
        old = [item for item in old if item.path.exists()]
        for line in refused:
            shown.note(f"not removed: {line}")
    whole = all(done.state in _THERE for done in ended)
    if whole and errand.reference is not None and not options.dry_run:
        point(errand.reference)
    code = _exit(ended, interrupted=tools.stop.is_set())
    return Summary(
        errand.route, options.dry_run, total, here, tuple(ended), tuple(old), freed, code
    )


def _first_line(steps: Sequence[Step], total: int, here: int) -> str:
    missing = total - here
    if not missing:
        return f"{gb(total)} in all, and all of it is on this machine already"
    files = sum(step.how == "fetch" for step in steps)
    kept = sum(step.kept for step in steps)
    part = f" ({gb(kept)} of it from an earlier try)" if kept else ""
    named = "1 file" if files == 1 else f"{files} files"
    there = f"{gb(here)} are on this machine already{part}" if here else "nothing of it is here yet"
    return f"{gb(total)} in all: {there}; to fetch: {gb(missing)} in {named}"


def _do(steps: Sequence[Step], tools: Tools, total: int) -> list[Done]:
    for step in steps:
        tidy_up(step.job.destination)
    cramped = _cramped(steps)
    if cramped:
        return cramped
    busy = [step for step in steps if step.how != "here"]
    if busy:
        # What is linked or taken up is counted when it happens.
        tools.display.begin(total, total - sum(step.job.asset.size for step in busy))
    try:
        return perform(steps, tools, tools.downloads.limits.at_once)
    finally:
        tools.display.end()


def _dry(steps: Sequence[Step], tools: Tools) -> list[Done]:
    """What would be done; the sources are asked whether they have it."""
    cramped = _cramped(steps)
    if cramped:
        return cramped
    names = {"here": "here", "copy": "to copy", "fetch": "to fetch"}
    ended = []
    for step in steps:
        if tools.late.is_set():
            ended.append(stopped(step.job, tools))
            continue
        if tools.stop.is_set():
            raise KeyboardInterrupt
        fault = _reachable(step, tools) if step.how == "fetch" else None
        state = "failed" if fault is not None else names[step.how]
        ended.append(Done(step.job, state, step.source, kept=step.kept, fault=fault))
    return ended


def _cramped(steps: Sequence[Step]) -> list[Done]:
    """How everything ends where there is not room enough for it; [] where there is."""
    try:
        need_room(steps, load().memory.room.bytes)
    except DownloadError as fault:
        failed = Done(steps[0].job, "failed", fault=fault)
        return [
            Done(step.job, "here")
            if step.how == "here"
            else failed._replace(job=step.job, kept=step.kept)
            for step in steps
        ]
    return []


def _reachable(step: Step, tools: Tools) -> DownloadError | None:
    last = forbidden()
    for source in tools.sources:
        try:
            source.check(step.job.asset)
            return None
        except DownloadError as fault:
            last = fault
    return last


def point(reference: tuple[Path, str]) -> None:
    """Make the snapshot the current one where the cache knows of none."""
    path, revision = reference
    with contextlib.suppress(OSError):
        make_folder(path.parent, MODE)
        with path.open("x", encoding="utf-8") as stream:
            stream.write(revision)


def _exit(ended: Sequence[Done], *, interrupted: bool) -> Exit:
    stopped = any(done.state == "stopped" and done.fault is None for done in ended)
    if stopped and interrupted:
        return Exit.INTERRUPTED
    faults = [done.fault for done in ended if done.fault is not None]
    if any(fault.again for fault in faults):
        return Exit.TRY_AGAIN
    if faults:
        return Exit.PROBLEMS
    return Exit.OK


def _remember(
    state: Path | None, summary: Summary, tools: Tools, note: Callable[[str], None]
) -> None:
    try:
        tools.store.save()
        if state is not None and tools.sources and not summary.dry_run:
            host = getattr(tools.sources[-1], "address", "")
            remembered.remember(state, summary.done, host)
    except OSError as error:
        note(f"what was learned could not be remembered: {error.strerror or error}")


@contextlib.contextmanager
def _deadline(after_s: float, tools: Tools) -> Iterator[None]:
    """Stop everything when its time has passed, hashing included."""

    def ring() -> None:
        tools.late.set()
        tools.stop.set()

    timer = threading.Timer(after_s, ring)
    timer.daemon = True
    if after_s:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
