"""The recipe: every figure the doctor judges by, as rows of data with a source and a date.

Tables stand in ``recipes/*.toml``; each row names a key of its file's ``[sources]`` and the day
on which it was true. A row that does not fit its type is an error at start-up, not at use.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - the other branch is the one covered on newer Pythons
    import tomli as tomllib

Capability = tuple[int, int]
Row = TypeVar("Row")

RECIPES = Path(__file__).parent / "recipes"
_FILE = "/file"  # where a table that was read keeps the name of its file
_TYPES = {"str": str, "int": int, "bool": bool}


class RecipeError(ValueError):
    """A recipe file does not have the shape its rows promise."""


class Generation(NamedTuple):
    """A range of compute capabilities and the driver branch its cards need (0: none on record)."""

    name: str
    min_capability: str
    below_capability: str
    min_driver: int
    source: str
    as_of: str
    open_module_only: bool = False

    def holds(self, capability: Capability) -> bool:
        """Whether a card of this capability belongs to the generation."""
        return pair(self.min_capability) <= capability < pair(self.below_capability)


class CapabilityFloor(NamedTuple):
    """Where wheels end (fails_below) and where FP8 arithmetic begins (fp8_from)."""

    fails_below: str
    fp8_from: str
    source: str
    as_of: str


class CudaFloor(NamedTuple):
    """The driver branch from which any CUDA runtime of a major release runs."""

    cuda_major: int
    min_driver: int
    source: str
    as_of: str


class CudaPaired(NamedTuple):
    """The driver that was released with a CUDA minor."""

    cuda: str
    driver: str
    source: str
    as_of: str


class MemoryFloor(NamedTuple):
    """Least free GPU memory (GiB) with which a route ever finished an image."""

    gib: str
    route: str
    measured_on: str
    source: str
    as_of: str


class Wheel(NamedTuple):
    """The architectures compiled into some torch versions of one variant (``cu130``)."""

    torch: tuple[str, ...]
    variant: str
    archs: tuple[str, ...]
    source: str
    as_of: str


class Trio(NamedTuple):
    """The torchvision and torchaudio that belong to a torch; python: first and last (``3.10``)."""

    torch: str
    torchvision: str
    torchaudio: str
    python: tuple[str, ...]
    pypi: str
    source: str
    as_of: str


class PartnerFloor(NamedTuple):
    """From this partner version on, any torch from ``torch`` on will do."""

    partner: str
    torch: str
    source: str
    as_of: str


class Install(NamedTuple):
    """A build to install: the first row whose driver and capability bounds hold is taken."""

    min_driver: int
    min_capability: str
    variant: str
    newest: str
    index_url: str
    source: str
    as_of: str
    max_capability: str = "99.0"


class TorchFloor(NamedTuple):
    """The oldest torch any build of which carries code for a capability."""

    min_capability: str
    torch: str
    source: str
    as_of: str


class FastCuda(NamedTuple):
    """The CUDA release from which ComfyUI keeps its own kernels on, and who can have it."""

    cuda: str
    min_capability: str
    min_driver: int
    source: str
    as_of: str


class PythonFloor(NamedTuple):
    """The oldest Python any route has wheels for."""

    python: str
    source: str
    as_of: str


class GpuRow(NamedTuple):
    """A card: its name without the vendor's prefix, memory sizes sold (GiB), PCI device ids."""

    name: str
    compute_capability: str
    memory_gib: tuple[int, ...]
    pci_ids: tuple[str, ...]
    source: tuple[str, ...]
    as_of: str


