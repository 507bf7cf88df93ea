"""Files of the model that are missing: fetched by the download layer, proven by their digests."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from klein_doctor.assets import BY_ID, folder_for, wanted_row
from klein_doctor.fixing import Fix
from klein_doctor.model import Finding, Private, known
from klein_doctor.outcomes import gb
from klein_doctor.routes import route_of
from klein_doctor.steps import Case, Step, StepFailed
from klein_doctor.transaction.transaction import Transaction

if TYPE_CHECKING:
    from klein_doctor.download.jobs import Errand

ID = "fetch-assets"
_PARKED = ".parked"
_UNDO = "parks the file beside its place as NAME.parked; it is not deleted"


def plan(case: Case) -> list[Step]:
    """One step per part of the model, or one for the whole diffusers folder."""
    if route_of(case.facts, case.recipe) == "diffusers":
        return [_folder(case)]
    clears: dict[str, list[str]] = {}
    for finding, repair in case.asked:
        role = _role(finding, [str(word) for command in repair.commands for word in command])
        if role:
            clears.setdefault(role, []).append(finding.id)
    return [_part(case, role, tuple(clears[role])) for role in BY_ID if role in clears]


def _role(finding: Finding, words: list[str]) -> str:
    """The part that is to be fetched: as the command of the finding's repair says."""
    if "--only" in words:
        return words[words.index("--only") + 1]
    role = finding.evidence.get("role")
    return role if isinstance(role, str) and role in BY_ID else ""


def _part(case: Case, role: str, clears: tuple[str, ...]) -> Step:
    facts, recipe = case.facts, case.recipe
    row = wanted_row(role, recipe)
    comfyui = known(facts.comfyui)
    root = comfyui.root.real if comfyui is not None else ""
    folders = known(comfyui.folders, ()) if comfyui is not None else ()
    folder = folder_for(BY_ID[role].category, folders)
    place = folder.below(row.name) if folder is not None else Private.plain(row.name)
    command: tuple[str | Private, ...] = ("klein-doctor", "download", "--only", role)
    if comfyui is not None:
        command += ("--comfyui", comfyui.root)
    return Step(
        ID, f"fetch {place.local} from {row.repo}, {gb(row.bytes)}", "download", "ask",
        {"role": role, "route": "comfyui", "comfyui": root}, paths=(place,), commands=(command,),
        bytes=row.bytes, undo=_UNDO, clears=clears,
    )  # fmt: skip


def _folder(case: Case) -> Step:
    size = next(row.bytes for row in case.recipe.memory.downloads if row.route == "diffusers")
    models = known(case.facts.models)
    paths = tuple(each.path for each in models.pipelines[:1]) if models is not None else ()
    return Step(
        ID, f"fetch what the diffusers folder lacks, of {gb(size)} in all", "download", "ask",
        {"role": "", "route": "diffusers", "comfyui": ""}, paths=paths,
        commands=(("klein-doctor", "download", "--route", "diffusers"),), bytes=size, undo=_UNDO,
        clears=case.ids,
    )  # fmt: skip


def act(step: Step, transaction: Transaction) -> str:
    """Fetch, or take up again what an earlier undo parked."""
    import threading

    from klein_doctor.download.command import fetch
    from klein_doctor.exits import UsageError

    def expect(errand: Errand) -> None:
        for job in errand.jobs:
            if os.path.lexists(job.destination):
                _need_right(job.destination, dict(job.asset.builds), transaction)
                continue
            parked = _parked(job.destination, dict(job.asset.builds), transaction)
            if parked is not None:
                transaction.move(parked, job.destination)
            else:
                transaction.folder(job.destination.parent)
                transaction.fetched(job.destination)

    stop = transaction.around.stop or threading.Event()
    try:
        summary = fetch(_options(step, transaction), transaction.note, stop, expect)
    except UsageError as error:
        raise StepFailed(str(error)) from error
    faults = [done.fault for done in summary.done if done.fault is not None]
    if faults:
        raise StepFailed(f"{faults[0].says}", again=any(fault.again for fault in faults))
    if summary.exit_code:
        raise StepFailed("it was broken off; what came is kept", again=True)
    names = ", ".join(str(done.job.destination) for done in summary.done[:3])
    more = f" and {len(summary.done) - 3} more" if summary.done[3:] else ""
    return f"{names}{more}: there, proven by digest"


def _need_right(path: Path, builds: dict[int, str], transaction: Transaction) -> None:
    """What stands at the place is the file itself: anything else has a step of its own.

    Raises:
        StepFailed: it is something else.
    """
    if not _proven(path, builds, transaction):
        raise StepFailed(
            f"something else stands at {path}: rename-asset or quarantine-asset makes room for it"
        )


def _proven(path: Path, builds: dict[int, str], transaction: Transaction) -> bool:
    """Whether a file is one of the published builds, by its digest."""
    from klein_doctor.identity.digest import DigestStore, hash_files
    from klein_doctor.state import state_folder

    wanted = builds.get(path.stat().st_size) if path.is_file() else None
    if not wanted:
        return False
    store = DigestStore(state_folder(transaction.around.state_dir, os.environ))
    found = hash_files([path], store, lambda _, __: None)
    store.save()
    return found.get(path) == wanted


def _parked(destination: Path, builds: dict[int, str], transaction: Transaction) -> Path | None:
    """What undo parked of this file, if it is a published build."""
    parked = sorted(destination.parent.glob(f"{destination.name}{_PARKED}*"))
    return next((path for path in parked if _proven(path, builds, transaction)), None)


def _options(step: Step, transaction: Transaction) -> argparse.Namespace:
    around = transaction.around
    role = step.arguments["role"]
    left = transaction.left_s()
    deadline = "" if left is None else f"{max(left, 1):.0f}"
    return argparse.Namespace(
        python="", comfyui=step.arguments["comfyui"], route=step.arguments["route"],
        only=(role,) if role else (), variant=(), dest="", assets_from=around.assets_from,
        offline=around.offline, use_hf_token=around.use_hf_token, xet=around.xet, sweep=False,
        dry_run=False, deep=False, deadline=deadline, progress=around.progress,
        recipe=around.recipe, state_dir=around.state_dir, format="text",
    )  # fmt: skip


FIXES = (
    Fix(
        ID, "Fetch what is missing of the model", plan, act,
        after=("rename-asset", "quarantine-asset", "install-comfyui", "repair-model-paths"),
    ),
)  # fmt: skip
