"""The verdict on one model file: from its header, its size and, where known, its digest."""

from __future__ import annotations

from typing import NamedTuple

from klein_doctor.identity.names import claims_klein, named_variant
from klein_doctor.identity.recognise import Recognised, as_told, recognise
from klein_doctor.identity.tensors import Damage, Header, Reading
from klein_doctor.recipe_assets import AssetRules, Family, KnownFile
from klein_doctor.values import printable

# Where ComfyUI would load a file from that is named for diffusers or is one part of several.
_COMFYUI_FOLDERS = frozenset({"diffusion_models", "unet", "text_encoders", "clip"})
_PICKLES = (".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl")
_VARIANTS = ("distilled", "base")
_FORMATS = {"safetensors": "safetensors", "sft": "safetensors", "gguf": "gguf"}
DEEP = "klein-doctor identify --deep"


class Identity(NamedTuple):
    """What a file is.

    role: ``transformer``, ``encoder``, ``vae``, ``lora``, ``checkpoint``, ``other`` or "".
    variant: ``distilled``, ``base``, ``part 1 of 2``, "" where the model has none or only the
    digest would tell. verdict: ``wanted``, ``variant``, ``refused``, ``impostor``, ``other``,
    ``damaged`` or ``unknown``. structure: ``exact``, ``family`` or ``none``. digest: ``verified``,
    ``mismatch`` or ``unchecked``. layout: the naming, "" for ComfyUI's own. known: id of the build
    it is. damage: its kind, "" without. conditioning: as Family. complete: no tensor is missing or
    of another shape, as far as the family's table is known.
    """

    role: str
    family: str
    variant: str
    quantisation: str
    verdict: str
    structure: str
    digest: str
    license: str
    belongs_in: str
    says: str
    layout: str = ""
    known: str = ""
    damage: str = ""
    conditioning: int = 0
    complete: bool = True


class Evidence(NamedTuple):
    """What is known of a file beside its header.

    folder: the name of the folder it lies in. sha256: "" where not computed. promised: the digest
    the Hub's own records beside it name, "" without any. zeros: bytes of zeros at its end, where
    that was looked for.
    """

    name: str
    folder: str
    size: int
    sha256: str = ""
    promised: str = ""
    zeros: int = 0


UNREADABLE = Identity("", "", "", "", "unknown", "none", "unchecked", "", "", "")


def judge_file(reading: Reading, evidence: Evidence, assets: AssetRules) -> Identity:
    """Say what a file is; a pure function of what was read of it."""
    if reading.header is None:
        return _no_model(reading.damage, evidence)
    found = recognise(reading.header, assets)
    damage = reading.damage or _renamed(reading.header, evidence.name)
    if damage is not None:
        return _damaged(found, damage, assets)
    row = assets.digests.get(evidence.sha256)
    if row is not None and row.id in assets.added:
        found = as_told(found, row, assets)
    if found.kind == "lora":
        return _by_name(_lora(found), found, evidence, assets)
    if found.kind == "checkpoint":
        return _by_name(_checkpoint(found), found, evidence, assets)
    if found.family is None:
        return _nobody(found, evidence, assets)
    if found.family.verdict in ("refused", "impostor", "unknown"):
        other = _other(found, found.family, row, evidence)
        return _by_name(other, found, evidence, assets)
    return _misnamed(_ours(found, found.family, row, evidence, assets), evidence, assets)


# --- what Klein needs ------------------------------------------------------------------------


