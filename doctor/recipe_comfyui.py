"""What ComfyUI needs and what spoils its start, as rows of ``recipes/comfyui.toml``."""

from pathlib import Path
from typing import NamedTuple

from klein_doctor.rows import read, rows


class Floor(NamedTuple):
    """Versions: below ``fails`` no Klein, below ``warns`` a wrong memory estimate."""

    fails: str
    warns: str
    source: str
    as_of: str


class Sign(NamedTuple):
    """What a Klein workflow ends with on versions below."""

    below: str
    says: str
    source: str
    as_of: str


class Essential(NamedTuple):
    """A package without which ComfyUI does not start; pinned: nor with an older one."""

    name: str
    pinned: bool
    source: str
    as_of: str


class HarmfulFlag(NamedTuple):
    """An argument that spoils a run: on cards below so much memory, without a package, or gone."""

    flag: str
    below_vram_mib: int
    package: str
    gone_from: str
    stops: bool
    says: str
    source: str
    as_of: str


class MemoryEngine(NamedTuple):
    """ComfyUI versions whose memory engine ends runs; the file says what each field means."""

    platform: str
    min_capability: str
    min_gpus: int
    max_vram_mib: int
    since: str
    below: str
    needs: str
    avoid: tuple[str, ...]
    says: str
    cure: str
    source: str
    as_of: str


class StaticVram(NamedTuple):
    """Before this version dynamic VRAM is off unless asked for; platform "" is any."""

    platform: str
    below: str
    source: str
    as_of: str


class InstallFrom(NamedTuple):
    """What an installation by hand would check out."""

    url: str
    tag: str
    source: str
    as_of: str


class ComfyRules(NamedTuple):
    """The tables of ``comfyui.toml``."""

    as_of: str
    floor: Floor
    signs: tuple[Sign, ...]
    essential: tuple[Essential, ...]
    harmful_flags: tuple[HarmfulFlag, ...]
    memory_engines: tuple[MemoryEngine, ...]
    static_vram: tuple[StaticVram, ...]
    install: InstallFrom


def load_comfyui(folder: Path) -> ComfyRules:
    """Read the tables.

    Raises:
        RecipeError: naming the file and row that is not what it should be.
    """
    data = read(folder / "comfyui.toml")
    return ComfyRules(
        as_of=str(data.get("as_of", "")),
        floor=rows(Floor, data, "floor")[0],
        signs=rows(Sign, data, "sign"),
        essential=rows(Essential, data, "essential"),
        harmful_flags=rows(HarmfulFlag, data, "harmful_flag"),
        memory_engines=rows(MemoryEngine, data, "memory_engine"),
        static_vram=rows(StaticVram, data, "static_vram"),
        install=rows(InstallFrom, data, "install")[0],
    )
