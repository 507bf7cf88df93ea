"""Digests of model files computed anew; it tells more, and changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

from klein_doctor.fixing import Fix
from klein_doctor.steps import Case, Step
from klein_doctor.transaction.transaction import Transaction

ID = "hash-asset"


def plan(case: Case) -> list[Step]:
    """One step for all of them; it tells more, and clears nothing by itself."""
    paths = [finding.subject for finding, _ in case.asked if finding.subject is not None]
    if not paths:
        return []
    title = f"compute the digest of {len(paths)} files anew" if paths[1:] else (
        f"compute the digest of {paths[0].local} anew")  # fmt: skip
    return [
        Step(
            ID, title, "config", "safe", {"paths": [path.real for path in paths]},
            undo="nothing to take back: the file is only read",
        )
    ]  # fmt: skip


def act(step: Step, transaction: Transaction) -> str:
    """Read the files to their ends and remember their digests."""
    from klein_doctor.identity.digest import DigestStore, hash_files
    from klein_doctor.state import state_folder

    store = DigestStore(state_folder(transaction.around.state_dir, os.environ))
    paths = [Path(path) for path in step.arguments["paths"]]
    hash_files(paths, store, lambda path, count: None, anew=True)
    store.save()
    return f"{len(paths)} digests computed and remembered"


FIXES = (Fix(ID, "Compute digests anew", plan, act, after=("rename-asset", "place-assets")),)
