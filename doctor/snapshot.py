"""The machine into Facts: all probes side by side, each with its own time limit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from klein_doctor.attention import Scan
from klein_doctor.boxed import Boxed, boxed
from klein_doctor.compiled import Extension
from klein_doctor.installation import (
    ComfyUI,
    Disk,
    Guard,
    Hub,
    Launcher,
    Memory,
    Packages,
    Past,
    Secret,
    Setting,
    Surroundings,
)
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
    TorchBinary,
    Unknown,
    Visible,
)
from klein_doctor.modelfiles import Models, Workflow
from klein_doctor.probes.found import Found
from klein_doctor.probes.interpreter import read_interpreter
from klein_doctor.probes.nvml import read_nvml
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.system import read_environment, read_kernel, read_system
from klein_doctor.probes.torch_files import read_package, read_torch_binary
from klein_doctor.probes.visible import SelectorError, read_visible
from klein_doctor.target import Aim

if TYPE_CHECKING:
    from klein_doctor.identity.digest import DigestStore

T = TypeVar("T")

FILES_LIMIT_S = 5.0
NVML_LIMIT_S = 7.0
# Reading model files begins when ComfyUI has been read.
MODELS_LIMIT_S = 10.0
SOURCES_LIMIT_S = 8.0
_DEEP_S = 24 * 3600.0


class _Torch(NamedTuple):
    """torch and its partners, read one after the other because each needs the last."""

    torch: Fact[Package]
    binary: Fact[TorchBinary]
    torchvision: Fact[Package]
    torchaudio: Fact[Package]


class _ComfyUI(NamedTuple):
    """What the target's packages and its ComfyUI say together."""

    packages: Fact[Packages]
    comfyui: Fact[ComfyUI | None]
    secrets: Fact[tuple[Secret, ...]]


class _Models(NamedTuple):
    """The model files, and what uses them."""

    models: Fact[Models]
    workflows: Fact[tuple[Workflow, ...]]


