"""Runs kernels of the target's torch and compares them with an FP32 reference.

Read as text and given to the target's Python (3.9 or newer) on standard input, followed by one
JSON line, so it uses the standard library and torch alone:

    {"device": "cuda" or "cpu", "kernels": [...], "imports": [...], "fp8_from": [8, 9],
     "need_mib": what must be free once the context is there, "longest_s": when to end by itself}

Standard output: JSON lines, each sent at once:

    {"stage": "import"}         before all that could hang or crash: import, context, each kernel
                                by its name, each package as "import NAME"
    {"torch": "2.14.1+cu130"}
    {"card": {"name", "capability"}}
    {"attention": "flash"}      the kernel that scaled_dot_product_attention picks
    {"kernel": {"name", "outcome": "ran", "error", "unsupported" or "memory", "error", "seconds",
                "says"}}        error: relative, null where the result is not finite
    {"package": {"name", "outcome": "ok" or "error", "seconds", "says"}}
    {"end": {"outcome": "import-failed", "no-cuda" or "no-memory", "says"}}
    {"spoilt": true}            CUDA is of no use any more in this process: the rest needs another
    {"done": true}
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import importlib.util
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

_LONGEST = 1000
_HEADS, _TOKENS, _HEAD_DIM = 24, 256, 128  # Klein's attention over a short text
_WIDTH = 3072  # Klein's
_CHANNELS, _GROUPS, _SIDE = 128, 32, 64  # the VAE's last blocks, over a small picture
_PICKED = {0: "math", 1: "flash", 2: "efficient", 3: "cudnn"}
_ALONE = {
    "attention flash": "FLASH_ATTENTION",
    "attention efficient": "EFFICIENT_ATTENTION",
    "attention cudnn": "CUDNN_ATTENTION",
    "attention math": "MATH",
}
_NO_KERNEL = ("no available kernel", "no viable backend", "invalid backend")
Call = Callable[[], Any]
Pair = tuple[Call, Call]


class Unsupported(Exception):
    """This card or this torch does not offer the kernel."""


class Channel:
    """Standard output, kept for us alone: what torch and its libraries print goes to stderr."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def say(self, **line: object) -> None:
        self._stream.write(json.dumps(line).encode("ascii") + b"\n")
        self._stream.flush()


