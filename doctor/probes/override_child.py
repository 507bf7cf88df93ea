"""Searches sources for overrides; its own program, so that the search has a processor of its own.

Started as ``python -I override_child.py``. Standard input: one JSON document, {"path": what to
append to sys.path, "roots", "nodes", "seconds"}, as of read_overrides. Standard output: one, with
the fields of Scan; paths are real ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Answer the one question."""
    asked = json.loads(sys.stdin.buffer.read())
    sys.path += [entry for entry in asked["path"] if entry not in sys.path]
    from klein_doctor.privacy import Redactor
    from klein_doctor.probes.outside import Outside
    from klein_doctor.probes.overrides import read_overrides

    outside = Outside(Path("/"), {}, sys.platform, Redactor((), (), ()))
    nodes = Path(asked["nodes"]) if asked["nodes"] else None
    roots = [Path(root) for root in asked["roots"]]
    scan = read_overrides(outside, roots, (), nodes, asked["seconds"])
    rows = [[each.kind, each.path.real, *each[2:]] for each in scan.overrides]
    replaced = [[each.path.real, *each[1:]] for each in scan.replaced]
    answer = [rows, scan.files, scan.complete, scan.unread, replaced]
    sys.stdout.buffer.write(json.dumps(answer).encode("ascii"))


if __name__ == "__main__":
    main()
