"""Which of the model files that were found Klein 4B can use: shared by the checks of assets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from klein_doctor.installation import ModelFolder
from klein_doctor.model import Facts, Known, Private, Repair, Unknown
from klein_doctor.modelfiles import ModelFile, Models
from klein_doctor.outcomes import gib
from klein_doctor.recipe import Recipe
from klein_doctor.routes import route_of

if TYPE_CHECKING:
    from klein_doctor.recipe_assets import AssetRules, KnownFile


class Role(NamedTuple):
    """A part of the model: where ComfyUI takes it from, and its name in a sentence."""

    id: str
    category: str
    says: str
    loader: str


ROLES = (
    Role("transformer", "diffusion_models", "Klein 4B transformer", "Load Diffusion Model"),
    Role("encoder", "text_encoders", "Qwen3-4B text encoder", "Load CLIP"),
    Role("vae", "vae", "FLUX.2 VAE", "Load VAE"),
)
BY_ID = {role.id: role for role in ROLES}
_MOST_RENAMED = 6  # files of one finding
# Those of GGUF need nodes that are not part of ComfyUI.
_LOADED = (".safetensors", ".sft")


def rules(recipe: Recipe) -> AssetRules:
    """The tables of model files; their types are not loaded before somebody judges by them."""
    from klein_doctor.recipe_assets import load_assets

    return load_assets(recipe.extra)


def asked(facts: Facts, recipe: Recipe) -> Models | Unknown | None:
    """The model files where they are judged: on ComfyUI's route, of a ComfyUI that was found."""
    if route_of(facts, recipe) != "comfyui":
        return None
    if isinstance(facts.comfyui, Unknown):
        return facts.comfyui
    if facts.comfyui.value is None:
        return None
    if isinstance(facts.comfyui.value.folders, Unknown):
        return facts.comfyui.value.folders
    return facts.models.value if isinstance(facts.models, Known) else facts.models


def told(facts: Facts, recipe: Recipe) -> Models | None:
    """As asked, None also where they are unknown: the checks for missing files say that."""
    models = asked(facts, recipe)
    return models if isinstance(models, Models) else None


def usable(file: ModelFile) -> bool:
    """Whether ComfyUI can run Klein with this file, wherever it lies."""
    if file.role not in BY_ID or file.damage or not file.complete:
        return False
    if file.variant.startswith("part ") or (file.layout == "diffusers" and file.role != "vae"):
        return False
    unlisted = file.verdict == "unknown" and file.structure == "exact"
    return unlisted or file.verdict in ("wanted", "variant")


def in_place(file: ModelFile) -> bool:
    """Whether it lies where ComfyUI takes that part from, and is reached there."""
    return file.category == BY_ID[file.role].category and not file.shadowed


def right(models: Models, role: str) -> list[ModelFile]:
    """The files of a role that are usable where they lie."""
    return [f for f in models.files if f.role == role and usable(f) and in_place(f)]


def loadable(models: Models) -> tuple[ModelFile, ...] | None:
    """Of each role the file ComfyUI's own nodes load, in the order of ROLES; of the transformers a
    distilled one. None where one is missing."""
    found = [
        [
            file
            for file in right(models, role.id)
            if file.name.real.lower().endswith(_LOADED) and file.variant != "base"
        ]
        for role in ROLES
    ]
    return tuple(files[0] for files in found) if all(found) else None


def elsewhere(models: Models, role: str) -> list[ModelFile]:
    """Usable files of a role that lie in another folder."""
    return [
        f
        for f in models.files
        if f.role == role and usable(f) and f.category != BY_ID[role].category
    ]


def candidates(models: Models, role: str) -> list[ModelFile]:
    """What stands in a role's place and is not right: by its folder, its kind or its name."""
    category = BY_ID[role].category
    return [
        f
        for f in models.files
        if not f.shadowed
        and not (usable(f) and f.role == role)
        and f.category == category
        and (f.role == role or f.named_for == role)
    ]


def broken(models: Models, recipe: Recipe, role: str) -> list[ModelFile]:
    """A role's own files that lie where they belong and are damaged, which another check tells."""
    families = rules(recipe).families
    ours = {family.id for family in families.values() if family.verdict in ("wanted", "variant")}
    return [
        f
        for f in candidates(models, role)
        if f.verdict == "damaged" and (f.named_for == role or f.family in ours)
    ]