def _ours(
    found: Recognised,
    family: Family,
    row: KnownFile | None,
    evidence: Evidence,
    assets: AssetRules,
) -> Identity:
    """A file of a wanted family."""
    identity = _of_header(_identity(found, family), found)
    rows = _candidates(found, family, evidence, assets)
    if row is not None and row.family == family.id:
        identity = _of_row(identity, row)._replace(digest="verified")
        return _placed(identity, family, f"the published {row.name}, digest verified", evidence)
    if evidence.zeros and (rows or found.exact):
        what = f"{_what(identity, family)}, right in header and size"
        says = f"but at least its last {evidence.zeros:,} bytes are zeros"
        digest = "mismatch" if evidence.sha256 else "unchecked"
        broken = identity._replace(digest=digest)
        return _broken_off(broken, "zero-tail", f"{what}, {says}", assets)
    if evidence.sha256:
        return _unknown_digest(identity, family, rows, evidence, assets)
    promised = assets.digests.get(evidence.promised)
    if promised in rows:
        identity = _of_row(identity, promised)
        says = f"as the published {promised.name} by header, size and the Hub's record beside it"
        return _placed(identity, family, f"{says}; digest not computed", evidence)
    if rows:
        return _unhashed(identity, family, rows, evidence)
    if found.missing or found.wrong:
        return identity._replace(verdict="unknown", complete=False, says=_lacking(found, family))
    if found.exact:
        says = (
            f"{_what(identity, family)}, structure exact, but not of a published size: a fine-tune "
            "or a build no table lists"
        )
        return identity._replace(verdict="unknown", digest="mismatch", says=says)
    return _placed(identity, family, f"a build no table lists{_surplus(found)}", evidence)


def _unhashed(
    identity: Identity, family: Family, rows: tuple[KnownFile, ...], evidence: Evidence
) -> Identity:
    """Header and size of known builds; several may share both."""
    variants = {row.variant for row in rows}
    names = " or ".join(dict.fromkeys(row.name for row in rows))
    first = next((row for row in rows if row.wanted), rows[0])
    if len(variants) > 1:
        says = (
            f"header and size of the published {names}: the distilled and the base build are "
            f"alike in both, only the digest tells ({DEEP})"
        )
        return _placed(
            _of_row(identity, first)._replace(known="", variant=""), family, says, evidence
        )
    by = "header and size" if identity.structure == "exact" else "family and size"
    says = f"{by} of the published {first.name}; digest not computed"
    return _placed(_of_row(identity, first), family, says, evidence)


def _unknown_digest(
    identity: Identity,
    family: Family,
    rows: tuple[KnownFile, ...],
    evidence: Evidence,
    assets: AssetRules,
) -> Identity:
    """Hashed, and no published build has this digest."""
    what = _what(identity, family)
    identity = identity._replace(digest="mismatch")
    if evidence.promised and evidence.promised != evidence.sha256:
        says = f"{what}, but its digest is not the one the Hub's record beside it names"
        return _broken_off(identity, "digest", says, assets)
    if any(not row.sha256 for row in rows):
        row = next(row for row in rows if not row.sha256)
        says = f"family and size of the published {row.name}, whose digest no table has"
        return _placed(_of_row(identity, row), family, says, evidence)
    says = (
        f"{what}, structure {identity.structure}, digest none we know: a fine-tune or an unlisted "
        "build"
    )
    return identity._replace(verdict="unknown", says=says)


def _broken_off(identity: Identity, kind: str, says: str, assets: AssetRules) -> Identity:
    """Damaged, though its header is right."""
    says = f"damaged: {says}: {assets.damages[kind].why}"
    return identity._replace(verdict="damaged", damage=kind, says=says)


def _of_header(identity: Identity, found: Recognised) -> Identity:
    """With the variant, where the published builds of this very table are all of one."""
    variants = {row.variant for row in found.exact}
    return identity._replace(variant=variants.pop()) if len(variants) == 1 else identity


def _candidates(
    found: Recognised, family: Family, evidence: Evidence, assets: AssetRules
) -> tuple[KnownFile, ...]:
    """The published builds of this header and size; by size alone where no table is known."""
    sized = [row for row in assets.of_family(family.id) if row.bytes == evidence.size]
    if found.exact:
        return tuple(row for row in sized if row in found.exact)
    return tuple(
        row
        for row in sized
        if not row.schema and row.quantisation == found.quantisation and not found.missing
    )