class Kernels:
    """What is tried. Each gives how to run it on the device, and how to make its reference."""

    def __init__(
        self, torch: Any, device: str, capability: tuple[int, int], fp8_from: tuple[int, int]
    ) -> None:
        self._torch = torch
        self._device = device
        self._fp8 = device == "cuda" and capability >= fp8_from
        self._random = torch.Generator().manual_seed(20251122)

    def named(self, name: str) -> Pair:
        if name in _ALONE:
            return self.attention(_ALONE[name])
        known = {
            "bf16 matmul": self.matmul,
            "attention": self.attention,
            "convolution": self.convolution,
            "fp8 matmul": self.fp8_matmul,
        }
        return known[name]()

    def _given(self, *shape: int) -> Any:
        """Random BF16 numbers on the CPU."""
        numbers = self._torch.randn(shape, generator=self._random)
        return numbers.to(self._torch.bfloat16)

    def _there(self, *tensors: Any) -> Any:
        return [tensor.to(self._device) for tensor in tensors]

    def matmul(self) -> Pair:
        left, right = self._given(256, _WIDTH), self._given(_WIDTH, 1024)

        def run() -> Any:
            a, b = self._there(left, right)
            return a @ b

        return run, lambda: left.float() @ right.float()

    def attention(self, alone: str = "") -> Pair:
        functional = self._torch.nn.functional
        given = [self._given(1, _HEADS, _TOKENS, _HEAD_DIM) for _ in range(3)]

        def run() -> Any:
            with self._only(alone):
                return functional.scaled_dot_product_attention(*self._there(*given))

        def reference() -> Any:
            q, k, v = (tensor.float() for tensor in given)
            return self._torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(_HEAD_DIM), -1) @ v

        return run, reference

    def _only(self, name: str) -> Any:
        """A context in which attention may pick the one kernel; any, without a name."""
        if not name:
            return contextlib.nullcontext()
        module = importlib.import_module("torch.nn.attention")
        backend = getattr(module.SDPBackend, name, None)
        if backend is None:
            raise Unsupported("this torch has no such kernel")
        return module.sdpa_kernel(backend)

    def picked(self) -> str:
        """The attention kernel torch would pick, "" where it does not tell."""
        given = self._there(*(self._given(1, _HEADS, _TOKENS, _HEAD_DIM) for _ in range(3)))
        return _PICKED.get(int(self._torch._fused_sdp_choice(*given)), "")

    def convolution(self) -> Pair:
        functional = self._torch.nn.functional
        image = self._given(1, _CHANNELS, _SIDE, _SIDE)
        weight = self._given(_CHANNELS, _CHANNELS, 3, 3) / math.sqrt(9 * _CHANNELS)
        scale, shift = self._given(_CHANNELS), self._given(_CHANNELS)

        def apply(x: Any, w: Any, s: Any, b: Any) -> Any:
            x = functional.conv2d(x, w, padding=1)
            return functional.silu(functional.group_norm(x, _GROUPS, s, b, 1e-6))

        def run() -> Any:
            return apply(*self._there(image, weight, scale, shift))

        return run, lambda: apply(image.float(), weight.float(), scale.float(), shift.float())

    def fp8_matmul(self) -> Pair:
        """With one scale per matrix; the second matrix lies by columns, as the kernel wants it."""
        torch = self._torch
        kind = getattr(torch, "float8_e4m3fn", None)
        if not self._fp8 or kind is None or not hasattr(torch, "_scaled_mm"):
            raise Unsupported("this card or this torch multiplies no FP8")
        left, right = self._given(256, _WIDTH).to(kind), self._given(1024, _WIDTH).to(kind)
        scale_left, scale_right = torch.tensor(0.25), torch.tensor(0.5)

        def run() -> Any:
            a, b, s, t = self._there(left, right, scale_left, scale_right)
            found = torch._scaled_mm(a, b.t(), scale_a=s, scale_b=t, out_dtype=torch.bfloat16)
            return found[0] if isinstance(found, tuple) else found  # a pair before torch 2.5

        return run, lambda: left.float() @ right.float().t() * 0.125


def first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:_LONGEST]


def words(error: BaseException) -> str:
    """An exception in one line: its kind and the first line of its message."""
    said = first_line(str(error))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def out_of_memory(error: BaseException) -> bool:
    return "out of memory" in str(error).lower()


def close(torch: Any, found: Any, wanted: Any) -> float | None:
    """The relative error, None where the result is not finite or has another shape."""
    found = found.to("cpu").float()
    if found.shape != wanted.shape or not bool(torch.isfinite(found).all()):
        return None
    return float(torch.linalg.vector_norm(found - wanted) / torch.linalg.vector_norm(wanted))


def why_not(told: list[Any], error: BaseException) -> str:
    """Why an attention kernel was not to be had: torch says so in warnings."""
    for each in told:
        said = first_line(str(each.message).split("(Triggered internally")[0])
        if said and not said.endswith("because:") and "runtime disabled" not in said:
            return said
    return words(error)


def try_kernel(torch: Any, kernels: Kernels, name: str) -> dict[str, object]:
    """Run one kernel; whatever goes wrong is told."""
    began = time.perf_counter()
    told: list[Any] = []
    try:
        with torch.inference_mode(), warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            run, reference = kernels.named(name)
            found = run().to("cpu")
            seconds = time.perf_counter() - began
            error = close(torch, found, reference())
        return {"name": name, "outcome": "ran", "error": error, "seconds": seconds, "says": ""}
    except Unsupported as reason:
        outcome, says = "unsupported", str(reason)
    except Exception as error:
        refused = name in _ALONE and any(text in str(error).lower() for text in _NO_KERNEL)
        outcome, says = ("unsupported", why_not(told, error)) if refused else ("error", "")
        outcome = "memory" if out_of_memory(error) else outcome
        says = says or words(error)
    seconds = time.perf_counter() - began
    return {"name": name, "outcome": outcome, "error": None, "seconds": seconds, "says": says}