class Recipe(NamedTuple):
    """All tables of one day."""

    as_of: str
    generations: tuple[Generation, ...]
    capability_floor: CapabilityFloor
    cuda_floors: tuple[CudaFloor, ...]
    cuda_paired: tuple[CudaPaired, ...]
    memory_floors: tuple[MemoryFloor, ...]
    wheels: tuple[Wheel, ...]
    trios: tuple[Trio, ...]
    vision_floors: tuple[PartnerFloor, ...]
    audio_floors: tuple[PartnerFloor, ...]
    installs: tuple[Install, ...]
    torch_floors: tuple[TorchFloor, ...]
    fast_cuda: FastCuda
    python_floor: PythonFloor

    def generation(self, capability: Capability) -> Generation | None:
        """The generation a capability belongs to; None if it is newer or older than the table."""
        return next((row for row in self.generations if row.holds(capability)), None)

    def newest_capability(self) -> Capability:
        """The end of the table: from here on a card is newer than the doctor's knowledge."""
        return max(pair(row.below_capability) for row in self.generations)

    def archs_of(self, torch: str, variant: str) -> tuple[str, ...] | None:
        """What the wheel table says a build carries; None where it has no such row."""
        return next(
            (row.archs for row in self.wheels if row.variant == variant and torch in row.torch),
            None,
        )

    def trio(self, torch: str) -> Trio | None:
        """The partners of a torch version (without its local tag); None if it is not listed."""
        return next((row for row in self.trios if row.torch == torch), None)

    def newest_torch(self) -> str:
        """The newest torch in the tables."""
        return max((row.torch for row in self.trios), key=Version)


def pair(text: str) -> tuple[int, int]:
    """``"12.0"`` as ``(12, 0)``."""
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def load(folder: Path = RECIPES) -> Recipe:
    """Read the tables that every diagnosis needs.

    Raises:
        RecipeError: naming the file and row that is not what it should be.
    """
    driver, torch = _read(folder / "driver.toml"), _read(folder / "torch.toml")
    return Recipe(
        as_of=min(str(driver.get("as_of", "")), str(torch.get("as_of", ""))),
        generations=_rows(Generation, driver, "generation"),
        capability_floor=_rows(CapabilityFloor, driver, "capability_floor")[0],
        cuda_floors=_rows(CudaFloor, driver, "cuda_floor"),
        cuda_paired=_rows(CudaPaired, driver, "cuda_paired"),
        memory_floors=_rows(MemoryFloor, driver, "memory_floor"),
        wheels=_rows(Wheel, torch, "wheel"),
        trios=_rows(Trio, torch, "trio"),
        vision_floors=_rows(PartnerFloor, torch, "vision_floor"),
        audio_floors=_rows(PartnerFloor, torch, "audio_floor"),
        installs=_rows(Install, torch, "install"),
        torch_floors=_rows(TorchFloor, torch, "torch_floor"),
        fast_cuda=_rows(FastCuda, torch, "fast_cuda")[0],
        python_floor=_rows(PythonFloor, torch, "python_floor")[0],
    )


@lru_cache(maxsize=1)
def gpu_rows() -> tuple[GpuRow, ...]:
    """The table of cards; read only when a card must be told by its PCI id or its name."""
    return _rows(GpuRow, _read(RECIPES / "gpus.toml"), "gpu")


def find_gpu(name: str) -> GpuRow | None:
    """The row of a card by its marketing name, whatever its spelling and prefixes."""
    wanted = _folded(name)
    return next((row for row in gpu_rows() if _folded(row.name) == wanted), None)


def _folded(name: str) -> str:
    text = name.casefold()
    for prefix in ("nvidia", "geforce"):
        text = text.replace(prefix, " ")
    return "".join(text.split()).removesuffix("gpu")


def _read(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return {**data, _FILE: path.name}
    except (OSError, ValueError) as error:
        raise RecipeError(f"recipe {path.name} cannot be read: {error}") from error


def _rows(kind: type[Row], data: dict[str, Any], table: str) -> tuple[Row, ...]:
    where = f"recipe {data[_FILE]}: [[{table}]]"
    found = data.get(table)
    if not isinstance(found, list) or not found:
        raise RecipeError(f"{where} has no rows")
    rows = []
    for number, row in enumerate(found, 1):
        try:
            rows.append(kind(**{key: _frozen(value) for key, value in row.items()}))
        except (TypeError, AttributeError) as error:
            raise RecipeError(f"{where} row {number}: {error}") from error
        for key, annotation in kind.__annotations__.items():
            wanted = str(getattr(annotation, "__forward_arg__", annotation))
            if type(getattr(rows[-1], key)) is not _TYPES.get(wanted, tuple):
                raise RecipeError(f"{where} row {number}: {key} is not {wanted}")
    return tuple(rows)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
