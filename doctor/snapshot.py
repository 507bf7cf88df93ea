"""The machine into Facts: all probes side by side, each with its own time limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from klein_doctor.boxed import Boxed
from klein_doctor.model import (
    Fact,
    Facts,
    Fault,
    Interpreter,
    Known,
    Nvml,
    Package,
    Target,
    TorchBinary,
    Unknown,
    Visible,
)
from klein_doctor.probes.interpreter import read_interpreter
from klein_doctor.probes.nvml import read_nvml
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.system import read_environment, read_kernel, read_system
from klein_doctor.probes.torch_files import read_package, read_torch_binary
from klein_doctor.probes.visible import SelectorError, read_visible

T = TypeVar("T")

FILES_LIMIT_S = 5.0
NVML_LIMIT_S = 7.0


@dataclass(frozen=True)
class _Installed:
    """What the target's folders hold, read one after the other because each needs the last."""

    interpreter: Fact[Interpreter]
    torch: Fact[Package]
    binary: Fact[TorchBinary]
    torchvision: Fact[Package]
    torchaudio: Fact[Package]


def read_facts(outside: Outside, target: Target, *, ask_driver: bool = True) -> Facts:
    """Read the machine; returns soon after the longest limit whatever happens to a probe.

    Raises:
        SelectorError: the target names a GPU that is not here.
    """
    faults: list[Fault] = []
    nvml_box = Boxed("nvml", lambda: _nvml(outside, ask_driver), NVML_LIMIT_S + 1)
    installed_box = Boxed("packages", lambda: _installed(outside, target), FILES_LIMIT_S)
    kernel_box = Boxed("kernel", lambda: read_kernel(outside), FILES_LIMIT_S)
    system_box = Boxed("system", lambda: Known(read_system(outside)), FILES_LIMIT_S)
    environment = read_environment(outside)
    found = installed_box.result()
    if isinstance(found, Fault):
        faults.append(found)
        lost = Unknown(_said(found))
        found = _Installed(lost, lost, lost, lost, lost)
    nvml = _fact(nvml_box, faults)
    return Facts(
        system=_fact(system_box, faults),
        environment=Known(environment),
        kernel=_fact(kernel_box, faults),
        nvml=nvml,
        visible=_visible(nvml, outside, target, faults),
        interpreter=found.interpreter,
        torch=found.torch,
        torch_binary=found.binary,
        torchvision=found.torchvision,
        torchaudio=found.torchaudio,
        faults=Known(tuple(faults)),
    )


def _nvml(outside: Outside, ask_driver: bool) -> Fact[Nvml]:
    if not ask_driver:
        return Unknown("not asked: the card is assumed")
    return Known(read_nvml(NVML_LIMIT_S, outside.redactor.uuid, outside.env))


def _installed(outside: Outside, target: Target) -> _Installed:
    interpreter = read_interpreter(outside, target.python.real)
    torch = read_package(outside, interpreter, "torch")
    return _Installed(
        interpreter=Known(interpreter),
        torch=Known(torch),
        binary=Known(read_torch_binary(outside, interpreter, torch)),
        torchvision=Known(read_package(outside, interpreter, "torchvision")),
        torchaudio=Known(read_package(outside, interpreter, "torchaudio")),
    )


def _visible(
    nvml: Fact[Nvml], outside: Outside, target: Target, faults: list[Fault]
) -> Fact[Visible]:
    try:
        return read_visible(nvml, read_environment(outside), target.gpu.real)
    except SelectorError:
        raise
    except Exception as error:
        faults.append(Fault("visible", type(error).__name__, ""))
        return Unknown("the doctor could not resolve the device list")


def _fact(box: Boxed[Fact[T]], faults: list[Fault]) -> Fact[T]:
    result = box.result()
    if isinstance(result, Fault):
        faults.append(result)
        return Unknown(_said(result))
    return result


def _said(fault: Fault) -> str:
    if fault.kind == "timeout":
        return f"the probe '{fault.where}' gave {fault.detail}"
    return f"the probe '{fault.where}' failed"
