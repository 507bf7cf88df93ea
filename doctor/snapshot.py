"""The machine into Facts: all probes side by side, each with its own time limit."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from klein_doctor.boxed import Boxed, boxed
from klein_doctor.model import (
    Environment,
    Fact,
    Facts,
    Fault,
    Interpreter,
    Known,
    Nvml,
    Package,
    System,
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


class _Installed(NamedTuple):
    """What the target's folders hold, read one after the other because each needs the last."""

    interpreter: Fact[Interpreter]
    torch: Fact[Package]
    binary: Fact[TorchBinary]
    torchvision: Fact[Package]
    torchaudio: Fact[Package]


class Snapshot:
    """The probes of one machine, running from the moment this is made."""

    def __init__(self, outside: Outside, target: Target, *, ask_driver: bool = True) -> None:
        self._outside, self._target = outside, target
        self._nvml = Boxed("nvml", lambda: _nvml(outside, ask_driver), NVML_LIMIT_S + 1)
        self._installed = Boxed("packages", lambda: _installed(outside, target), FILES_LIMIT_S)
        self._kernel = Boxed("kernel", lambda: read_kernel(outside), FILES_LIMIT_S)
        self._system = Boxed("system", lambda: _system(outside), FILES_LIMIT_S)

    def facts(self) -> Facts:
        """Collect; returns soon after the longest limit whatever happens to a probe.

        Raises:
            UsageError: the target names a GPU that is not here.
        """
        faults: list[Fault] = []
        found = self._installed.result()
        if isinstance(found, Fault):
            faults.append(found)
            lost = Unknown(_said(found))
            found = _Installed(lost, lost, lost, lost, lost)
        nvml = _fact(self._nvml, faults)
        environment = read_environment(self._outside)
        visible = boxed("visible", lambda: self._visible(nvml, environment), FILES_LIMIT_S)
        if isinstance(visible, Fault):
            faults.append(visible)
            visible = Unknown(_said(visible))
        if isinstance(visible, SelectorError):
            raise visible
        return Facts(
            system=_fact(self._system, faults),
            environment=Known(environment),
            kernel=_fact(self._kernel, faults),
            nvml=nvml,
            visible=visible,
            interpreter=found.interpreter,
            torch=found.torch,
            torch_binary=found.binary,
            torchvision=found.torchvision,
            torchaudio=found.torchaudio,
            faults=Known(tuple(faults)),
        )

    def _visible(self, nvml: Fact[Nvml], environment: Environment) -> Fact[Visible] | SelectorError:
        try:
            return read_visible(nvml, environment, self._target.gpu.real)
        except SelectorError as error:
            return error


def _system(outside: Outside) -> Fact[System]:
    return Known(read_system(outside))


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
