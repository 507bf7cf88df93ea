"""What running the model takes: memory plans, disk, RAM, as rows of ``recipes/memory.toml``.

All sizes in MiB unless the name says bytes.
"""

from pathlib import Path
from typing import NamedTuple

from klein_doctor.rows import RecipeError, read, rows

ROUTES = ("comfyui", "diffusers")


class Working(NamedTuple):
    """What a stage needs beyond its weights, for a square picture of so many pixels a side."""

    pixels: int
    encode_mib: int
    denoise_mib: int
    decode_mib: int
    source: str
    as_of: str


class Context(NamedTuple):
    """What lies outside torch's allocator, and what casting a stored FP8 weight up takes more."""

    mib: int
    fp8_extra_mib: int
    measured_on: str
    source: str
    as_of: str


class Plan(NamedTuple):
    """One way of running the model; the file says what each field means."""

    id: str
    route: str
    name: str
    how: str
    encode_mib: int
    denoise_mib: int
    decode_mib: int
    fp8: bool
    floor_mib: int
    died_mib: int
    ram_mib: int
    mapped_mib: int
    warm_ms: int
    attention: str
    peak_unconstrained_mib: int
    sure: str
    measured_on: str
    source: str
    as_of: str


class SpeedClass(NamedTuple):
    """How ComfyUI gets along from so much free memory on."""

    free_mib: int
    says: str
    source: str
    as_of: str


class FusedAttention(NamedTuple):
    """The compute capability from which a fused attention kernel for BF16 exists."""

    min_capability: str
    source: str
    as_of: str


class Desktop(NamedTuple):
    """What a desktop holds ordinarily, and the names of the programs that draw it."""

    normal_mib: int
    processes: tuple[str, ...]
    source: str
    as_of: str


class Figure(NamedTuple):
    """A figure in circulation beside the measured one."""

    route: str
    said: str
    measured: str
    said_source: str
    source: str
    as_of: str


class Download(NamedTuple):
    """What a route downloads in all."""

    route: str
    bytes: int
    what: str
    source: str
    as_of: str


class Room(NamedTuple):
    """The least free space that is not a fault, and the longest path Windows takes."""

    bytes: int
    longest_path: int
    source: str
    as_of: str


class MemoryRules(NamedTuple):
    """The tables of ``memory.toml``."""

    as_of: str
    working: tuple[Working, ...]
    context: Context
    plans: tuple[Plan, ...]
    speed_classes: tuple[SpeedClass, ...]
    fused_attention: FusedAttention
    desktop: Desktop
    figures: tuple[Figure, ...]
    downloads: tuple[Download, ...]
    room: Room


def load_memory(folder: Path) -> MemoryRules:
    """Read the tables.

    Raises:
        RecipeError: naming the file and row that is not what it should be.
    """
    data = read(folder / "memory.toml")
    plans, working = rows(Plan, data, "plan"), rows(Working, data, "working")
    sizes = [row.pixels for row in working]
    if sizes != sorted(set(sizes)):
        raise RecipeError("recipe memory.toml: [[working]] rows do not rise by pixels")
    for plan in plans:
        if plan.route not in ROUTES or plan.attention not in ("any", "fused", "math"):
            raise RecipeError(f"recipe memory.toml: plan {plan.id}: unknown route or attention")
        if plan.floor_mib <= 0 and min(plan.encode_mib, plan.denoise_mib, plan.decode_mib) < 0:
            raise RecipeError(f"recipe memory.toml: plan {plan.id}: neither stages nor a floor")
    return MemoryRules(
        as_of=str(data.get("as_of", "")),
        working=working,
        context=rows(Context, data, "context")[0],
        plans=plans,
        speed_classes=rows(SpeedClass, data, "speed_class"),
        fused_attention=rows(FusedAttention, data, "fused_attention")[0],
        desktop=rows(Desktop, data, "desktop")[0],
        figures=rows(Figure, data, "figure"),
        downloads=rows(Download, data, "download"),
        room=rows(Room, data, "room")[0],
    )
