"""Which of NVML's GPUs a CUDA program would see, and which one the model would run on.

NVML ignores CUDA_VISIBLE_DEVICES and counts along the PCI bus; CUDA counts the fastest card first
unless CUDA_DEVICE_ORDER says PCI_BUS_ID. Only identifiers (UUIDs) mean the same card to both.
Rules: CUDA C++ programming guide, "CUDA environment variables"; for lists of mixed, repeated or
odd entries torch/cuda/__init__.py, _parse_visible_devices, which does as the driver does.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from klein_doctor.card import strength
from klein_doctor.exits import UsageError
from klein_doctor.model import (
    Environment,
    Fact,
    Gpu,
    Known,
    MigInstance,
    Nvml,
    Unknown,
    Visible,
)
from klein_doctor.values import printable


class SelectorError(UsageError):
    """``--gpu`` names no GPU of this machine."""


class _Named(NamedTuple):
    """What an entry of a device list stands for: a GPU and perhaps one slice of it."""

    nvml_index: int
    mig: MigInstance | None = None


def read_visible(nvml: Fact[Nvml], env: Environment, selector: str) -> Fact[Visible]:
    """Resolve the device list and the chosen GPU.

    Raises:
        SelectorError: the selector is neither an index nor the start of an identifier here.
    """
    if isinstance(nvml, Unknown):
        return nvml
    gpus = nvml.value.gpus
    if not gpus:
        return Unknown("NVML (the driver's query library) shows no GPU")
    order, certain = cuda_order(gpus, env.cuda_device_order)
    listed = env.cuda_visible_devices
    entries, problem = _listed(gpus, order, None if listed is None else listed.real)
    if selector:
        chosen = _select(gpus, selector)
        return Known(
            Visible(
                tuple(e.nvml_index for e in entries),
                certain,
                problem,
                chosen.nvml_index,
                "--gpu",
                chosen.mig,
            )
        )
    first = entries[0] if entries else None
    return Known(
        Visible(
            order=tuple(entry.nvml_index for entry in entries),
            certain=certain,
            problem=problem,
            chosen=None if first is None else first.nvml_index,
            chosen_by="first" if listed is None else "CUDA_VISIBLE_DEVICES",
            mig=None if first is None else first.mig,
        )
    )


def cuda_order(gpus: tuple[Gpu, ...], device_order: str | None) -> tuple[tuple[int, ...], bool]:
    """CUDA's own order of the GPUs as NVML indices, and whether that is certain."""
    by_bus = tuple(gpu.nvml_index for gpu in gpus)
    if device_order == "PCI_BUS_ID" or len({strength(gpu) for gpu in gpus}) <= 1:
        return by_bus, True
    # CUDA does not publish how it ranks speed: generation, then memory, is an approximation.
    ranked = sorted(gpus, key=lambda gpu: (tuple(-part for part in strength(gpu)), gpu.nvml_index))
    return tuple(gpu.nvml_index for gpu in ranked), False


def _listed(
    gpus: tuple[Gpu, ...], order: tuple[int, ...], text: str | None
) -> tuple[list[_Named], str]:
    if text is None:
        return [_Named(index) for index in order], ""
    if not text.strip():
        return [], "is set but empty"
    found: list[_Named] = []
    entries = [part.strip() for part in text.split(",")]
    kind = _kind(entries[0])
    for entry in entries:
        if _kind(entry) not in (kind, ""):
            # The first entry decides: numbers, GPU or MIG identifiers; another kind ends the list.
            return found, "mixes numbers and identifiers, which ends the list"
        named = _entry(gpus, order, entry)
        if named is None:
            # CUDA stops at the first entry it cannot resolve and ignores the rest.
            return found, _why(entry, len(gpus))
        if named in found:
            return [], "names a device twice, which hides all"
        found.append(named)
    return found, ""


def _kind(entry: str) -> str:
    """``GPU-``, ``MIG-``, ``0`` for a number, "" for what is none of them."""
    return entry[:4] if entry.startswith(("GPU-", "MIG-")) else "0" if _number(entry) else ""


def _number(entry: str) -> re.Match[str] | None:
    """The number an entry begins with: CUDA reads like C's strtoul, ``1gpu`` is 1."""
    return re.match(r"\+?0*([0-9]+)", entry)


def _entry(gpus: tuple[Gpu, ...], order: tuple[int, ...], entry: str) -> _Named | None:
    number = _number(entry)
    if number:
        place = int(number.group(1)[:9])
        return _Named(order[place]) if place < len(order) else None
    return _by_uuid(gpus, entry)


def _by_uuid(gpus: tuple[Gpu, ...], entry: str) -> _Named | None:
    """What an identifier, or the start of one, names; None where that is not exactly one."""
    if not entry.startswith(("GPU-", "MIG-")) or len(entry) == 4:
        return None
    start = entry.casefold()
    found = [_Named(g.nvml_index) for g in gpus if g.uuid.real.casefold().startswith(start)]
    found += [
        _Named(gpu.nvml_index, mig)
        for gpu in gpus
        for mig in gpu.mig_instances
        if mig.uuid.real.casefold().startswith(start)
    ]
    return found[0] if len(found) == 1 else None


def _why(entry: str, count: int) -> str:
    if entry.startswith("-") and entry[1:].isdigit():
        return "contains a negative number, which ends the list"
    number = _number(entry)
    if number:
        return f"names device {number.group(1)[:9]}, but there are {count} (counted from 0)"
    if entry.startswith(("GPU-", "MIG-")):
        return "names an identifier that no GPU here has"
    return "contains an entry that is neither a number nor a GPU identifier"


def _select(gpus: tuple[Gpu, ...], selector: str) -> _Named:
    if selector.isascii() and selector.isdigit():
        place = int(selector.lstrip("0")[:9] or 0)
        if place < len(gpus):
            return _Named(gpus[place].nvml_index)
    else:
        named = _by_uuid(gpus, selector)
        if named is not None:
            return named
    known = ", ".join(str(gpu.nvml_index) for gpu in gpus)
    shown = printable(selector, 80)
    raise SelectorError(f"--gpu {shown}: no such GPU; nvidia-smi counts {known} here")
