"""Model files that are something else, damaged, in the wrong folder or stored twice."""

from __future__ import annotations

import os
import re
from pathlib import Path

from klein_doctor.assets import BY_ID, elsewhere, folder_for, told, wanted_row
from klein_doctor.fixing import Fix
from klein_doctor.model import Finding, Private, known
from klein_doctor.modelfiles import ModelFile
from klein_doctor.outcomes import gib
from klein_doctor.recipe import Recipe
from klein_doctor.steps import Case, Step, StepFailed
from klein_doctor.transaction.content import unused
from klein_doctor.transaction.transaction import Transaction

RENAME, QUARANTINE, PLACE = "rename-asset", "quarantine-asset", "place-assets"
DEDUPE, HASH = "dedupe-assets", "hash-asset"
# Not a name ComfyUI lists: it goes by the extension.
_ASIDE = ".damaged"
_BACK = "gives it its old name back"


# --- what it is not: renamed ------------------------------------------------------------------


def plan_rename(case: Case) -> list[Step]:
    """One step per file that has the name of another."""
    return [
        Step(
            RENAME, f"rename {file.path.local} to what it is: {_name_for(file)}", "move", "ask",
            {"path": file.path.real, "name": _name_for(file)}, paths=(file.path,), undo=_BACK,
            clears=ids,
        )
        for file, ids in _named(case)
    ]  # fmt: skip


def _named(case: Case) -> list[tuple[ModelFile, tuple[str, ...]]]:
    """The files the findings are about, each with their ids."""
    models = told(case.facts, case.recipe)
    files = {file.path.real: file for file in models.files} if models is not None else {}
    found: dict[str, list[str]] = {}
    for finding, _ in case.asked:
        if finding.subject is not None and finding.subject.real in files:
            found.setdefault(finding.subject.real, []).append(finding.id)
    return [(files[path], tuple(ids)) for path, ids in found.items()]


def _name_for(file: ModelFile) -> str:
    """A name from what the file is; its own extension stays."""
    words = [file.family or file.role or "unknown", file.variant, file.quantisation]
    stem = "-".join(word for word in words if word)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.").lower() or "unknown"
    return f"{plain}{os.path.splitext(file.path.real)[1]}"


def act_rename(step: Step, transaction: Transaction) -> str:
    """Give the file the name of what it is, or the next free one like it."""
    path = Path(step.arguments["path"])
    target = unused(path.with_name(step.arguments["name"]))
    _there(path)
    transaction.move(path, target)
    return f"{path.name} is {target.name} now, in {path.parent}"


def _there(path: Path) -> None:
    if not os.path.lexists(path):
        raise StepFailed(f"{path} is gone by now; run this again")


# --- damaged: moved out of sight --------------------------------------------------------------


def plan_quarantine(case: Case) -> list[Step]:
    """One step per damaged file."""
    return [
        Step(
            QUARANTINE, f"move {file.path.local} aside, as {file.name.local}{_ASIDE}", "move",
            "ask", {"path": file.path.real}, paths=(file.path,), undo=_BACK, clears=ids,
        )
        for file, ids in _named(case)
    ]  # fmt: skip


def act_quarantine(step: Step, transaction: Transaction) -> str:
    """Rename it to what nothing loads, beside where it was."""
    path = Path(step.arguments["path"])
    _there(path)
    target = unused(path.with_name(path.name + _ASIDE), at_end=True)
    transaction.move(path, target)
    return f"{path} is {target.name} now, which nothing loads"


# --- in the wrong folder: linked --------------------------------------------------------------


def plan_place(case: Case) -> list[Step]:
    """One step per part that lies where its loader does not look."""
    models = told(case.facts, case.recipe)
    comfyui = known(case.facts.comfyui)
    folders = known(comfyui.folders, ()) if comfyui is not None else ()
    steps = []
    for finding, _ in case.asked:
        role = finding.evidence.get("role")
        if models is None or not isinstance(role, str) or role not in BY_ID:
            continue
        folder = folder_for(BY_ID[role].category, folders)
        files = [f for f in elsewhere(models, role) if f.path == finding.subject]
        if folder is not None and files:
            steps.append(_link(files[0], folder, role, finding, case.recipe))
    return steps