def files_line(facts: Facts, recipe: Recipe) -> str:
    """The route's files in a few words: what is there, and how far that is proven; "" untold."""
    if route_of(facts, recipe) == "diffusers":
        if isinstance(facts.models, Unknown):
            return ""
        folders = facts.models.value.pipelines
        if not folders:
            return "none of Klein's in the Hub's cache"
        whole = "complete" if folders[0].verdict in ("wanted", "variant") else "not complete"
        proof = "digests verified" if folders[0].digest == "verified" else "not hashed"
        return f"diffusers folder, {whole} ({proof})"
    models = told(facts, recipe)
    if models is None:
        return ""
    found = {role.id: right(models, role.id) for role in ROLES}
    there = [f"{name} {files[0].quantisation}" for name, files in found.items() if files]
    absent = [name for name, files in found.items() if not files]
    if not there:
        return "none of Klein's three"
    used = [files[0] for files in found.values() if files]
    proven = sum(file.digest == "verified" for file in used)
    proof = f"{proven} of {len(used)} digests verified" if proven else "not hashed"
    if any(file.digest == "mismatch" for file in used):
        proof = "not all of them published builds"
    lacking = f"; no usable {' or '.join(absent)}" if absent else ""
    return f"{', '.join(there)} ({proof}){lacking}"


def wanted_row(role: str, recipe: Recipe) -> KnownFile:
    """The published file the doctor would fetch for a role."""
    assets = rules(recipe)
    return next(
        row for row in assets.files if row.wanted and assets.families[row.family].role == role
    )


def missing_bytes(models: Models, recipe: Recipe) -> int:
    """What would still have to be fetched for ComfyUI's route."""
    absent = [role for role in BY_ID if not right(models, role) and not elsewhere(models, role)]
    return sum(wanted_row(role, recipe).bytes for role in absent)


def fetch(facts: Facts, recipe: Recipe, role: str) -> Repair:
    """Fetch the right file of a role into the folder ComfyUI looks in; what is there is renamed."""
    row = wanted_row(role, recipe)
    license = rules(recipe).families[row.family].license
    summary = f"fetch {row.name} ({gib(row.bytes)}, {license}) from {row.repo}"
    command: tuple[str | Private, ...] = ("klein-doctor", "download", "--only", role)
    search = facts.search.value if isinstance(facts.search, Known) else None
    if search is not None and len(search.found) > 1:
        judged = search.judged()
        command += ("--comfyui", judged.root) if judged is not None else ()
    return Repair("fetch-assets", "download", "ask", summary, (command,))


class Room(NamedTuple):
    """What frees the name a file is fetched or linked under: evidence and repairs of a finding.

    Both are empty where nothing stands there, or the file itself, or a damaged one: that one is
    moved aside by another finding.
    """

    evidence: dict[str, tuple[Private, ...]]
    fixes: tuple[Repair, ...]


def room_for(models: Models, recipe: Recipe, role: str, others: Sequence[ModelFile] = ()) -> Room:
    """Room under the name a role's file would be fetched to, in every folder ComfyUI searches.

    others: files that are renamed with what stands there, before it.
    """
    name = wanted_row(role, recipe).name.lower()
    there = [
        f
        for f in models.files
        if f.category == BY_ID[role].category
        and f.name.real.lower() == name
        and f.verdict not in ("wanted", "damaged")
        and f not in others
    ]
    return renamed((*others, *there))


def renamed(files: Sequence[ModelFile]) -> Room:
    """These files given names that say what they are; their order is the order of importance."""
    if not files:
        return Room({}, ())
    what = " ".join(word for word in (files[0].family or "unknown", files[0].variant) if word)
    summary = f"give the file a name that says what it is ({what}), in place"
    if len(files) > 1:
        summary = f"give these {len(files)} files names that say what they are, in place"
    paths = tuple(file.path for file in files[:_MOST_RENAMED])
    return Room({"misnamed": paths}, (Repair("rename-asset", "move", "ask", summary),))


def folder_for(category: str, folders: Sequence[ModelFolder]) -> Private | None:
    """Where a new file of a category belongs: of the folders ComfyUI searches for it the first
    that is there and named like it, else the first."""
    places = [f for f in folders if f.category == category]
    named = [f for f in places if f.path.real.replace("\\", "/").endswith(f"/{category}")]
    there = [f for f in named if f.exists] or named or places
    return there[0].path if there else None
