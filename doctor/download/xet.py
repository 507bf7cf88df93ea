"""The Hub's fast transfer (Xet), only on request: in a child with a time limit, and proven.

It cannot be resumed and can stand still for minutes (huggingface_hub 2.4.0 with hf-xet 1.8.0: 134 s
until an unreachable store is an error), so the child ends when nothing is written for a while.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from klein_doctor.download.faults import Stopped
from klein_doctor.download.part import alive, clear, note_of, part_of, xet_of
from klein_doctor.identity.digest import DigestStore, hash_files
from klein_doctor.recipe_downloads import Asset

_POLL_S = 0.2
# The child's whole work: the client's own download into a folder that is ours.
_CHILD = (
    "import sys, huggingface_hub as hub; print(hub.hf_hub_download(sys.argv[1], sys.argv[2], "
    "revision=sys.argv[3], local_dir=sys.argv[4], endpoint=sys.argv[5], token=False))"
)


def by_xet(
    asset: Asset,
    destination: Path,
    endpoint: str,
    idle_s: float,
    stop: threading.Event,
    note: Callable[[str], None],
) -> bool:
    """Make the proven part of a destination by the Hub's own client; False where that failed.

    Raises:
        Stopped: it was asked to stop; what came is lost.
    """
    folder = xet_of(destination)
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier run that was killed
    try:
        why = _fetch(asset, destination, endpoint, idle_s, stop)
        found = folder.joinpath(*asset.path.split("/"))
        if not why and _digest(found) != asset.sha256:
            why = "what came is not the published file"
        if not why:
            clear(destination)
            os.replace(found, part_of(destination))
            with contextlib.suppress(OSError):
                note_of(destination).unlink()
            return True
    except OSError as error:
        why = error.strerror or str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    note(f"{asset.label}: Xet: {why}; it is fetched by plain HTTP")
    return False


def _fetch(
    asset: Asset, destination: Path, endpoint: str, idle_s: float, stop: threading.Event
) -> str:
    """Why it failed, "" where it did not."""
    folder = xet_of(destination)
    environment = {**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment.pop("HF_HUB_DISABLE_XET", None)
    arguments = (asset.repository, asset.path, asset.revision, str(folder), endpoint)
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD, *arguments],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    size, since = -1, time.monotonic()
    try:
        while process.poll() is None:
            if stop.wait(_POLL_S):
                raise Stopped
            now = _written(folder)
            if now != size:
                size, since = now, time.monotonic()
                alive(destination)
            elif time.monotonic() - since > idle_s:
                return f"nothing came for {idle_s:.0f} seconds"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return "" if process.returncode == 0 else f"the client ended with {process.returncode}"


def _written(folder: Path) -> int:
    """Bytes on the disk: a file may have its length before its content."""
    total = 0
    for above, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(above, name))
                total += getattr(status, "st_blocks", status.st_size)
    return total


def _digest(path: Path) -> str:
    found = hash_files([path], DigestStore(None), lambda *_: None)[path]
    if isinstance(found, OSError):
        raise found
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
    return found