def _of_row(identity: Identity, row: KnownFile) -> Identity:
    verdict = "wanted" if row.wanted else "variant"
    return identity._replace(
        variant=row.variant, verdict=verdict, known=row.id, layout=row.layout or identity.layout
    )


def _placed(identity: Identity, family: Family, says: str, evidence: Evidence) -> Identity:
    """With its words, and whether ComfyUI could use it where it lies."""
    what = _what(identity, family)
    partial = identity.variant.startswith("part ")
    for_diffusers = identity.layout == "diffusers" and identity.role != "vae"
    if for_diffusers and evidence.folder.lower() in _COMFYUI_FOLDERS:
        kind = "one part of several" if partial else "named for diffusers"
        says = f"{what}, {kind}, which ComfyUI cannot load from {evidence.folder}"
        return identity._replace(verdict="impostor", says=says)
    if for_diffusers:
        says += "; for a diffusers folder, not for ComfyUI"
    if family.why:
        says += f"; {family.why}"
    if identity.layout == "gguf" or identity.quantisation.startswith("Q"):
        says += "; ComfyUI needs the ComfyUI-GGUF nodes for it"
    return identity._replace(says=f"{what}: {says}")


def _what(identity: Identity, family: Family) -> str:
    details = [part for part in (identity.variant, identity.quantisation) if part]
    return f"{family.says} ({', '.join(details)})" if details else family.says


def _lacking(found: Recognised, family: Family) -> str:
    pieces = []
    if found.missing:
        pieces.append(f"{_tensors(found.missing)} missing ({_shown(found.missing)})")
    if found.wrong:
        pieces.append(f"{_tensors(found.wrong)} of another shape ({_shown(found.wrong)})")
    return f"nearest to {family.says}, but {' and '.join(pieces)}{_surplus(found)}"


def _surplus(found: Recognised) -> str:
    if not found.extra:
        return ""
    return f"; {_tensors(found.extra)} more than it has ({_shown(found.extra)})"


def _tensors(names: tuple[str, ...]) -> str:
    return "1 tensor is" if len(names) == 1 else f"{len(names)} tensors are"


def _misnamed(identity: Identity, evidence: Evidence, assets: AssetRules) -> Identity:
    """With a word on its name, where that is another build's: one wants other steps."""
    row = named_variant(evidence.name, assets) if identity.variant in _VARIANTS else None
    if row is None or row.variant == identity.variant or row.family != identity.family:
        return identity
    says = f"{identity.says}; its name is that of the {row.variant} build"
    return identity._replace(says=says)


# --- what it does not need -------------------------------------------------------------------


def _identity(found: Recognised, family: Family) -> Identity:
    """Family and structure, with the family's own verdict."""
    return Identity(
        role=family.role,
        family=family.id,
        variant="",
        quantisation=found.quantisation,
        verdict="variant" if family.verdict == "wanted" else family.verdict,
        structure="exact" if found.exact else "family",
        digest="unchecked",
        license=family.license,
        belongs_in=family.belongs_in,
        says="",
        layout=found.layout,
        conditioning=family.conditioning,
    )


def _other(
    found: Recognised, family: Family, row: KnownFile | None, evidence: Evidence
) -> Identity:
    """Refused, or something else altogether."""
    identity = _identity(found, family)
    if row is not None:
        identity = identity._replace(digest="verified", known=row.id, variant=row.variant)
    elif evidence.sha256:
        identity = identity._replace(digest="mismatch")
    says = f"{_what(identity, family)}: {family.why}" if family.why else _what(identity, family)
    if family.license not in ("", "Apache-2.0"):
        says += f" (license: {family.license})"
    return identity._replace(says=says)