class Snapshot:
    """The probes of one machine. Those that need no target run from the moment this is made.

    state_dir, recipe: as the options. deep: hash the model files, however long that takes.
    """

    def __init__(
        self,
        outside: Outside,
        *,
        ask_driver: bool = True,
        state_dir: str = "",
        recipe: str = "",
        deep: bool = False,
    ) -> None:
        self._outside = outside
        self._state_dir, self._recipe, self._deep = state_dir, recipe, deep
        self._nvml = Boxed("nvml", lambda: _nvml(outside, ask_driver), NVML_LIMIT_S + 1)
        self._kernel = Boxed("kernel", lambda: read_kernel(outside), FILES_LIMIT_S)
        self._system = Boxed("system", lambda: _system(outside), FILES_LIMIT_S)
        self._memory = Boxed("memory", lambda: _memory(outside), FILES_LIMIT_S)
        self._settings = Boxed("settings", lambda: _settings(outside), FILES_LIMIT_S)
        self._hub = Boxed("hub", lambda: _hub(outside, state_dir), FILES_LIMIT_S)

    def aim(self, aim: Aim, watched: frozenset[str]) -> None:
        """Start the probes of the target; watched are the packages whose versions matter."""
        outside = self._outside
        self._aim = aim
        python = aim.target.python.real
        self._interpreter: Boxed[Fact[Interpreter]] = Boxed(
            "interpreter", lambda: Known(read_interpreter(outside, python)), FILES_LIMIT_S
        )
        # One box each: what a slow disk or a crash takes from one is left to the others.
        self._torch = Boxed("packages", lambda: _torch(outside, self._python()), FILES_LIMIT_S)
        self._comfyui = Boxed(
            "comfyui", lambda: _comfyui(outside, self._python(), aim, watched), FILES_LIMIT_S
        )
        self._models = Boxed("models", self._read_models, _DEEP_S if self._deep else MODELS_LIMIT_S)
        self._extensions = Boxed("extensions", self._read_extensions, FILES_LIMIT_S)
        self._overrides = Boxed("overrides", self._read_overrides, MODELS_LIMIT_S + SOURCES_LIMIT_S)
        self._around = Boxed(
            "surroundings", lambda: _around(outside, self._python(), watched), FILES_LIMIT_S
        )
        self._past = Boxed("past", lambda: _past(outside, self._state_dir, aim), FILES_LIMIT_S)
        self._guard = Boxed("guard", lambda: _guard(outside, self._python(), aim), FILES_LIMIT_S)
        self._disks = Boxed("disks", lambda: _disks(outside, aim.found), FILES_LIMIT_S)

    def facts(self) -> Facts:
        """Collect; returns soon after the longest limit whatever happens to a probe.

        Raises:
            UsageError: the target names a GPU that is not here.
        """
        faults: list[Fault] = []
        interpreter = _fact(self._interpreter, faults)
        torch = _all(self._torch, faults, _Torch)
        comfyui = _all(self._comfyui, faults, _ComfyUI)
        models = _all(self._models, faults, _Models)
        extensions = _fact(self._extensions, faults)
        overrides = _fact(self._overrides, faults)
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
            interpreter=interpreter,
            torch=torch.torch,
            torch_binary=torch.binary,
            torchvision=torch.torchvision,
            torchaudio=torch.torchaudio,
            route=Known(self._aim.target.route),
            search=self._aim.search,
            comfyui=comfyui.comfyui,
            servers=Known(tuple(answer.server for answer in self._aim.answers)),
            packages=comfyui.packages,
            surroundings=_fact(self._around, faults),
            memory=_fact(self._memory, faults),
            disks=_fact(self._disks, faults),
            settings=_fact(self._settings, faults),
            secrets=comfyui.secrets,
            models=models.models,
            workflows=models.workflows,
            extensions=extensions,
            overrides=overrides,
            hub=_fact(self._hub, faults),
            past=_fact(self._past, faults),
            guard=_fact(self._guard, faults),
            faults=Known(tuple(faults)),
        )

    def _python(self) -> Interpreter:
        found = self._interpreter.result()
        if isinstance(found, Known):
            return found.value
        raise LookupError("the interpreter could not be read")

    def _read_models(self) -> _Models:
        from klein_doctor.probes.models import read_models

        read = self._comfyui.result()
        if isinstance(read, Fault):
            reason = Unknown("the search path could not be read")
            return _Models(reason, reason)
        comfyui = read.comfyui.value if isinstance(read.comfyui, Known) else None
        models = read_models(
            self._outside, comfyui, self._store, deep=self._deep, recipe=self._recipe
        )
        return _Models(Known(models), self._workflows(comfyui, models))

    def _read_extensions(self) -> Fact[tuple[Extension, ...]]:
        from klein_doctor.probes.extensions import read_extensions
        from klein_doctor.probes.packages import read_versions

        read = self._torch.result()
        if isinstance(read, Fault) or not isinstance(read.torch, Known):
            return Unknown("torch could not be read")
        python = self._python()
        versions = read_versions(python)
        return Known(read_extensions(self._outside, python, read.torch.value, versions))

    def _read_overrides(self) -> Fact[Scan]:
        from klein_doctor.probes.override_search import search_overrides, together
        from klein_doctor.probes.overrides import read_overrides
        from klein_doctor.probes.scripts import own_scripts, run_at_start

        found = self._aim.found
        nodes = found.base / "custom_nodes" if found is not None else None
        roots = [found.root, nodes] if found is not None and nodes is not None else []
        roots = roots or own_scripts(self._outside)
        python = self._interpreter.result()
        if isinstance(python, Known):
            sites = [Path(each.real) for each in python.value.site_packages]
            roots = [*run_at_start(sites), *roots]
        sources = search_overrides(self._outside, roots, nodes, SOURCES_LIMIT_S)
        read = self._models.result()
        models = None if isinstance(read, Fault) else read.models
        folders = models.value.pipelines if isinstance(models, Known) else ()
        configs = [Path(each.path.real) for each in folders]
        return Known(together(sources, read_overrides(self._outside, (), configs, nodes)))

    def _store(self) -> DigestStore:
        from klein_doctor.identity.digest import DigestStore
        from klein_doctor.state import state_folder

        return DigestStore(state_folder(self._state_dir, self._outside.env))

    def _workflows(self, comfyui: ComfyUI | None, models: Models) -> Fact[tuple[Workflow, ...]]:
        if comfyui is None:
            return Known(())
        from klein_doctor.probes.models import holds
        from klein_doctor.probes.workflows import read_workflows

        base = Path(comfyui.base.real)
        return Known(read_workflows(self._outside, base, models.files, holds(comfyui)))

    def _visible(self, nvml: Fact[Nvml], environment: Environment) -> Fact[Visible] | SelectorError:
        try:
            return read_visible(nvml, environment, self._aim.target.gpu.real)
        except SelectorError as error:
            return error


def _system(outside: Outside) -> Fact[System]:
    return Known(read_system(outside))