def _link(file: ModelFile, folder: Private, role: str, finding: Finding, recipe: Recipe) -> Step:
    name = re.split(r"[\\/]", file.path.real)[-1]
    if file.verdict == "wanted":
        name = wanted_row(role, recipe).name
    place = folder.below(name)
    return Step(
        PLACE, f"link {file.path.local} into {folder.local}", "move", "safe",
        {"source": file.path.real, "target": place.real}, paths=(place,), undo="removes the link",
        clears=(finding.id,),
    )  # fmt: skip


def act_place(step: Step, transaction: Transaction) -> str:
    """Give the file a second name where its loader looks."""
    source, target = Path(step.arguments["source"]), Path(step.arguments["target"])
    _there(source)
    transaction.folder(target.parent)
    transaction.link(source, target)
    return f"{target} is {source}"


# --- stored twice: one of them --------------------------------------------------------------


def plan_dedupe(case: Case) -> list[Step]:
    """One step per file that is stored more than once."""
    models = known(case.facts.models)
    steps = []
    for finding, _ in case.asked:
        found = models.duplicates if models is not None and models.duplicates else ()
        each = next((d for d in found if d.paths and d.paths[0] == finding.subject), None)
        if each is None:
            continue
        spare = gib(each.size * (len(each.paths) - 1))
        steps.append(
            Step(
                DEDUPE, f"keep one of {len(each.paths)} copies of {each.paths[0].local} ({spare})",
                "move", "ask", {"paths": [path.real for path in each.paths]}, paths=each.paths[1:],
                undo="makes copies of them again", clears=(finding.id,),
            )
        )  # fmt: skip
    return steps


def act_dedupe(step: Step, transaction: Transaction) -> str:
    """Replace the copies by hard links to the first."""
    kept, *copies = (Path(path) for path in step.arguments["paths"])
    _there(kept)
    volume = kept.stat().st_dev
    here = [copy for copy in copies if copy.exists() and copy.stat().st_dev == volume]
    if not here:
        raise StepFailed(f"no copy of {kept} lies on its disk, so none can be a link to it")
    for copy in here:
        transaction.merge(copy, kept)
    return f"{len(here)} of {len(copies)} copies of {kept} are links to it now"


# --- hashed anew ------------------------------------------------------------------------------


def plan_hash(case: Case) -> list[Step]:
    """One step for all of them; it tells more, and clears nothing by itself."""
    paths = [finding.subject for finding, _ in case.asked if finding.subject is not None]
    if not paths:
        return []
    title = f"compute the digest of {len(paths)} files anew" if paths[1:] else (
        f"compute the digest of {paths[0].local} anew")  # fmt: skip
    return [
        Step(
            HASH, title, "config", "safe", {"paths": [path.real for path in paths]},
            undo="nothing to take back: the file is only read",
        )
    ]  # fmt: skip


def act_hash(step: Step, transaction: Transaction) -> str:
    """Read the files to their ends and remember their digests."""
    from klein_doctor.identity.digest import DigestStore, hash_files
    from klein_doctor.state import state_folder

    store = DigestStore(state_folder(transaction.around.state_dir, os.environ))
    paths = [Path(path) for path in step.arguments["paths"]]
    hash_files(paths, store, lambda path, count: None, anew=True)
    store.save()
    return f"{len(paths)} digests computed and remembered"


FIXES = (
    Fix(RENAME, "Give a file the name of what it is", plan_rename, act_rename),
    Fix(QUARANTINE, "Move a damaged file aside", plan_quarantine, act_quarantine),
    Fix(PLACE, "Link a file to where it is looked for", plan_place, act_place),
    Fix(DEDUPE, "Keep one of several copies", plan_dedupe, act_dedupe),
    Fix(HASH, "Compute digests anew", plan_hash, act_hash),
)
