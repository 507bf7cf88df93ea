"""What model a header describes: family, naming, quantisation, and how completely it is there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from klein_doctor.identity.gguf import FILE_TYPES
from klein_doctor.identity.layouts import layout
from klein_doctor.identity.loras import read_lora
from klein_doctor.identity.tables import match
from klein_doctor.identity.tensors import Header
from klein_doctor.recipe_assets import AssetRules, Family, KnownFile, Rule

# What programs put before the names of a model that is stored alone.
_PREFIXES = (
    "model.diffusion_model.", "diffusion_model.", "net.", "first_stage_model.", "vae.",
    "text_encoder.", "transformer.",
)  # fmt: skip
# The parts of an all-in-one checkpoint, as ComfyUI looks for them (comfy/sd.py, 0.33).
_PARTS = {
    "model.diffusion_model.": "transformer",
    "first_stage_model.": "vae",
    "vae.": "vae",
    "cond_stage_model.": "encoder",
    "conditioner.": "encoder",
    "text_encoders.": "encoder",
}
# What quantised builds add beside each weight.
_ADDED = (
    ".weight_scale", ".weight_scale_2", ".input_scale", ".scale_weight", ".scale_input",
    ".comfy_quant",
)  # fmt: skip
_FLOATS = frozenset({"BF16", "F16", "F32", "F8_E4M3", "F8_E5M2"})
_WORDS = {
    "BF16": "bf16", "F16": "fp16", "F32": "fp32", "F64": "fp64", "F8_E4M3": "fp8",
    "F8_E5M2": "fp8 e5m2", "I8": "int8", "U8": "packed", "F4": "fp4",
}  # fmt: skip


class Recognised(NamedTuple):
    """What a header is.

    family: None where no rule fits. kind: ``model``, ``lora`` or ``checkpoint`` (several models
    in one file; parts are their families). layout: the naming, "" for ComfyUI's own.
    fits: of a LoRA, whether its widths are of Klein 4B.
    exact: known builds with this very table of tensors. missing, extra, wrong: tensors against
    the family's complete table; listed is False where there is none.
    """

    kind: str
    family: Family | None
    layout: str
    quantisation: str
    exact: tuple[KnownFile, ...] = ()
    listed: bool = False
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    parts: tuple[tuple[str, Family | None], ...] = ()
    fits: bool = False


def recognise(header: Header, assets: AssetRules) -> Recognised:
    """Name the model of a header by the recipe's rules."""
    lora = read_lora(header, assets)
    if lora is not None:
        return Recognised("lora", lora.family, "", _quantisation(header), fits=lora.fits)
    parts = _parts(header)
    if len(parts) > 1:
        return _checkpoint(header, parts, assets)
    bare = _bare(header)
    rule = match(bare, assets)
    found = Recognised("model", None, "", _quantisation(bare))
    if rule is not None:
        found = _model(bare, rule, assets)
    told = [row for row in assets.files if row.schema and row.id in assets.added]
    if told and not found.exact:
        schema = schema_of(header.entries)
        found = next((as_told(found, row, assets) for row in told if row.schema == schema), found)
    return found


def as_told(found: Recognised, row: KnownFile, assets: AssetRules) -> Recognised:
    """A file as a row of --recipe has it; what the rules know as refused stays refused."""
    if found.family is not None and found.family.verdict == "refused":
        return found
    return Recognised(
        "model", assets.families[row.family], row.layout, row.quantisation or found.quantisation,
        exact=(row,), listed=True,
    )  # fmt: skip


