"""The recipe: every figure the doctor judges by, as rows of data with a source and a date.

Tables stand in ``recipes/*.toml``; each row names a key of its file's ``[sources]`` and the day
on which it was true. A row that does not fit its type is an error at start-up, not at use.
"""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from packaging.version import Version

from klein_doctor.recipe_comfyui import ComfyRules, load_comfyui
from klein_doctor.recipe_memory import MemoryRules, load_memory
from klein_doctor.recipe_stack import StackRules, load_stack
from klein_doctor.rows import RECIPES, overlaid, read, rows
from klein_doctor.rows import RecipeError as RecipeError
from klein_doctor.rows import pair as pair

Capability = tuple[int, int]


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


class ComfyTorch(NamedTuple):
    """From this ComfyUI on, the oldest torch it says it supports."""

    comfyui: str
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
    """All tables that every diagnosis needs.

    as_of: the day of the oldest. extra: the folder of ``--recipe``, "" for none.
    """

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
    comfyui_torch: tuple[ComfyTorch, ...]
    fast_cuda: FastCuda
    python_floor: PythonFloor
    comfyui: ComfyRules
    memory: MemoryRules
    stack: StackRules
    extra: str = ""

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


def load(folder: Path = RECIPES, extra: str = "") -> Recipe:
    """Read the tables that every diagnosis needs.

    extra: a folder whose torch.toml and comfyui.toml may change [[install]] rows: which index
    PyTorch comes from, by variant, and where ComfyUI comes from, by tag. Its tables of model files
    are read where files are looked at; here it is seen to that they are sound.

    Raises:
        RecipeError: naming the file and row that is not what it should be.
    """
    driver, torch = read(folder / "driver.toml"), read(folder / "torch.toml")
    comfyui, memory, stack = load_comfyui(folder), load_memory(folder), load_stack(folder)
    days = (str(driver.get("as_of", "")), str(torch.get("as_of", "")))
    found = Recipe(
        as_of=min(*days, comfyui.as_of, memory.as_of, stack.as_of),
        generations=rows(Generation, driver, "generation"),
        capability_floor=rows(CapabilityFloor, driver, "capability_floor")[0],
        cuda_floors=rows(CudaFloor, driver, "cuda_floor"),
        cuda_paired=rows(CudaPaired, driver, "cuda_paired"),
        memory_floors=rows(MemoryFloor, driver, "memory_floor"),
        wheels=rows(Wheel, torch, "wheel"),
        trios=rows(Trio, torch, "trio"),
        vision_floors=rows(PartnerFloor, torch, "vision_floor"),
        audio_floors=rows(PartnerFloor, torch, "audio_floor"),
        installs=rows(Install, torch, "install"),
        torch_floors=rows(TorchFloor, torch, "torch_floor"),
        comfyui_torch=rows(ComfyTorch, torch, "comfyui_torch"),
        fast_cuda=rows(FastCuda, torch, "fast_cuda")[0],
        python_floor=rows(PythonFloor, torch, "python_floor")[0],
        comfyui=comfyui,
        memory=memory,
        stack=stack,
    )
    return _changed(found, Path(extra)) if extra else found


def _changed(recipe: Recipe, extra: Path) -> Recipe:
    if not extra.is_dir():
        raise RecipeError(f"{extra} is no folder")
    if (extra / "torch.toml").exists():
        data = read(extra / "torch.toml")
        recipe = recipe._replace(installs=overlaid(recipe.installs, data, "install", "variant"))
    if (extra / "comfyui.toml").exists():
        data = read(extra / "comfyui.toml")
        (install,) = overlaid((recipe.comfyui.install,), data, "install", "tag")
        recipe = recipe._replace(comfyui=recipe.comfyui._replace(install=install))
    if (extra / "images.toml").exists():
        from klein_doctor.recipe_images import load_images

        load_images(str(extra))  # what is wrong in it is told now, not after a generation
    return _with_files(recipe._replace(extra=str(extra)), extra)


def _with_files(recipe: Recipe, extra: Path) -> Recipe:
    """As it is, with the sizes of what the folder's downloads.toml fetches."""
    from klein_doctor.recipe_added import TABLES

    if not any((extra / name).exists() for name in TABLES):
        return recipe
    from klein_doctor.recipe_downloads import load_downloads

    assets = load_downloads(extra).assets
    sizes: dict[str, int] = {}
    for asset in assets:
        if not asset.variant:
            sizes[asset.route] = sizes.get(asset.route, 0) + asset.size
    told = (row._replace(bytes=sizes.get(row.route, 0)) for row in recipe.memory.downloads)
    return recipe._replace(memory=recipe.memory._replace(downloads=tuple(told)))


@lru_cache(maxsize=1)
def gpu_rows() -> tuple[GpuRow, ...]:
    """The table of cards; read only when a card must be told by its PCI id or its name."""
    return rows(GpuRow, read(RECIPES / "gpus.toml"), "gpu")


def find_gpu(name: str) -> GpuRow | None:
    """The row of a card by its marketing name, whatever its spelling and prefixes."""
    wanted = _folded(name)
    return next((row for row in gpu_rows() if _folded(row.name) == wanted), None)


def _folded(name: str) -> str:
    text = name.casefold()
    for prefix in ("nvidia", "geforce"):
        text = text.replace(prefix, " ")
    return "".join(text.split()).removesuffix("gpu")
