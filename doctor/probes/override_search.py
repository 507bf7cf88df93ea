"""The search for overrides as a diagnosis makes it: many sources in a process beside this one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from klein_doctor.attention import Override, Replaced, Scan
from klein_doctor.probes.outside import Outside, names
from klein_doctor.probes.overrides import read_overrides
from klein_doctor.values import printable

_CHILD = Path(__file__).with_name("override_child.py")
_FEW_NODES = 8  # so many are read sooner than a process starts
_GRACE_S = 2.0
_LONGEST = 200


def search_overrides(
    outside: Outside, roots: Sequence[Path], custom_nodes: Path | None, seconds: float
) -> Scan:
    """As read_overrides, of sources alone."""
    if custom_nodes is not None and len(names(custom_nodes)) > _FEW_NODES:
        scan = _aside(outside, roots, custom_nodes, seconds)
        if scan is not None:
            return scan
    return read_overrides(outside, roots, (), custom_nodes, seconds)


def together(*scans: Scan) -> Scan:
    """Several searches as one."""
    return Scan(
        tuple(found for scan in scans for found in scan.overrides),
        sum(scan.files for scan in scans),
        all(scan.complete for scan in scans),
        sum(scan.unread for scan in scans),
        tuple(found for scan in scans for found in scan.replaced),
    )


def _aside(
    outside: Outside, roots: Sequence[Path], custom_nodes: Path, seconds: float
) -> Scan | None:
    """The search in a process of its own; None where that comes to nothing."""
    question = {
        "path": [entry for entry in sys.path if entry],
        "roots": [str(root) for root in roots],
        "nodes": str(custom_nodes),
        "seconds": seconds,
    }
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_CHILD)],
            input=json.dumps(question).encode("ascii"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds + _GRACE_S,
            creationflags=flags,
            check=True,
        )
        rows, files, complete, unread, others = json.loads(done.stdout)
        overrides = tuple(_override(outside, row) for row in rows)
        replaced = tuple(_replaced(outside, row) for row in others)
        return Scan(overrides, int(files), complete is True, int(unread), replaced)
    except (OSError, ValueError, TypeError, subprocess.SubprocessError):
        return None


def _override(outside: Outside, row: Sequence[object]) -> Override:
    kind, path, line, how, asks, owner, model, node, klein = row

    def public(text: object) -> str:
        return _public(outside, text)

    return Override(
        kind=str(kind),
        path=outside.redactor.path(str(path)),
        line=int(str(line)),
        how=str(how),
        asks=public(asks),
        owner=public(owner),
        model=public(model),
        node=public(node),
        klein=klein is True,
    )


def _replaced(outside: Outside, row: Sequence[object]) -> Replaced:
    path, line, target, by, calls, needs, turns, masked, when, node = row
    if not isinstance(calls, list) or not isinstance(needs, list):
        raise TypeError("no list")
    return Replaced(
        path=outside.redactor.path(str(path)),
        line=int(str(line)),
        target=_public(outside, target),
        by=_public(outside, by),
        calls=tuple(_public(outside, each) for each in calls),
        needs=tuple(_public(outside, each) for each in needs),
        turns=turns is True,
        masked=masked is True,
        when=str(when),
        node=_public(outside, node),
    )


def _public(outside: Outside, text: object) -> str:
    return outside.redactor.text(printable(str(text), _LONGEST)).public
