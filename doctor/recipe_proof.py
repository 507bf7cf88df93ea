"""The kernel proof as rows of ``recipes/proof.toml``; read only where one is made or has failed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from klein_doctor.recipe import CapabilityFloor, pair
from klein_doctor.rows import RECIPES, RecipeError, read, rows

STAGES = ("start", "import", "context", "kernel", "extension")


class Limit(NamedTuple):
    """Seconds a stage may take."""

    stage: str
    seconds: int
    source: str
    as_of: str


class Need(NamedTuple):
    """Free memory of the card in MiB: before anything starts, and once CUDA has its context."""

    free_mib: int
    after_context_mib: int
    measured_on: str
    source: str
    as_of: str


class Kernel(NamedTuple):
    """A kernel that is tried; the file says what each field means."""

    name: str
    required: bool
    on_cpu: bool
    tolerance: str
    means: str
    source: str
    as_of: str


class ProofRules(NamedTuple):
    """The tables. fp8_from: the compute capability from which the card multiplies FP8."""

    limits: tuple[Limit, ...]
    need: Need
    kernels: tuple[Kernel, ...]
    fp8_from: tuple[int, int]

    def kernel(self, name: str) -> Kernel | None:
        """The row of a kernel, None for one that this recipe does not have."""
        return next((row for row in self.kernels if row.name == name), None)


@lru_cache(maxsize=1)
def load_proof(folder: Path = RECIPES) -> ProofRules:
    """Read the tables.

    Raises:
        RecipeError: naming the row that is not what it should be.
    """
    data = read(folder / "proof.toml")
    found = ProofRules(
        limits=rows(Limit, data, "limit"),
        need=rows(Need, data, "need")[0],
        kernels=rows(Kernel, data, "kernel"),
        fp8_from=pair(
            rows(CapabilityFloor, read(folder / "driver.toml"), "capability_floor")[0].fp8_from
        ),
    )
    if sorted(row.stage for row in found.limits) != sorted(STAGES):
        raise RecipeError("recipe proof.toml: [[limit]] needs one row for each stage")
    for row in found.kernels:
        try:
            float(row.tolerance)
        except ValueError as error:
            raise RecipeError(f"recipe proof.toml: {row.name}: tolerance is no number") from error
    return found
