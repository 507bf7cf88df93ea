"""What ``download`` prints: JSON for scripts, a line a file for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple, TextIO

from klein_doctor.exits import Exit
from klein_doctor.outcomes import gb
from klein_doctor.report.paths import shown
from klein_doctor.values import printable
from klein_doctor.wrapping import wrap

if TYPE_CHECKING:
    from klein_doctor.download.leftovers import Leftover
    from klein_doctor.download.run import Done

SCHEMA = "klein-doctor/download/1"
_INDENT = " " * 10
_SAYS = {
    "here": "digest verified",
    "cloned": "with the space of {source}, digest verified",
    "linked": "to {source}, digest verified",
    "copied": "from {source}, digest verified",
    "fetched": "from {repository}, digest verified",
    "to copy": "a link or a copy of {source}",
    "to fetch": "{size} from {repository} ({license})",
    "stopped": "not finished",
}


class Summary(NamedTuple):
    """A run as a whole. total, here, freed: bytes; left: leftovers of another client."""

    route: str
    dry_run: bool
    total: int
    here: int
    done: tuple[Done, ...]
    left: tuple[Leftover, ...]
    freed: int
    exit_code: Exit


def render_json(summary: Summary, stream: TextIO) -> None:
    """The JSON document; real paths, for it acts on this machine."""
    files = []
    for done in summary.done:
        asset, fault = done.job.asset, done.fault
        files.append(
            {
                "role": asset.role, "name": asset.label, "path": str(done.job.destination),
                "bytes": asset.size, "sha256": asset.sha256, "license": asset.license,
                "repository": asset.repository, "revision": asset.revision, "state": done.state,
                "source": str(done.source) if done.source is not None else None,
                "aside": str(done.aside) if done.aside is not None else None,
                "kept": done.kept, "cause": fault.cause if fault is not None else None,
                "says": fault.says if fault is not None else _says(done),
            }
        )  # fmt: skip
    left = [{"path": str(item.path), "bytes": item.size} for item in summary.left]
    document = {
        "schema": SCHEMA, "route": summary.route, "dry_run": summary.dry_run,
        "total": summary.total, "here": summary.here, "files": files, "leftovers": left,
        "freed": summary.freed, "exit_code": int(summary.exit_code),
    }  # fmt: skip
    stream.write(json.dumps(document, indent=1) + "\n")


def render_text(summary: Summary, stream: TextIO) -> None:
    """One line a file, what it says below, and what to do next."""
    told = None
    for done in summary.done:
        stream.write(f"{done.state:<10}{shown(done.job.destination)}\n")
        if done.fault is None or done.fault != told:
            _wrapped(done.fault.says if done.fault is not None else _says(done), stream)
            if done.fault is not None and done.fault.do:
                _wrapped(f"What to do: {done.fault.do}", stream)
        else:
            _wrapped("as above", stream)
        told = done.fault
        if done.aside is not None:
            _wrapped(f"what had this name is kept as {shown(done.aside)}", stream)
        if done.kept and done.state in ("failed", "stopped"):
            _wrapped(f"{gb(done.kept)} of {gb(done.job.asset.size)} are kept", stream)
    _ending(summary, stream)


def _ending(summary: Summary, stream: TextIO) -> None:
    if summary.freed:
        stream.write(f"{gb(summary.freed)} of leftovers were removed.\n")
    if summary.left:
        room = gb(sum(item.size for item in summary.left))
        folders = sorted({shown(item.path.parent) for item in summary.left})
        more = f" and {len(folders) - 1} other folders" if len(folders) > 1 else ""
        stream.write(
            f"{len(summary.left)} leftovers of broken downloads by another program take {room} "
            f"in {folders[0]}{more}; 'klein-doctor download --sweep' removes them.\n"
        )
    unfinished = any(done.state in ("failed", "stopped") for done in summary.done)
    if summary.exit_code in (Exit.TRY_AGAIN, Exit.INTERRUPTED) and not summary.dry_run:
        stream.write("Next: the same command again; it goes on where this one ended.\n")
    elif not unfinished and not summary.dry_run:
        stream.write("Next: klein-doctor\n")


def _says(done: Done) -> str:
    asset = done.job.asset
    return _SAYS.get(done.state, done.state).format(
        source=shown(done.source) if done.source is not None else "",
        repository=asset.repository,
        license=asset.license,
        size=gb(asset.size - done.kept),
    )


def _wrapped(text: str, stream: TextIO) -> None:
    for line in wrap(printable(text), first=_INDENT, rest=_INDENT):
        stream.write(f"{line}\n")
