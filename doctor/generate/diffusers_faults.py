"""What ended a worker of the diffusers route, in a short name and a sentence."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import NamedTuple

# Phase: what was going on, and what takes the memory of the card in it.
_DOING = {
    "start": ("torch and diffusers were imported", ""),
    "load": ("the model was loaded", ""),
    "place": ("the weights were put on the card", "the weights did not fit"),
    "encode": ("the prompt was read", "the text encoder did not fit"),
    "denoise": ("the picture was drawn", "the transformer did not fit"),
    "decode": ("the picture was decoded", "the VAE's work did not fit"),
    "save": ("the picture was saved", ""),
}
_CRASHES = ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT", "SIGTRAP")
# Windows: access violation, stack overflow, heap corruption, failed fast, illegal instruction.
_WINDOWS_CRASHES = (0xC0000005, 0xC00000FD, 0xC0000374, 0xC0000409, 0xC000001D)


class Ending(NamedTuple):
    """How a worker ended.

    ours: why the doctor ended it, "" where it ended by itself. status: its exit status, negative
    for a signal. stage: the last phase begun. error: what it said itself. tail: its log's end.
    """

    ours: str
    status: int | None
    stage: str
    error: dict[str, str]
    tail: str
    limit_s: float


def fault_of(ending: Ending, lost: Sequence[str]) -> tuple[str, str]:
    """The kind of generation.Generation, and one line; lost: words after which a card is gone."""
    doing, takes = _DOING.get(ending.stage, ("it ran", ""))
    said = f"{ending.error.get('line', '')}\n{ending.tail}".lower()
    line = ending.error.get("line", "")
    if any(words in said for words in lost):
        return "gpu-lost", f"the card stopped answering while {doing}: {line}".rstrip(": ")
    if ending.ours == "hung":
        return "hung", f"no sign of progress for {ending.limit_s:g} s while {doing}"
    if ending.error:
        return _said_itself(ending.error, doing, takes)
    return _ended(ending.status, doing)


def _said_itself(error: dict[str, str], doing: str, takes: str) -> tuple[str, str]:
    kind, line = error.get("kind", ""), error.get("line", "")
    what = {
        "out-of-memory": "the card's memory ran out",
        "ram-short": "the system's memory (RAM) ran out",
        "disk-full": "the disk is full",
        "import-failed": "a package of the target could not be imported",
        "no-cuda": "this PyTorch sees no card",
        "wrong-folder": "the model's folder is not one that may be loaded",
    }.get(kind)
    if what is None:
        return kind or "error", f"{error.get('type', 'an error')} while {doing}: {line}"
    why = f" ({takes})" if kind == "out-of-memory" and takes else ""
    return kind, f"{what} while {doing}{why}: {line}".rstrip(": ")


def _ended(status: int | None, doing: str) -> tuple[str, str]:
    """It ended without a word."""
    if status is None:
        return "hung", f"it hangs in the system or the driver and cannot be ended, since {doing}"
    if status in (-9, 137):
        why = "as it does when the memory (RAM) runs out"
        return "killed", f"the system ended it (SIGKILL) while {doing}, {why}"
    name = _signal(status)
    if name in _CRASHES or status & 0xFFFFFFFF in _WINDOWS_CRASHES:
        code = name or f"0x{status & 0xFFFFFFFF:08X}"
        return "crashed", f"the target's Python crashed ({code}) while {doing}"
    return "crashed", f"it ended while {doing}, with {name or f'exit code {status}'} and no message"


def _signal(status: int) -> str:
    """The name of the signal in an exit status, "" where there is none."""
    number = -status if status < 0 else status - 128
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""
