"""Attention packages and what asks for them, as rows of ``recipes/attention.toml``."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from klein_doctor.rows import RECIPES, RecipeError, read, rows

_UNASKED = frozenset({"use", "load", "ignore"})


class ExtensionRow(NamedTuple):
    """A package with code for GPUs.

    files: its compiled files below a package folder, without their ends; compiled: versions (a
    specifier) that cannot work without one, "" none. flag: what asks ComfyUI for it; keeps_off:
    what keeps it out. unasked: ``use``, ``load`` or ``ignore``.
    """

    name: str
    module: str
    files: tuple[str, ...]
    compiled: str
    flag: str
    keeps_off: tuple[str, ...]
    unasked: str
    attention: bool
    min_capability: str
    source: str
    as_of: str


class Limit(NamedTuple):
    """Versions (a specifier) of an extension that do not serve cards from a capability on."""

    name: str
    versions: str
    from_capability: str
    says: str
    source: str
    as_of: str


class BackendRow(NamedTuple):
    """Names an implementation goes by in an api; needs: an extension, ``kernels`` or ""."""

    names: tuple[str, ...]
    api: str
    needs: str
    only: str
    source: str
    as_of: str


class KernelRow(NamedTuple):
    """An attention function of a package, against PyTorch's own, which takes ``bhsd`` and a mask.

    package: an extension; versions: of it (a specifier, "" all). layout: of the arguments unless
    told otherwise: batch, heads, sequence, width by their letters. mask: whether it heeds
    attn_mask.
    """

    name: str
    package: str
    versions: str
    layout: str
    mask: bool
    source: str
    as_of: str


class ConfigKey(NamedTuple):
    """A key of config.json, and the versions of transformers (a specifier) that honour it."""

    name: str
    transformers: str
    source: str
    as_of: str


class AttentionRules(NamedTuple):
    """The tables of ``attention.toml``. diffusers_read: the version whose backends are listed."""

    extensions: tuple[ExtensionRow, ...]
    limits: tuple[Limit, ...]
    backends: tuple[BackendRow, ...]
    config_keys: tuple[ConfigKey, ...]
    kernels: tuple[KernelRow, ...]
    diffusers_read: str

    def extension(self, name: str) -> ExtensionRow | None:
        """The row of an extension, None where there is none of that name."""
        return next((row for row in self.extensions if row.name == name), None)

    def backend(self, name: str) -> BackendRow | None:
        """What a name asks for, None for one that no row has."""
        return next((row for row in self.backends if name in row.names), None)


@lru_cache(maxsize=1)
def load_attention(folder: Path = RECIPES) -> AttentionRules:
    """Read the tables.

    Raises:
        RecipeError: naming the row that is not what it should be.
    """
    data = read(folder / "attention.toml")
    found = AttentionRules(
        rows(ExtensionRow, data, "extension"),
        rows(Limit, data, "limit"),
        rows(BackendRow, data, "backend"),
        rows(ConfigKey, data, "config_key"),
        rows(KernelRow, data, "kernel"),
        str(data.get("diffusers_read", "")),
    )
    names = {row.name for row in found.extensions}
    if len(names) != len(found.extensions) or any(
        row.unasked not in _UNASKED for row in found.extensions
    ):
        raise RecipeError("recipe attention.toml: an extension stands twice or has unknown words")
    for limit in found.limits:
        if limit.name not in names:
            raise RecipeError(f"recipe attention.toml: [[limit]] names no extension: {limit.name}")
    return found
