"""Facts of a card that is not here, from its recipe row: for image builds and rehearsals."""

from __future__ import annotations

import re
from typing import NamedTuple

from klein_doctor import recipe as recipes
from klein_doctor.exits import UsageError
from klein_doctor.model import Facts, Gpu, Known, Nvml, Private, Unknown, Visible

_ASSUMED = Unknown("assumed card: not measured")
_SYSTEMS = ("linux", "windows")


class AssumeError(UsageError):
    """The text after --assume names no card, or no driver."""


class Assumption(NamedTuple):
    """A card's row, the driver version text, and the operating system ("" for this one's)."""

    row: recipes.GpuRow
    driver: str
    os: str


def parse(text: str) -> Assumption:
    """Read ``CARD,driver=N[,os=linux|windows]``.

    Raises:
        AssumeError: one line that says which part is wrong and what is known.
    """
    name, *rest = [part.strip() for part in text.split(",")]
    settings = dict(part.split("=", 1) for part in rest if "=" in part)
    strange = [part for part in rest if part.split("=", 1)[0] not in ("driver", "os")]
    if strange:
        raise AssumeError(f"--assume: {strange[0]!r} is neither driver=N nor os=NAME")
    row = recipes.find_gpu(name)
    if row is None:
        raise AssumeError(f"--assume: no card called {name!r} in the table{_nearest(name)}")
    driver = settings.get("driver", "")
    if not re.fullmatch(r"[0-9]{3}(\.[0-9]{1,4}){0,2}", driver):
        raise AssumeError("--assume: give the driver as driver=580 or driver=580.95.05")
    system = settings.get("os", "").lower()
    if system and system not in _SYSTEMS:
        raise AssumeError(f"--assume: os is one of {', '.join(_SYSTEMS)}")
    return Assumption(row, driver, system)


def apply(facts: Facts, assumption: Assumption, recipe: recipes.Recipe) -> Facts:
    """The facts with the assumed card in place of what the machine's driver says."""
    gpu = Gpu(
        nvml_index=0,
        name=Known(_full_name(assumption.row.name)),
        uuid=Private.plain(""),
        compute_capability=Known(recipes.pair(assumption.row.compute_capability)),
        total_bytes=_memory(assumption.row),
        reserved_bytes=_ASSUMED,
        used_bytes=_ASSUMED,
        free_bytes=_ASSUMED,
        display_active=_ASSUMED,
        compute_mode=Known("default"),
        mig_enabled=Known(False),
        mig_instances=(),
        processes=_ASSUMED,
        driver_model=_ASSUMED,
        fault="",
    )
    nvml = Nvml(
        outcome="ok",
        stage="assumed",
        detail="",
        driver=Known(assumption.driver),
        cuda=_cuda_of(assumption.driver, recipe),
        cuda_library=Known("loaded"),
        gpus=(gpu,),
    )
    system = facts.system
    if assumption.os and isinstance(system, Known):
        here = system.value
        if here.os != assumption.os:
            here = here._replace(os=assumption.os, distribution="", release="", wsl=0)
        system = Known(here)
    return facts._replace(
        system=system,
        kernel=Unknown("assumed card: this machine's kernel says nothing about it"),
        nvml=Known(nvml),
        visible=Known(Visible((0,), True, "", 0, "first", None)),
    )


def _full_name(name: str) -> str:
    geforce = re.match(r"(RTX|GTX) \d{3,4}\b", name)
    return f"NVIDIA GeForce {name}" if geforce else f"NVIDIA {name}"


def _memory(row: recipes.GpuRow) -> Known[int] | Unknown:
    if len(row.memory_gib) == 1:
        return Known(row.memory_gib[0] << 30)
    return Unknown("this card was sold with several memory sizes")


def _cuda_of(driver: str, recipe: recipes.Recipe) -> Known[tuple[int, int]] | Unknown:
    """The newest CUDA release the driver branch came with."""
    branch = int(driver.split(".", 1)[0])
    paired = [r.cuda for r in recipe.cuda_paired if int(r.driver.split(".", 1)[0]) <= branch]
    if not paired:
        return Unknown("the driver is older than the table")
    return Known(max(recipes.pair(cuda) for cuda in paired))


def _nearest(name: str) -> str:
    import difflib

    rows = {row.name.casefold(): row.name for row in recipes.gpu_rows()}
    close = difflib.get_close_matches(name.casefold(), rows, n=3, cutoff=0.5)
    return f"; near it: {', '.join(rows[key] for key in close)}" if close else ""
