"""What a file's name claims: the published files by name, and whether a name is one of Klein's."""

from __future__ import annotations

from pathlib import PurePath

from klein_doctor.recipe_assets import AssetRules, Family, KnownFile

_OURS = ("wanted", "variant")


def stem(name: str) -> str:
    """A file's name as it is compared: without folder and ending, in lower case."""
    return PurePath(name).stem.lower()


def names_of(assets: AssetRules) -> dict[str, KnownFile]:
    """The published files of the wanted families, by name without ending.

    Of one name the row that tells its variant comes first, then the wanted one: a row of --recipe
    tells none.
    """
    wanted = [
        row
        for row in assets.files
        if assets.families[row.family].verdict in _OURS and row.layout != "diffusers"
    ]
    found: dict[str, KnownFile] = {}
    for row in sorted(wanted, key=lambda row: (not row.variant, not row.wanted)):
        found.setdefault(stem(row.name), row)
    return found


def claims_klein(name: str, family: Family | None, assets: AssetRules) -> bool:
    """Whether a file of another model has a name that is taken for one of Klein's."""
    own = stem(name)
    if family is not None and any(stem(row.name) == own for row in assets.of_family(family.id)):
        return False
    return any(word in own for word in assets.name_claims)


def named_variant(name: str, assets: AssetRules) -> KnownFile | None:
    """The published build of Klein whose name this is, where that name tells a variant."""
    row = names_of(assets).get(stem(name))
    return row if row is not None and row.variant else None
