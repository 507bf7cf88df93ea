"""Readers of messages about the driver's and the memory's numbers."""

from __future__ import annotations

import re

from klein_doctor.triage.frames import attention_in, raised_in
from klein_doctor.triage.values import Say, Seen

_NUMBER = r"([\d.]{1,12}) ?([kmgt])i?b"
_WANT = re.compile(rf"tried to allocate {_NUMBER}")
_TOTAL = re.compile(
    rf"total capacity of {_NUMBER}|{_NUMBER} total capacity|total memory\W{{1,4}}{_NUMBER}"
)
_FREE = re.compile(rf"of which {_NUMBER} is free|{_NUMBER} (?:is )?free")
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_GIB = 1 << 30
_SPARE = 1.5  # times what was asked for, and one GiB, is more than fragments can explain
_SIGNS_OF_LOADING = re.compile(
    r"requested to load|got prompt|loading|model weight dtype|loaded (?:compl|part)|\d+%\|"
)


def gpu_memory(seen: Seen) -> Say | None:
    """Out of memory: with the numbers, where it may be none at all or a card that is too small."""
    around = seen.text.near(seen.number, 2, 4)
    if re.search(r"mps backend|hip out of memory|xpu out of memory", around):
        return Say(())
    want, total, free = (_bytes(pattern, around) for pattern in (_WANT, _TOTAL, _FREE))
    if want and free and free > _SPARE * want + _GIB:
        return _not_memory(seen, want, free)
    if total and total < _least_memory():
        return Say(
            ("vram-too-small", "vram-busy"),
            f"The card has {total / _GIB:.1f} GiB, less than any way of running this model takes.",
            "Use a card with 4 GB or more.",
        )
    if not total:
        return None
    left = f", of which {free / _GIB:.1f} GiB were free" if free is not None else ""
    asked = f" when {want / _GIB:.2f} GiB were asked for" if want else ""
    return Say(
        ("vram-busy", "vram-too-small"),
        f"The card's memory ({total / _GIB:.1f} GiB{left}) did not suffice{asked}.",
    )


def _not_memory(seen: Seen, want: int, free: int) -> Say:
    around = seen.text.near(seen.number, 80, 40)
    package = raised_in(seen) or attention_in(around)
    whose = package or "an attention package (SageAttention, flash-attn, xformers)"
    return Say(
        ("attention-extension-broken", "attention-extension-lacks-arch", "ram-too-small"),
        f"Memory is not what is missing: {want / _GIB:.2f} GiB were asked for and "
        f"{free / _GIB:.1f} GiB were free. A kernel that was built for another PyTorch or card "
        f"leaves CUDA in such a state: {whose}. On Windows a full page file does the same.",
        "Run without it: take --use-sage-attention and the like out, uninstall the package.",
        "high" if package else "medium",
    )


def _least_memory() -> int:
    from klein_doctor.recipe_memory import load_memory
    from klein_doctor.rows import RECIPES

    return min(plan.floor_mib for plan in load_memory(RECIPES).plans if plan.floor_mib) << 20


def _bytes(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(text)
    if found is None:
        return None
    number, unit = [group for group in found.groups() if group][:2]
    try:
        return int(float(number) * _UNITS[unit])
    except ValueError:
        return None


def ram(seen: Seen) -> Say | None:
    """A loader's block that must be static is no matter of RAM."""
    return Say(()) if "static tls" in seen.line.lower() else None


def killed(seen: Seen) -> Say | None:
    """A build that was stopped, or a process that somebody ended, says nothing of this model."""
    return Say(()) if re.search(r"killed by user|keyboardinterrupt", seen.line.lower()) else None


def not_writable(seen: Seen) -> Say | None:
    """What pip may not replace is a matter of the packages, a port none of folders."""
    other = "site-packages" in seen.line or re.search(r"\bbind\b|port \d", seen.line.lower())
    return Say(()) if other else None


def silent_end(seen: Seen) -> Say | None:
    """The window waits for a key: telling only where loading was the last thing said."""
    above = seen.text.near(seen.number, 12)
    if re.search(r"error|exception|traceback|not found|no module", above):
        return Say(())
    return None if _SIGNS_OF_LOADING.search(above) else Say(())


def partly_loaded(seen: Seen) -> Say | None:
    """Usual where memory is managed; it explains something only where nothing else is wrong."""
    return Say(()) if seen.text.holds("error", "exception", "traceback") else None


# --- the driver's numbers --------------------------------------------------------------------


def driver_version(seen: Seen) -> Say | None:
    """``found version 12080`` is the CUDA release the driver offers: 12.8."""
    number = int(seen.groups["number"])
    offered = f"{number // 1000}.{number % 1000 // 10}"
    return Say(
        ("driver-too-old",),
        f"The driver offers CUDA {offered}; this PyTorch was built for a newer one.",
    )


_CODES = {
    35: ("driver-too-old", "the driver is older than PyTorch's CUDA"),
    100: ("gpu-not-found", "there is no card in reach"),
    101: ("gpu-hidden", "CUDA_VISIBLE_DEVICES names a card that is not here"),
    802: ("driver-broken", "the driver is not ready (on servers with NVSwitch its fabric manager)"),
    803: ("driver-library-mismatch", "the driver's library and its kernel module differ"),
    804: ("driver-broken", "the container's CUDA is newer than the driver, and this card has no "
          "forward compatibility"),
    999: ("driver-broken", "an unknown error of the driver"),
}  # fmt: skip


def device_count(seen: Seen) -> Say | None:
    """The number behind the message is CUDA's error code."""
    found = _CODES.get(int(seen.groups.get("number", 0)))
    if found is None:
        return None
    return Say((found[0],), f"CUDA does not start: {found[1]}.", certainty="high")


def no_gpus(seen: Seen) -> Say | None:
    """The variable named in the text makes it certain."""
    if seen.text.holds("cuda_visible_devices=", "cuda_visible_devices ", 'cuda_visible_devices"'):
        return Say(("gpu-hidden", "gpu-not-found"), certainty="high")
    return Say(seen.row.checks, certainty="medium")
