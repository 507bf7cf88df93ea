"""What a folder of ``--recipe`` adds to the tables of model files, or overrides in them.

``files.toml`` brings [[file]] rows, ``assets.toml`` [[family]] and [[rule]] rows, and each weight
file that ``downloads.toml`` fetches by its own digest is a known file by that alone. What is not
free stays what it is, whatever a row says of it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from klein_doctor.recipe_assets import AssetRules, Family, KnownFile, Rule, load_assets
from klein_doctor.rows import RECIPES, RecipeError, read, rows

TABLES = ("files.toml", "assets.toml", "downloads.toml")
_WEIGHTS = (".safetensors", ".gguf")
_OURS = ("wanted", "variant")


@lru_cache(maxsize=2)
def with_added(extra: str) -> AssetRules:
    """The doctor's own tables with those of the folder.

    Raises:
        RecipeError: naming the file and row that is not what it should be.
    """
    own, folder = load_assets(), Path(extra)
    models = _table(folder, "assets.toml")
    families = {**own.families, **_families(own, models)}
    listed = _rows(KnownFile, _table(folder, "files.toml"), "file")
    free = _licenses()
    for row in listed:
        _sound(row, own, families, free)
    fetched = _fetched(own, listed, families, _table(folder, "downloads.toml"))
    added = (*listed, *fetched)
    if not added and not models:
        return own
    ids = {row.id for row in added}
    usual = {(families[row.family].role, row.layout) for row in added if row.wanted}
    kept = tuple(
        row._replace(wanted=row.wanted and (families[row.family].role, row.layout) not in usual)
        for row in own.files
        if row.id not in ids
    )
    files = (*added, *kept)
    digests = {row.sha256: row for row in reversed(files) if row.sha256}
    # Those of the folder come last: what an own rule knows stays what it is.
    rules = (*own.rules, *_rows(Rule, models, "rule"))
    _known(families, {row.family for row in rules})
    return own._replace(
        families=families, rules=rules, files=files, digests=digests, added=frozenset(ids)
    )


def _families(own: AssetRules, models: dict[str, Any]) -> dict[str, Family]:
    found = {row.id: row for row in _rows(Family, models, "family")}
    free = _licenses() if found else ()
    for row in found.values():
        where = f"recipe assets.toml: [[family]] {row.id}"
        if row.id in own.families:
            raise RecipeError(f"{where} is a family that there is already")
        if row.verdict in _OURS and row.license not in free:
            raise RecipeError(f"{where}: its licence is none of {', '.join(free)}")
    return found


def _sound(
    row: KnownFile, own: AssetRules, families: dict[str, Family], free: tuple[str, ...]
) -> None:
    """Neither a family that there is not, nor another one for what is known not to be free."""
    where = f"recipe files.toml: [[file]] {row.id}"
    if row.family not in families:
        raise RecipeError(f"{where}: there is no family {row.family}")
    before = [old for old in (own.digests.get(row.sha256),) if old is not None]
    before += [old for old in own.files if old.id == row.id]
    for old in before:
        family = own.families[old.family]
        refused = family.verdict == "refused" or family.license not in ("", *free)
        if old.family != row.family and refused:
            raise RecipeError(f"{where} is {family.says}: {family.why or family.license}")


def _fetched(
    own: AssetRules,
    listed: tuple[KnownFile, ...],
    families: dict[str, Family],
    downloads: dict[str, Any],
) -> tuple[KnownFile, ...]:
    """Rows for the weights that are fetched by a digest that no table has."""
    from klein_doctor.recipe_downloads import AssetRow, RepositoryRow

    known = {*own.digests, *(row.sha256 for row in listed)}
    names = {row.id: row.name for row in _rows(RepositoryRow, downloads, "repository")}
    wanted = {family.role: family.id for family in families.values() if family.verdict == "wanted"}
    found = []
    for row in _rows(AssetRow, downloads, "asset"):
        path = PurePosixPath(row.path)
        if row.file or row.sha256 in known or path.suffix not in _WEIGHTS or row.role not in wanted:
            continue
        made = KnownFile(
            id=f"{row.route}:{row.path}", name=path.name, family=wanted[row.role],
            quantisation="", source=row.source, as_of=row.as_of, bytes=row.bytes,
            layout="diffusers" if row.route == "diffusers" else "", sha256=row.sha256,
            wanted=not row.variant, repo=names.get(row.repository, ""), path=row.path,
        )  # fmt: skip
        found.append(made)
    return tuple(found)


def _known(families: dict[str, Family], named: set[str]) -> None:
    lost = sorted(named - set(families))
    if lost:
        raise RecipeError(f"recipe assets.toml: there is no family {', '.join(lost)}")


def _licenses() -> tuple[str, ...]:
    """Those under which a file may be fetched: never for a recipe to say."""
    from klein_doctor.recipe_downloads import LicenseRow

    data = read(RECIPES / "downloads.toml")
    return tuple(row.name for row in rows(LicenseRow, data, "license"))


def _table(folder: Path, name: str) -> dict[str, Any]:
    return read(folder / name) if (folder / name).exists() else {}


def _rows(kind: type[Any], data: dict[str, Any], table: str) -> tuple[Any, ...]:
    return rows(kind, data, table) if table in data else ()
