"""Asks NVML about the GPUs; its own program, so that a hanging or crashing driver ends only it.

Started as ``python -I nvml_child.py``. Standard input: one JSON line ``{"path": [...]}``, what
to append to sys.path. Standard output: JSON lines, each sent at once:

    {"stage": "nvmlInit"}        before every call that could hang or crash
    {"system": {...}}            driver, cuda (13000 for 13.0)
    {"gpu": {"index": 0, ...}}   several per GPU, to be merged; memory in bytes
    {"error": {"code", "text"}}  the survey ended early; -1 where the code is not NVML's
    {"cuda_library": "loaded"}   or why libcuda did not load
    {"done": true}

A value that could not be read is ``{"unknown": reason}``.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import re
import sys
from types import ModuleType

LOAD_CUDA = "load libcuda"
_LOST = (15, 16)
_SENTINEL = (1 << 64) - 1
_MOST_GPUS = 64
_MOST_SLICES = 64
_MOST_PROCESSES = 256
_LONGEST = 256
_COMPUTE_MODES = {0: "default", 1: "exclusive-thread", 2: "prohibited", 3: "exclusive-process"}
_DRIVER_MODELS = {0: "WDDM", 1: "TCC", 2: "MCDM"}
_PROGRAM_END = re.compile(r'\.exe(?=$|[\s"])', re.IGNORECASE)


class Unread:
    """An answer that did not come: why, and NVML's code (-1 where it is not NVML's)."""

    def __init__(self, reason: str, code: int = -1) -> None:
        self.reason = reason[:_LONGEST]
        self.code = code

    def as_json(self) -> dict[str, str]:
        return {"unknown": self.reason}


class Channel:
    """Standard output, kept for us alone: what a driver library prints goes to stderr."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def say(self, **line: object) -> None:
        self._stream.write(json.dumps(line, default=Unread.as_json).encode("ascii") + b"\n")
        self._stream.flush()

    def stage(self, name: str) -> None:
        self.say(stage=name)