def _nvml(outside: Outside, ask_driver: bool) -> Fact[Nvml]:
    if not ask_driver:
        return Unknown("not asked: the card is assumed")
    return Known(read_nvml(NVML_LIMIT_S, outside.redactor.uuid, outside.env))


def _memory(outside: Outside) -> Fact[Memory]:
    from klein_doctor.probes.memory import read_memory

    return read_memory(outside)


def _settings(outside: Outside) -> Fact[tuple[Setting, ...]]:
    from klein_doctor.probes.settings import read_settings

    return Known(read_settings(outside))


def _hub(outside: Outside, state_dir: str) -> Fact[Hub]:
    from klein_doctor.probes.hub import read_hub
    from klein_doctor.state import state_folder

    return Known(read_hub(outside, state_folder(state_dir, outside.env)))


def _past(outside: Outside, state_dir: str, aim: Aim) -> Fact[Past | None]:
    from klein_doctor.past import recall_healthy
    from klein_doctor.state import state_folder

    folder = state_folder(state_dir, outside.env)
    seen = recall_healthy(folder, aim.target) if folder is not None else None
    if seen is None:
        return Known(None)
    packages = [(e.what.local, e.state) for e in seen.state.entries if e.section == "packages"]
    return Known(Past(seen.created, seen.state.of("torch", "torch"), tuple(packages)))


def _torch(outside: Outside, interpreter: Interpreter) -> _Torch:
    torch = read_package(outside, interpreter, "torch")
    return _Torch(
        torch=Known(torch),
        binary=Known(read_torch_binary(outside, interpreter, torch)),
        torchvision=Known(read_package(outside, interpreter, "torchvision")),
        torchaudio=Known(read_package(outside, interpreter, "torchaudio")),
    )


def _comfyui(
    outside: Outside, interpreter: Interpreter, aim: Aim, watched: frozenset[str]
) -> _ComfyUI:
    from klein_doctor.probes.packages import read_packages, read_versions
    from klein_doctor.probes.secrets_scan import read_secrets

    versions = read_versions(interpreter)
    launchers: tuple[Launcher, ...] = ()
    comfyui = None
    if aim.found is not None:
        from klein_doctor.probes.comfyui_tree import read_comfyui
        from klein_doctor.probes.launchers import read_launchers

        launchers = read_launchers(outside, aim.found, aim.answers)
        ports = {a.server.port: a for a in aim.answers}
        running = ports.get(aim.found.port) if aim.found.port is not None else None
        comfyui = read_comfyui(
            outside,
            aim.found,
            {name: item.version for name, item in versions.items()},
            interpreter.version.value if isinstance(interpreter.version, Known) else None,
            launchers,
            running.folders if running is not None else None,
        )
    return _ComfyUI(
        packages=Known(read_packages(versions, interpreter, watched)),
        comfyui=Known(comfyui),
        secrets=Known(read_secrets(outside, aim.found, launchers)),
    )


def _around(
    outside: Outside, interpreter: Interpreter, watched: frozenset[str]
) -> Fact[Surroundings]:
    from klein_doctor.probes.surroundings import read_surroundings

    return Known(read_surroundings(outside, interpreter, watched))


def _guard(outside: Outside, interpreter: Interpreter, aim: Aim) -> Fact[Guard | None]:
    if aim.found is None:
        return Known(None)
    from klein_doctor.probes.torch_guard import read_guard

    return Known(read_guard(outside, interpreter, aim.found.base))


def _disks(outside: Outside, found: Found | None) -> Fact[tuple[Disk, ...]]:
    from klein_doctor.probes.disks import default_folders, read_disks

    models: list[Path] = [found.base / "models"] if found is not None else []
    return read_disks(outside, default_folders(outside, models))


def _fact(box: Boxed[Fact[T]], faults: list[Fault]) -> Fact[T]:
    result = box.result()
    if isinstance(result, Fault):
        faults.append(result)
        return Unknown(_said(result))
    return result


def _all(box: Boxed[T], faults: list[Fault], kind: Any) -> T:
    """The facts of a box that reads several, all Unknown where it came to nothing."""
    result = box.result()
    if isinstance(result, Fault):
        faults.append(result)
        lost: T = kind(*(Unknown(_said(result)) for _ in kind._fields))
        return lost
    return result


def _said(fault: Fault) -> str:
    if fault.kind == "timeout":
        return f"the probe '{fault.where}' gave {fault.detail}"
    return f"the probe '{fault.where}' failed"