def schema_of(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """The digest of a table of tensors: names, types and shapes, whatever their order."""
    written: dict[tuple[Any, ...], str] = {}  # the same few types and shapes come again and again
    lines = []
    for name, entry in entries.items():
        key = (entry["dtype"], *entry["shape"])
        if key not in written:
            written[key] = str((key[0], key[1:]))
        lines.append(f"{name}:{written[key]}")
    lines.sort()
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def _model(header: Header, rule: Rule, assets: AssetRules) -> Recognised:
    family = assets.families[rule.family]
    found = Recognised("model", family, rule.layout, _quantisation(header))
    rows = assets.of_family(family.id)
    if header.format == "safetensors" and any(row.schema for row in rows):
        schema = schema_of(header.entries)
        exact = tuple(row for row in rows if row.schema == schema)
        if exact:
            return found._replace(exact=exact, layout=exact[0].layout or rule.layout, listed=True)
    for row in assets.layouts:
        if (row.family, row.layout) == (family.id, rule.layout):
            return _compared(found, header, row.file)
    return found


def _compared(found: Recognised, header: Header, file: str) -> Recognised:
    """Held against the family's complete table."""
    table = layout(file)
    there = {name for name in header.entries if not name.endswith(_ADDED)}
    there.discard("scaled_fp8")
    wrong = [
        name
        for name, wanted in table.items()
        if name in there
        and header.entries[name]["dtype"] in _FLOATS
        and tuple(header.entries[name]["shape"]) != wanted.shape
    ]
    return found._replace(
        listed=True,
        missing=tuple(name for name in table if name not in there),
        extra=tuple(sorted(there.difference(table))),
        wrong=tuple(wrong),
    )


def _parts(header: Header) -> list[str]:
    """The prefixes of the models in one file."""
    heads = {name.partition(".")[0] for name in header.entries}
    found = []
    for prefix in _PARTS:
        head, _, rest = prefix.partition(".")
        if head in heads and (not rest or any(n.startswith(prefix) for n in header.entries)):
            found.append(prefix)
    return found


def _checkpoint(header: Header, prefixes: list[str], assets: AssetRules) -> Recognised:
    parts: list[tuple[str, Family | None]] = []
    for prefix in prefixes:
        cut = _cut(header, prefix)
        rule = match(cut, assets)
        parts.append((_PARTS[prefix], assets.families[rule.family] if rule else None))
    main = next((family for role, family in parts if role == "transformer"), None)
    return Recognised("checkpoint", main, "", _quantisation(header), parts=tuple(parts))


def _bare(header: Header) -> Header:
    """The header without the prefix all its names share, if it is one that programs add."""
    first = next(iter(header.entries), "")
    for prefix in _PREFIXES:
        if first.startswith(prefix) and all(n.startswith(prefix) for n in header.entries):
            return _cut(header, prefix)
    return header


def _cut(header: Header, prefix: str) -> Header:
    cut = {n[len(prefix) :]: e for n, e in header.entries.items() if n.startswith(prefix)}
    return header._replace(entries=cut)


def _quantisation(header: Header) -> str:
    """How the weights are stored, as builds are called by it: bf16, fp8, nvfp4, Q4_K_M, ..."""
    if header.format == "gguf":
        named = FILE_TYPES.get(header.metadata.get("general.file_type", ""))
        return named or _most(header)
    added = {name.rpartition(".")[2] for name in header.entries}
    types = {entry["dtype"] for entry in header.entries.values()}
    mixed = " mixed" if "comfy_quant" in added else ""
    if "weight_scale_2" in added and "U8" in types:
        both = "F8_E4M3" in types and mixed and _most(header) == "F8_E4M3"
        return "fp8 mixed" if both else f"nvfp4{mixed}"
    if "F8_E4M3" in types and mixed:
        return "fp8 mixed"
    if "scaled_fp8" in header.entries or "scale_weight" in added:
        return "fp8 scaled"
    if any("bitsandbytes__nf4" in name for name in added) or "quant_map" in added:
        return "nf4"
    most = _most(header)
    return _WORDS.get(most, most.lower())


def _most(header: Header) -> str:
    """The type that takes most bytes."""
    sizes: dict[str, int] = {}
    for entry in header.entries.values():
        begin, end = entry["data_offsets"]
        dtype = entry["dtype"]
        sizes[dtype] = sizes.get(dtype, 0) + end - begin
    return max(sizes, key=lambda dtype: sizes[dtype], default="")