class Binding:
    """The pynvml module, old or new."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def call(self, name: str, *args: object) -> object:
        """The function's answer; its errors come through."""
        return _decoded(getattr(self._module, name)(*args))

    def ask(self, name: str, *args: object) -> object:
        """The function's answer, or Unread."""
        if not hasattr(self._module, name):
            return Unread(f"this pynvml has no {name}")
        try:
            return self.call(name, *args)
        except Exception as error:  # NVMLError, or a complaint of the binding itself
            return Unread(f"NVML: {error}", code_of(error))

    def first(self, names: tuple[str, ...], *args: object) -> object:
        """The answer of the first function that has one, else the first one's reason."""
        answers = (self.ask(name, *args) for name in names)
        failed = next(answers)
        if not isinstance(failed, Unread):
            return failed
        return next((answer for answer in answers if not isinstance(answer, Unread)), failed)

    def cuda(self) -> object:
        names = ("nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion")
        return self.first(names)

    def memory(self, handle: object) -> dict[str, object]:
        """Version 2, else version 1, whose `used` includes what the driver reserves."""
        version = getattr(self._module, "nvmlMemory_v2", 0)
        answer = self.ask("nvmlDeviceGetMemoryInfo", handle, version) if version else None
        if answer is None or isinstance(answer, Unread):
            answer = self.ask("nvmlDeviceGetMemoryInfo", handle)
        if isinstance(answer, Unread):
            return dict.fromkeys(("total", "reserved", "used", "free"), answer)
        absent = Unread("memory was reported the old way, without the reserved part")
        return {
            "total": getattr(answer, "total", absent),
            "reserved": getattr(answer, "reserved", absent),
            "used": getattr(answer, "used", absent),
            "free": getattr(answer, "free", absent),
        }

    def named(self, name: str, handle: object, names: dict[int, str]) -> object:
        """An enumeration's value as its name."""
        answer = self.ask(name, handle)
        if not isinstance(answer, int):
            return answer
        return names.get(answer) or Unread(f"value {answer} is not known to the doctor")

    def display(self, handle: object) -> object:
        answer = self.ask("nvmlDeviceGetDisplayActive", handle)
        return bool(answer) if isinstance(answer, int) else answer

    def mig(self, handle: object) -> dict[str, object]:
        """mig: whether the GPU is split now. slices: uuid and total of each part."""
        mode = self.ask("nvmlDeviceGetMigMode", handle)
        if not isinstance(mode, (list, tuple)) or not mode:
            return {"mig": mode, "slices": []}
        return {"mig": bool(mode[0]), "slices": self._slices(handle) if mode[0] else []}

    def _slices(self, handle: object) -> list[dict[str, object]]:
        count = self.ask("nvmlDeviceGetMaxMigDeviceCount", handle)
        found: list[dict[str, object]] = []
        for place in range(min(count, _MOST_SLICES) if isinstance(count, int) else 0):
            part = self.ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, place)
            if isinstance(part, Unread):  # an unoccupied place
                continue
            uuid = self.ask("nvmlDeviceGetUUID", part)
            found.append({"uuid": uuid, "total": self.memory(part)["total"]})
        return found

    def processes(self, handle: object) -> object:
        """Every process once, with the bytes it holds in all of the GPU's slices."""
        held = self.held(handle, ("Compute", "Graphics", "MPSCompute"))
        if isinstance(held, Unread):
            return held
        pids = sorted(held)[:_MOST_PROCESSES]
        return [{"pid": pid, "name": self._name(pid), "used": held[pid]} for pid in pids]

    def held(self, handle: object, kinds: tuple[str, ...]) -> dict[int, object] | Unread:
        """Bytes by process id, from the lists of such kinds; the first of them must be there."""
        found: dict[int, dict[object, object]] = {}
        for kind in kinds:
            name = f"nvmlDeviceGet{kind}RunningProcesses"
            listed = self.first((name, f"{name}_v2"), handle)
            if isinstance(listed, list):
                for entry in listed[:_MOST_PROCESSES]:
                    _count(found, entry)
            elif kind == kinds[0]:
                return listed if isinstance(listed, Unread) else Unread("NVML gave no list")
        return {pid: _sum(parts) for pid, parts in found.items()}

    def _name(self, pid: int) -> str:
        """The program's file name, "" when nothing tells it."""
        answer = self.ask("nvmlSystemGetProcessName", pid)
        found = program(answer) if isinstance(answer, str) else ""
        return (found or _name_from_system(pid))[:_LONGEST]


def code_of(error: Exception) -> int:
    code = getattr(error, "value", -1)
    return code if isinstance(code, int) else -1


def program(text: str) -> str:
    """The file name of a program out of a command line: no folders, no arguments.

    A name that cannot be told from a folder with a blank in it is "", since folders name people.
    """
    text = text.strip()
    if text.startswith('"'):
        text = text[1:].split('"', 1)[0]
    elif "\\" in text:
        end = _PROGRAM_END.search(text)
        text = text[: end.end()] if end else re.split(r" [-/]", text, maxsplit=1)[0]
    elif " " in text:
        first, rest = text.split(" ", 1)
        plain = "/" not in first or "/" not in rest or rest.startswith(("-", "/"))
        text = first if plain else ""
    return re.split(r"[\\/]", text)[-1]