def _by_name(
    identity: Identity, found: Recognised, evidence: Evidence, assets: AssetRules
) -> Identity:
    """An impostor is what has a name of Klein's; under its own one it is another model's file."""
    if identity.verdict != "impostor" or claims_klein(evidence.name, found.family, assets):
        return identity
    return identity._replace(verdict="other")


def _lora(found: Recognised) -> Identity:
    family = found.family
    if found.fits:
        verdict, says = "variant", "a LoRA whose widths fit Klein 4B; Klein runs without one"
    elif family is not None:
        verdict, says = "impostor", f"a LoRA for {family.says}: its widths do not fit Klein 4B"
    else:
        verdict, says = "impostor", "a LoRA; none of its widths are those of Klein 4B"
    return UNREADABLE._replace(
        role="lora", family=family.id if family else "", quantisation=found.quantisation,
        verdict=verdict, structure="family" if family else "none", belongs_in="loras", says=says,
    )  # fmt: skip


def _checkpoint(found: Recognised) -> Identity:
    family = found.family
    held = ", ".join(part.says if part else f"an unknown {role}" for role, part in found.parts)
    says = f"an all-in-one checkpoint holding {held}"
    verdict = "impostor"
    if family is not None and family.verdict in ("wanted", "refused"):
        verdict = "variant" if family.verdict == "wanted" else "refused"
        says += f"; {family.why}" if family.why else "; it is loaded by CheckpointLoaderSimple"
    return UNREADABLE._replace(
        role="checkpoint", family=family.id if family else "", quantisation=found.quantisation,
        verdict=verdict, structure="family" if family else "none",
        license=family.license if family else "", belongs_in="checkpoints", says=says,
    )  # fmt: skip


def _nobody(found: Recognised, evidence: Evidence, assets: AssetRules) -> Identity:
    says = "a sound model file of a kind no table here lists"
    for note in assets.name_notes:
        if any(part in evidence.name.lower() for part in note.contains):
            says += f"; {note.says}"
    return UNREADABLE._replace(quantisation=found.quantisation, says=says)


# --- damage ----------------------------------------------------------------------------------


def _damaged(found: Recognised, damage: Damage, assets: AssetRules) -> Identity:
    """Broken, but its header still tells what it was to be."""
    family = found.family if found.kind == "model" else None
    identity = _identity(found, family) if family else UNREADABLE
    of = f"; by its header {family.says}" if family else ""
    says = f"damaged: {damage.says}: {assets.damages[damage.kind].why}{of}"
    return identity._replace(verdict="damaged", damage=damage.kind, says=says)


def _renamed(header: Header, name: str) -> Damage | None:
    """A sound file whose ending makes programs open it as something else."""
    ending = name.lower().rpartition(".")[2]
    format = _FORMATS.get(ending, "pickle" if f".{ending}" in _PICKLES else header.format)
    if format == header.format:
        return None
    return Damage("renamed", f"a {header.format} file under the ending .{ending}")


def _no_model(damage: Damage | None, evidence: Evidence) -> Identity:
    if damage is None:
        return UNREADABLE._replace(says="nothing could be read of it")
    if damage.kind == "too-long":
        return UNREADABLE._replace(says=f"{damage.says}; it was not looked into")
    if damage.kind == "pickle" and evidence.name.lower().endswith(_PICKLES):
        says = f"{damage.says}: loading one can run code, so the doctor does not look inside"
        return UNREADABLE._replace(damage="pickle", says=says)
    says = f"not a model file: {damage.says}"
    if damage.kind in ("text", "json", "other") and evidence.name.lower().endswith(_PICKLES):
        return UNREADABLE._replace(says=says)  # endings that other things have too
    return UNREADABLE._replace(verdict="damaged", damage=damage.kind, says=says)


def _shown(names: tuple[str, ...]) -> str:
    """The first few names of a list; they come from a stranger's file."""
    few = [printable(name, 80) for name in names[:2]]
    return ", ".join(few) + (", ..." if len(names) > 2 else "")
