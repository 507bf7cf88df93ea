"""The card that is judged, put together from what is known of it: pure functions of the facts."""

from __future__ import annotations

from typing import NamedTuple

from klein_doctor import recipe as recipes
from klein_doctor.model import Fact, Facts, Gpu, Known, Unknown

NVIDIA_PCI_VENDOR = "10de"


class Card(NamedTuple):
    """A card by its short name (``RTX 5070``) and compute capability.

    seen_by: ``NVML``, or ``PCI bus`` where no driver answers and only the bus tells.
    """

    name: str
    capability: tuple[int, int]
    seen_by: str

    @property
    def arch(self) -> str:
        """The name compilers give its instruction set: ``sm_120``."""
        return "sm_{}{}".format(*self.capability)


def chosen_gpu(facts: Facts) -> Gpu | None:
    """The GPU the model would run on, None when there is none or it is unknown."""
    if isinstance(facts.nvml, Unknown) or isinstance(facts.visible, Unknown):
        return None
    chosen = facts.visible.value.chosen
    return next((gpu for gpu in facts.nvml.value.gpus if gpu.nvml_index == chosen), None)


def card(facts: Facts) -> Fact[Card]:
    """The card to judge by.

    The chosen GPU; else, hidden or driverless, the strongest NVIDIA card that is in the machine:
    a wrong PyTorch can be named before the driver works.
    """
    gpu = chosen_gpu(facts)
    if gpu is None and isinstance(facts.nvml, Known) and facts.nvml.value.gpus:
        alike = len({each.compute_capability for each in facts.nvml.value.gpus}) == 1
        if isinstance(facts.visible, Unknown) and not alike:
            return facts.visible
        gpu = max(facts.nvml.value.gpus, key=strength)
    if gpu is not None:
        if isinstance(gpu.compute_capability, Unknown):
            return Unknown(f"the card's compute capability: {gpu.compute_capability.reason}")
        return Known(Card(short_name(gpu), gpu.compute_capability.value, "NVML"))
    rows = pci_rows(facts)
    if rows:
        row = max(rows, key=lambda row: recipes.pair(row.compute_capability))
        return Known(Card(row.name, recipes.pair(row.compute_capability), "PCI bus"))
    return Unknown("no NVIDIA card is known to be in this machine")


def pci_rows(facts: Facts) -> list[recipes.GpuRow]:
    """The rows of the NVIDIA cards on the PCI bus that the card table knows."""
    if isinstance(facts.kernel, Unknown):
        return []
    ids = [d.device for d in facts.kernel.value.displays if d.vendor == NVIDIA_PCI_VENDOR]
    if not ids:
        return []
    return [row for row in recipes.gpu_rows() if any(device in row.pci_ids for device in ids)]


def short_name(gpu: Gpu) -> str:
    """``RTX 5070`` for ``NVIDIA GeForce RTX 5070``; ``GPU 0`` where the name is unknown."""
    if isinstance(gpu.name, Unknown):
        return f"GPU {gpu.nvml_index}"
    return gpu.name.value.removeprefix("NVIDIA ").removeprefix("GeForce ")


def strength(gpu: Gpu) -> tuple[int, int, int]:
    """(compute capability major, minor, memory in GiB), what cards are ranked by."""
    capability = gpu.compute_capability
    major, minor = capability.value if isinstance(capability, Known) else (0, 0)
    total = gpu.total_bytes.value if isinstance(gpu.total_bytes, Known) else 0
    return major, minor, round(total / 2**30)
