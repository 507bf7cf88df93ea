"""What of the route's files must still be fetched: shared by the checks of disk and Hub."""

from __future__ import annotations

from klein_doctor.assets import asked, missing_bytes
from klein_doctor.model import Facts, Unknown
from klein_doctor.modelfiles import Models
from klein_doctor.recipe import Recipe
from klein_doctor.routes import route_of


def absent_bytes(facts: Facts, recipe: Recipe) -> int | None:
    """The bytes of the route's files that are not there yet, None where that is not known."""
    if isinstance(facts.models, Unknown):
        return None
    models = facts.models.value
    if route_of(facts, recipe) == "comfyui":
        return missing_bytes(models, recipe)
    if _whole(models):
        return 0
    if not models.pipelines:
        return next(row.bytes for row in recipe.memory.downloads if row.route == "diffusers")
    return _bytes_of(models.pipelines[0].missing, recipe)


def lacking(facts: Facts, recipe: Recipe) -> bool | Unknown:
    """Whether something must be downloaded before the model runs.

    Not where there is no ComfyUI to put it into: that is the first thing to mend there.
    """
    if route_of(facts, recipe) == "diffusers":
        return facts.models if isinstance(facts.models, Unknown) else not _whole(facts.models.value)
    models = asked(facts, recipe)
    if models is None:
        return False
    if isinstance(models, Unknown):
        return models
    absent = missing_bytes(models, recipe) > 0
    if absent and models.left:
        return Unknown(f"{models.left} model files could not be looked into in time")
    return absent


def _whole(models: Models) -> bool:
    return any(each.verdict in ("wanted", "variant") for each in models.pipelines)


def _bytes_of(missing: tuple[str, ...], recipe: Recipe) -> int | None:
    """The sizes of files of a diffusers folder, None where one of them is not in the table."""
    from klein_doctor.recipe_downloads import load_downloads

    listed = load_downloads(recipe.extra).assets
    sizes = {asset.path: asset.size for asset in listed if asset.route == "diffusers"}
    if not missing or not all(name in sizes for name in missing):
        return None
    return sum(sizes[name] for name in missing)
