"""Which files go where: from the command line and the target to jobs. Reads, writes nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from klein_doctor.assets import folder_for
from klein_doctor.exits import UsageError
from klein_doctor.installation import ModelFolder
from klein_doctor.probes.comfyui_search import searched
from klein_doctor.probes.disks import default_folders
from klein_doctor.probes.outside import Outside
from klein_doctor.recipe_downloads import Asset, Downloads
from klein_doctor.target import Aim, Wish, resolve
from klein_doctor.values import printable

_SHOWN = 60


class Job(NamedTuple):
    """A file and its place. beside: other folders in which it would do as well."""

    asset: Asset
    destination: Path
    beside: tuple[Path, ...] = ()


class Errand(NamedTuple):
    """Everything one run is to do.

    places: where files may lie already, nearest first. caches: the Hub's. folders: those of this
    errand and of the ComfyUI. reference: the file that makes a snapshot of the Hub's cache the
    current one, and what it is to say.
    """

    route: str
    jobs: tuple[Job, ...]
    places: tuple[Path, ...]
    caches: tuple[Path, ...]
    folders: tuple[Path, ...]
    reference: tuple[Path, str] | None


class Ask(NamedTuple):
    """What the command line asks for; "" and () where it says nothing."""

    wish: Wish
    roles: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    dest: str = ""
    stock: str = ""


def plan(ask: Ask, downloads: Downloads, outside: Outside) -> Errand:
    """Choose the files and their places.

    Raises:
        UsageError: what was asked for does not exist, is refused, or has no place.
    """
    aim = resolve(outside, ask.wish)
    route = ask.wish.route
    if route == "auto":
        route = "comfyui"
        if aim.found is None and not ask.dest:
            raise UsageError(
                "no ComfyUI was found on this machine: name it with --comfyui DIR, name a folder "
                "for the files with --dest DIR, or ask for the other route with --route diffusers"
            )
    assets = choose(ask, route, downloads)
    caches = tuple(path for role, path in default_folders(outside, ()) if role == "hub-cache")
    folders = searched(outside, aim.found, aim.answers) if aim.found is not None else ()
    reference = None
    if route == "comfyui":
        jobs = _for_comfyui(ask, assets, folders, aim)
    else:
        jobs, reference = _for_diffusers(ask, assets, caches)
    own = dict.fromkeys(job.destination.parent for job in jobs)
    near = tuple(dict.fromkeys([*own, *(Path(folder.path.real) for folder in folders)]))
    places = (*own, *_stock(ask.stock), *near, *_others(aim), *caches)
    return Errand(route, jobs, places, caches, near, reference)


def choose(ask: Ask, route: str, downloads: Downloads) -> tuple[Asset, ...]:
    """The files of a route that were asked for: of each role the usual one, or the variant named.

    Raises:
        UsageError: no such role or variant, or one that is not free.
    """
    offered = [asset for asset in downloads.assets if asset.route == route]
    roles = dict.fromkeys(asset.role for asset in offered)
    for role in ask.roles:
        if role not in roles:
            listed = ", ".join(roles)
            raise UsageError(f"--only {printable(role, _SHOWN)}: the roles are {listed}")
    named: dict[str, str] = {}
    for variant in ask.variants:
        named[_role_of(variant, offered, downloads)] = variant.rpartition("=")[2]
    chosen = tuple(
        asset
        for asset in offered
        if asset.variant == named.get(asset.role, "") and (not ask.roles or asset.role in ask.roles)
    )
    for asset in chosen:
        refusal = downloads.refusal(asset)
        if refusal:
            raise UsageError(
                f"{asset.repository}: {refusal}. klein-doctor fetches what is free for any use"
            )
    return chosen


def _role_of(variant: str, offered: list[Asset], downloads: Downloads) -> str:
    role, _, name = variant.rpartition("=")
    fits = [a for a in offered if a.variant == name and name and role in ("", a.role)]
    if fits:
        return fits[0].role
    for row in downloads.refused:
        stem = row.pattern.strip("*").replace("*", "")
        if name.lower() in ("9b", "dev") and stem.endswith(name.lower()):
            raise UsageError(
                f"--variant {name}: {row.says} is under the {row.license}; klein-doctor fetches "
                "FLUX.2 [klein] 4B, which is free for any use (Apache-2.0)"
            )
    listed = ", ".join(f"{a.role}={a.variant}" for a in offered if a.variant) or "none here"
    raise UsageError(f"--variant {printable(variant, _SHOWN)}: the variants are {listed}")


def _for_comfyui(
    ask: Ask, assets: tuple[Asset, ...], folders: tuple[ModelFolder, ...], aim: Aim
) -> tuple[Job, ...]:
    jobs = []
    for asset in assets:
        if ask.dest:
            jobs.append(Job(asset, _absolute(ask.dest) / asset.folder / asset.name))
            continue
        folder = folder_for(asset.folder, folders)
        if folder is None:
            root = aim.target.comfyui.local or "this ComfyUI"
            raise UsageError(
                f"where {root} looks for {asset.folder} could not be read; --dest DIR names a "
                "models folder"
            )
        beside = tuple(
            Path(other.path.real)
            for other in folders
            if other.category == asset.folder and other.path.real != folder.real
        )
        jobs.append(Job(asset, Path(folder.real) / asset.name, beside))
    return tuple(jobs)


def _for_diffusers(
    ask: Ask, assets: tuple[Asset, ...], caches: tuple[Path, ...]
) -> tuple[tuple[Job, ...], tuple[Path, str] | None]:
    """A folder of its own, or the Hub's cache, where from_pretrained looks by itself."""
    if ask.dest:
        top = _absolute(ask.dest)
        return tuple(Job(asset, top.joinpath(*asset.path.split("/"))) for asset in assets), None
    if not caches:
        raise UsageError("there is no home for the Hub's cache here; --dest DIR names a folder")
    jobs = []
    reference = None
    for asset in assets:
        top = caches[0] / f"models--{asset.repository.replace('/', '--')}"
        place = top / "snapshots" / asset.revision
        jobs.append(Job(asset, place.joinpath(*asset.path.split("/"))))
        reference = (top / "refs" / "main", asset.revision)
    return tuple(jobs), reference if not ask.roles else None


def _others(aim: Aim) -> tuple[Path, ...]:
    """The models of the other ComfyUIs on this machine."""
    bases = [install.base.real for install in aim.search.value.found]
    return tuple(Path(base) / "models" for base in dict.fromkeys(bases) if base)


def is_address(named: str) -> bool:
    """Whether this is meant as an address; a drive of Windows has one letter alone."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", named) is not None


def _stock(named: str) -> tuple[Path, ...]:
    if not named or is_address(named):
        return ()
    path = _absolute(named)
    if not path.is_dir():
        raise UsageError(f"--assets-from {printable(named, 200)}: there is no such folder")
    return (path,)


def _absolute(named: str) -> Path:
    try:
        path = Path(os.path.abspath(os.path.expanduser(named)))
        blocked = path.exists() and not path.is_dir()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{printable(named, 200)}: {reason}") from error
    if blocked:
        raise UsageError(f"{printable(named, 200)} is not a folder")
    return path
