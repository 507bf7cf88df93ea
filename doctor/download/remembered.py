"""What the last download met, for the next diagnosis: it judges the Hub without asking it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from klein_doctor.download.faults import LOCAL
from klein_doctor.download.run import Done
from klein_doctor.probes.hub import SCHEMA, STORE
from klein_doctor.probes.settings import without_secrets
from klein_doctor.state import replace_file

_SILENT = (*LOCAL, "deadline", "content", "other", "length", "endpoint")


def remember(state: Path, ended: Sequence[Done], address: str) -> None:
    """Write down a trouble with the Hub; forget the last one where files were fetched.

    Raises:
        OSError: the folder cannot be written.
    """
    path = state / STORE
    for done in ended:
        if done.fault is None or done.fault.cause in _SILENT:
            continue
        trouble = {
            "schema": SCHEMA,
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "endpoint": without_secrets(address) or "",
            "cause": done.fault.trouble,
            "says": done.fault.says,
            "repo": done.job.asset.repository,
        }
        replace_file(path, json.dumps(trouble))
        return
    if any(done.state == "fetched" for done in ended):
        path.unlink(missing_ok=True)
