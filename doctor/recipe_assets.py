"""What model files are and which of them Klein 4B needs, as rows of assets.toml and files.toml.

Loaded only where files are looked at. Rows of another folder can be added: ``recipe_added.py``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from klein_doctor.rows import RECIPES, RecipeError, read, rows


class Family(NamedTuple):
    """A kind of model.

    role: ``transformer``, ``encoder``, ``vae`` or ``other``. verdict: ``wanted``, ``variant``,
    ``refused``, ``impostor`` or ``unknown``. conditioning: the width of the text a transformer
    takes, or an encoder's hidden width; 0 unknown. why: what speaks against it.
    """

    id: str
    role: str
    says: str
    verdict: str
    source: str
    as_of: str
    license: str = ""
    belongs_in: str = ""
    conditioning: int = 0
    why: str = ""


class Rule(NamedTuple):
    """A file is of a family when all the tensors of has are there and none of lacks."""

    family: str
    has: tuple[str, ...]
    source: str
    as_of: str
    lacks: tuple[str, ...] = ()
    layout: str = ""


class LoraRow(NamedTuple):
    """The widths by which a LoRA's module tells the model it was made for."""

    family: str
    module: str
    outputs: int
    inputs: int
    source: str
    as_of: str
    blocks: tuple[int, ...] = ()


class KnownFile(NamedTuple):
    """A published build of a model file; bytes 0, sha256 "" and schema "" where not known."""

    id: str
    name: str
    family: str
    quantisation: str
    source: str
    as_of: str
    variant: str = ""
    layout: str = ""
    bytes: int = 0
    sha256: str = ""
    schema: str = ""
    wanted: bool = False
    repo: str = ""
    path: str = ""


class DamageRow(NamedTuple):
    """A kind of damage, what it comes of, and the words safetensors has for it, old and new."""

    kind: str
    says: str
    why: str
    messages: tuple[str, ...]
    source: str
    as_of: str


class Width(NamedTuple):
    """What a conditioning of this width comes from."""

    conditioning: int
    says: str
    source: str
    as_of: str


class Arithmetic(NamedTuple):
    """The compute capability from which cards compute with weights stored so."""

    quantisation: str
    min_capability: str
    source: str
    as_of: str


class LayoutRow(NamedTuple):
    """The complete table of tensors of a family in one naming: a file below ``layouts/``."""

    family: str
    layout: str
    file: str
    source: str
    as_of: str


class NameNote(NamedTuple):
    """What to say of an unknown file whose name contains one of these."""

    contains: tuple[str, ...]
    says: str
    source: str
    as_of: str


class NameClaim(NamedTuple):
    """Parts of a name by which a file is taken for one of Klein 4B's."""

    contains: tuple[str, ...]
    source: str
    as_of: str


class AssetRules(NamedTuple):
    """The tables, with the files and families by what they are looked up by.

    added: ids of the files that a folder of ``--recipe`` brought: they are what it says they are,
    even where no rule knows their tensors.
    """

    as_of: str
    families: dict[str, Family]
    rules: tuple[Rule, ...]
    loras: tuple[LoraRow, ...]
    files: tuple[KnownFile, ...]
    damages: dict[str, DamageRow]
    widths: dict[int, Width]
    layouts: tuple[LayoutRow, ...]
    arithmetic: tuple[Arithmetic, ...]
    name_notes: tuple[NameNote, ...]
    name_claims: tuple[str, ...]
    digests: dict[str, KnownFile]
    added: frozenset[str] = frozenset()

    def of_family(self, family: str) -> tuple[KnownFile, ...]:
        """The known builds of a family."""
        return tuple(row for row in self.files if row.family == family)


def load_assets(extra: str = "") -> AssetRules:
    """Read the tables. extra: a folder whose tables add to them or override them.

    Raises:
        RecipeError: naming the file and row that is not what it should be.
    """
    if not extra:
        return _own()
    from klein_doctor.recipe_added import with_added

    return with_added(extra)


@lru_cache(maxsize=1)
def _own() -> AssetRules:
    assets, known = read(RECIPES / "assets.toml"), read(RECIPES / "files.toml")
    families = {row.id: row for row in rows(Family, assets, "family")}
    files = rows(KnownFile, known, "file")
    rules = rows(Rule, assets, "rule")
    loras = rows(LoraRow, assets, "lora")
    named = {row.family for row in files} | {row.family for row in rules}
    named |= {row.family for row in loras}
    if not named <= set(families):
        lost = ", ".join(sorted(named - set(families)))
        raise RecipeError(f"recipe assets.toml: no [[family]] for {lost}")
    return AssetRules(
        as_of=min(str(assets.get("as_of", "")), str(known.get("as_of", ""))),
        families=families,
        rules=rules,
        loras=loras,
        files=files,
        damages={row.kind: row for row in rows(DamageRow, assets, "damage")},
        widths={row.conditioning: row for row in rows(Width, assets, "width")},
        layouts=rows(LayoutRow, assets, "layout"),
        arithmetic=rows(Arithmetic, assets, "arithmetic"),
        name_notes=rows(NameNote, assets, "name_note"),
        name_claims=tuple(
            part for row in rows(NameClaim, assets, "name_claim") for part in row.contains
        ),
        digests={row.sha256: row for row in files if row.sha256},
    )