def _name_from_system(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", "rb") as stream:
            return stream.read(_LONGEST).decode("utf-8", "replace").strip()
    except OSError:
        pass
    try:
        return str(importlib.import_module("psutil").Process(pid).name())
    except Exception:  # not installed, no such process, no permission
        return ""


def _count(held: dict[int, dict[object, object]], entry: object) -> None:
    """Note one line of a process list; a process in two lists holds the same bytes in both."""
    pid = getattr(entry, "pid", None)
    used = getattr(entry, "usedGpuMemory", None)
    if not isinstance(pid, int):
        return
    part = (getattr(entry, "gpuInstanceId", None), getattr(entry, "computeInstanceId", None))
    parts = held.setdefault(pid, {})
    before = parts.get(part)
    if isinstance(used, int) and used != _SENTINEL:
        parts[part] = max(used, before) if isinstance(before, int) else used
    else:
        parts.setdefault(part, None)


def _sum(parts: dict[object, object]) -> object:
    numbers = [used for used in parts.values() if isinstance(used, int)]
    if len(numbers) < len(parts):
        return Unread("the driver does not say how much memory this process holds")
    return sum(numbers)


def _decoded(answer: object) -> object:
    """Text out of the bytes that old bindings return."""
    if isinstance(answer, bytes):
        answer = answer.decode("utf-8", "replace")
    return answer[:1024] if isinstance(answer, str) else answer


def survey(channel: Channel) -> None:
    """Import pynvml, ask for the system and for one GPU after the other."""
    channel.stage("import pynvml")
    nvml = Binding(importlib.import_module("pynvml"))
    channel.stage("nvmlInit")
    nvml.call("nvmlInit")
    channel.stage("driver version")
    channel.say(system={"driver": nvml.ask("nvmlSystemGetDriverVersion"), "cuda": nvml.cuda()})
    channel.stage("GPU count")
    count = nvml.call("nvmlDeviceGetCount")
    for index in range(min(count, _MOST_GPUS) if isinstance(count, int) else 0):
        _survey_gpu(channel, nvml, index)


def _survey_gpu(channel: Channel, nvml: Binding, index: int) -> None:
    def stage(name: str) -> None:
        channel.stage(f"GPU {index} {name}")

    def tell(**fields: object) -> None:
        lost = [a for a in fields.values() if isinstance(a, Unread) and a.code in _LOST]
        fault = {"fault": lost[0].reason} if lost else {}
        channel.say(gpu={"index": index, **fields, **fault})

    stage("handle")
    tell()
    handle = nvml.ask("nvmlDeviceGetHandleByIndex", index)
    if isinstance(handle, Unread):
        tell(fault=handle.reason)
        return
    stage("name")
    tell(name=nvml.ask("nvmlDeviceGetName", handle))
    tell(uuid=nvml.ask("nvmlDeviceGetUUID", handle))
    tell(capability=nvml.ask("nvmlDeviceGetCudaComputeCapability", handle))
    stage("memory")
    tell(**nvml.memory(handle))
    stage("display")
    tell(display=nvml.display(handle))
    stage("compute mode")
    tell(mode=nvml.named("nvmlDeviceGetComputeMode", handle, _COMPUTE_MODES))
    stage("MIG")
    tell(**nvml.mig(handle))
    stage("driver model")
    tell(model=nvml.named("nvmlDeviceGetCurrentDriverModel", handle, _DRIVER_MODELS))
    stage("processes")
    tell(processes=nvml.processes(handle))


def load_cuda() -> str:
    """Load the CUDA driver library, never initialise it: that would take memory on the card."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(name)
    except OSError as error:
        return str(error)[:_LONGEST] or f"{name} did not load"
    return "loaded"


def crash_quietly() -> None:
    """No core file and no dialog box if a driver library takes us down."""
    if sys.platform == "win32":
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
    sys.dont_write_bytecode = True
    sys.path += json.loads(sys.stdin.buffer.readline())["path"]
    crash_quietly()
    try:
        survey(channel)
    except Exception as error:
        code = code_of(error)
        text = str(error) if code > 0 else f"{type(error).__name__}: {error}"
        channel.say(error={"code": code, "text": text[:_LONGEST]})
    channel.stage(LOAD_CUDA)
    channel.say(cuda_library=load_cuda())
    channel.say(done=True)
    os._exit(0)  # skip the libraries' own clean-up, which can hang or crash as well


if __name__ == "__main__":
    main()