def spoilt(torch: Any, device: str) -> bool:
    """Whether CUDA refuses all further work, as it does after some errors."""
    try:
        if device == "cuda":
            torch.cuda.synchronize()
    except Exception:
        return True
    return False


def load_torch(channel: Channel) -> Any:
    """torch, None where it does not load (which is told)."""
    channel.say(stage="import")
    try:
        torch = importlib.import_module("torch")
        importlib.import_module("torch.nn.functional")
        importlib.import_module("torch.cuda")
        channel.say(torch=str(torch.__version__)[:_LONGEST])
        return torch
    except BaseException as error:  # a module may also call sys.exit
        channel.say(end={"outcome": "import-failed", "says": words(error)})
        return None


def open_card(channel: Channel, torch: Any, job: dict[str, Any]) -> tuple[int, int] | None:
    """The device's compute capability; None where it does not start or is full (which is told)."""
    channel.say(stage="context")
    if job["device"] != "cuda":
        channel.say(card={"name": "cpu", "capability": [0, 0]})
        return 0, 0
    try:
        torch.cuda.init()
        major, minor = torch.cuda.get_device_capability(0)
        channel.say(card={"name": torch.cuda.get_device_name(0), "capability": [major, minor]})
        torch.empty(1, device="cuda")  # runs no kernel: a build without the card's code gets past
        free = torch.cuda.mem_get_info(0)[0] >> 20
    except BaseException as error:
        outcome = "no-memory" if out_of_memory(error) else "no-cuda"
        channel.say(end={"outcome": outcome, "says": words(error)})
        return None
    if free < job["need_mib"]:
        says = f"{free} MiB of the card are free beside CUDA's own; {job['need_mib']} are needed"
        channel.say(end={"outcome": "no-memory", "says": says})
        return None
    return major, minor


def run_kernels(channel: Channel, torch: Any, job: dict[str, Any]) -> bool:
    """Whether the next may go on in this process."""
    capability = open_card(channel, torch, job)
    if capability is None:
        return False
    kernels = Kernels(torch, job["device"], capability, tuple(job["fp8_from"]))
    for name in job["kernels"]:
        channel.say(stage=name)
        if name == "attention":
            with contextlib.suppress(Exception):
                channel.say(attention=kernels.picked())
        found = try_kernel(torch, kernels, name)
        channel.say(kernel=found)
        if found["outcome"] in ("error", "memory") and spoilt(torch, job["device"]):
            channel.say(spoilt=True)
            return False
    return True


def import_package(channel: Channel, name: str) -> None:
    """Import a package if it is installed, and tell how it went."""
    channel.say(stage=f"import {name}")
    began = time.perf_counter()
    outcome, says = "ok", ""
    try:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # a folder that only other packages use
            return
        importlib.import_module(name)
    except BaseException as error:
        outcome, says = "error", words(error)
    seconds = time.perf_counter() - began
    channel.say(package={"name": name, "outcome": outcome, "seconds": seconds, "says": says})


def crash_quietly() -> None:
    """No core file and no dialog box if a library takes us down."""
    if sys.platform == "win32":
        ctypes = importlib.import_module("ctypes")
        ctypes.windll.kernel32.SetErrorMode(0x0001 | 0x0002 | 0x8000)
        return
    try:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    except (ImportError, OSError, ValueError):
        pass


def main() -> None:
    channel = Channel()
    job = json.loads(sys.stdin.buffer.readline())
    # Whoever started us may be killed: then nobody else would end what hangs.
    faulthandler.dump_traceback_later(job["longest_s"], exit=True)
    crash_quietly()
    torch = load_torch(channel)
    if torch is not None and (not job["kernels"] or run_kernels(channel, torch, job)):
        for name in job["imports"]:
            import_package(channel, name)
        channel.say(done=True)
    os._exit(0)  # skip the libraries' own clean-up, which can hang or crash as well


if __name__ == "__main__":
    main()
