"""Is there room for the model's files, and can they be written?"""

from __future__ import annotations

from klein_doctor.absent import absent_bytes
from klein_doctor.installation import Disk
from klein_doctor.model import Facts, Harm, Outcome, Repair, Unknown, Verdict
from klein_doctor.outcomes import gib, passed, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check
from klein_doctor.routes import route_of

_ROLE = {"comfyui": "models", "diffusers": "hub-cache"}


def _disk(facts: Facts, recipe: Recipe, title: str) -> Disk | Outcome | tuple[()]:
    """The disk that holds the route's files, else the answer without one: () for no such folder."""
    if isinstance(facts.disks, Unknown):
        return unknown(title, facts.disks)
    role = _ROLE[route_of(facts, recipe)]
    return next((disk for disk in facts.disks.value if disk.role == role), ())


@check(
    "disk-too-small",
    family="disk",
    title="There is room for the model's files",
    harm=Harm.STOPS,
    reads="Free space of the file system behind the models folder (ComfyUI) or the Hub cache "
    "(diffusers), against the size of everything the route downloads.",
    why="A download that fills the disk leaves a cut-off file under the right name, which fails "
    "later with a message about something else.",
    by_hand="'df -h' (Linux) or the drive's properties (Windows). Move the models folder to a "
    "larger disk and name it in extra_model_paths.yaml, or set HF_HOME.",
)
def disk_too_small(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    title = "Whether there is room for the files is not known"
    disk = _disk(facts, recipe, title)
    if not isinstance(disk, Disk):
        return disk
    if isinstance(disk.free, Unknown):
        return unknown(title, disk.free)
    route, free = route_of(facts, recipe), disk.free.value
    wanted = next(row for row in recipe.memory.downloads if row.route == route)
    absent = absent_bytes(facts, recipe)
    needed = wanted.bytes if absent is None else absent
    full = free < recipe.memory.room.bytes
    if free >= needed and not (full and needed == 0):
        said = f"; {gib(needed)} of files are still missing" if needed else ""
        return passed(f"{gib(free)} are free for the model's files{said}", free=free)
    detail = f"{gib(free)} are free. "
    if needed:
        detail += f"The route's files take {gib(wanted.bytes)} in all ({wanted.what})"
        detail += f"; {gib(needed)} of them are still missing. " if absent is not None else ". "
    if full:
        detail += "At this point nothing can be written reliably, not even pictures and logs."
    elif absent is None:
        detail += "This matters if they are still to be fetched."
    detail = detail.rstrip()
    return Outcome(
        Verdict.FAIL if full or absent is not None else Verdict.WARN,
        f"Only {gib(free)} are free where the model's files belong",
        detail,
        subject=disk.path,
        evidence={"free": free, "wanted": needed, "role": disk.role},
        fixes=(Repair("free-disk", "system", "manual", "free some space, or use a larger disk"),),
    )


@check(
    "models-not-writable",
    family="disk",
    title="The model's files can be written",
    harm=Harm.STOPS,
    reads="The rights of this user on the models folder or the Hub cache, and whether its file "
    "system is mounted read-only.",
    why="Files cannot be fetched, linked or repaired there; a folder made by root or from another "
    "container is the usual cause.",
    by_hand="'ls -ld' on the folder; give it to the user that runs ComfyUI with chown, or name "
    "another folder.",
)
def models_not_writable(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    title = "Whether the files can be written is not known"
    disk = _disk(facts, recipe, title)
    if not isinstance(disk, Disk):
        return disk
    if isinstance(disk.writable, Unknown):
        return unknown(title, disk.writable)
    if disk.writable.value:
        return passed("The model's folder can be written")
    absent = absent_bytes(facts, recipe)
    there = " Klein's own files are all there, so this need not matter now." if absent == 0 else ""
    return Outcome(
        Verdict.WARN if absent == 0 else Verdict.FAIL,
        "The model's folder cannot be written by this user",
        "Missing files cannot be fetched into it, and wrong ones not be put aside. Either its "
        f"rights or a read-only mount stand in the way.{there}",
        subject=disk.path,
        evidence={"role": disk.role, "kind": disk.kind},
        fixes=(
            Repair("own-folder", "system", "manual", "give the folder to the user who runs this"),
        ),
    )


@check(
    "path-troublesome",
    family="disk",
    title="The models' path gives no trouble",
    harm=Harm.NOTE,
    reads="On Windows: length and letters of the paths that model files get.",
    why="Windows programs without long-path support fail beyond 260 characters with 'file not "
    "found', and some native libraries cannot open paths with letters outside ASCII.",
    by_hand="Move ComfyUI to a short path such as C:\\ComfyUI, or enable LongPathsEnabled.",
)
def path_troublesome(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    title = "Whether the models' path gives trouble is not known"
    if isinstance(facts.system, Unknown):
        return unknown(title, facts.system)
    if facts.system.value.os != "windows":
        return ()
    disk = _disk(facts, recipe, title)
    if not isinstance(disk, Disk):
        return disk
    long = disk.longest > recipe.memory.room.longest_path
    if disk.ascii and not long:
        return passed("The models' path is short and plain")
    what = f"gets {disk.longest} characters long" if long else "holds letters outside ASCII"
    return Outcome(
        Verdict.WARN,
        f"The path of the model files {what}",
        "Some Windows libraries answer such paths with 'file not found' all the same.",
        subject=disk.path,
        evidence={"longest": disk.longest, "ascii": disk.ascii},
        fixes=(
            Repair("shorter-path", "move", "manual", r"move ComfyUI to a path such as C:\ComfyUI"),
        ),
    )
