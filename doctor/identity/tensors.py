"""What was read of a model file: the names, types and shapes of its tensors, or what it is instead.

Nothing here judges; sizes are in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Header(NamedTuple):
    """A header that keeps its format's promises.

    format: ``safetensors`` or ``gguf``. entries: by tensor name, ``dtype`` as the format spells
    it (``BF16``, ``Q4_0``), ``shape`` (outermost dimension first) and ``bytes`` or
    ``data_offsets``. metadata: its texts. end: the bytes the file must have, 0 where a type newer
    than the tables leaves that open.
    """

    format: str
    entries: Mapping[str, Mapping[str, Any]]
    metadata: Mapping[str, str]
    end: int

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a tensor, None when there is no such tensor."""
        entry = self.entries.get(name)
        return None if entry is None else tuple(entry["shape"])


class Damage(NamedTuple):
    """Why a file is no sound model file.

    kind: a row of the recipe's damages, such as ``truncated`` or ``lfs-pointer``.
    says: what is there instead, in words that follow "it is" or "the file is".
    """

    kind: str
    says: str


class Reading(NamedTuple):
    """A file's header, what is wrong with the file, or both: a truncated file has a header."""

    header: Header | None
    damage: Damage | None


class HeaderError(ValueError):
    """The header breaks a promise of its format."""

    def __init__(self, kind: str, says: str) -> None:
        super().__init__(says)
        self.damage = Damage(kind, says)
