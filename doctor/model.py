"""The values that flow through the doctor: target, facts, findings, report.

Everything here is frozen and typed, holds data only, and imports nothing of the rest. Most are
NamedTuples: defining one costs a sixth of a dataclass, and every start of the doctor pays for all.
For the same reason modules with many of them (installation, generation, recipe and others) do not
postpone annotations: one that is postponed is compiled at every start.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from klein_doctor.attention import Scan
from klein_doctor.compiled import Extension
from klein_doctor.exits import Exit
from klein_doctor.generation import Generation, Proof, Proven
from klein_doctor.installation import (
    ComfyUI,
    Disk,
    Guard,
    Hub,
    Memory,
    Packages,
    Past,
    Secret,
    Server,
    Setting,
    Surroundings,
)
from klein_doctor.installation import Search as Search
from klein_doctor.modelfiles import Models, Workflow
from klein_doctor.values import Fact as Fact
from klein_doctor.values import Known as Known
from klein_doctor.values import Private as Private
from klein_doctor.values import Unknown as Unknown
from klein_doctor.values import known as known

if TYPE_CHECKING:
    from klein_doctor.steps import Result, Step


class Verdict(str, enum.Enum):
    """What a check concluded."""

    FAIL = "fail"
    WARN = "warn"
    CRASHED = "crashed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    PASS = "pass"


class Harm(enum.IntEnum):
    """What happens to the user if a finding stays; lower is worse."""

    STOPS = 0
    WRONG_IMAGE = 1
    SLOW = 2
    NOTE = 3


# --- facts -----------------------------------------------------------------------------------


class System(NamedTuple):
    """The operating system around the doctor.

    os: ``linux``, ``windows``, ``darwin`` or the raw ``sys.platform``.
    wsl: 0 outside WSL, else 1 or 2. container: runtime name, or "" outside one.
    """

    os: str
    release: str
    distribution: str
    machine: str
    wsl: int
    container: str


class Environment(NamedTuple):
    """The environment variables that change which GPU CUDA sees; None means unset."""

    cuda_visible_devices: Private | None
    cuda_device_order: str | None
    nvidia_visible_devices: Private | None
    nvidia_driver_capabilities: str | None
    cuda_module_loading: str | None


class PciDisplay(NamedTuple):
    """A display-class device on the PCI bus; ids are lower-case hex without 0x."""

    vendor: str
    device: str
    driver: str
    bar_bytes: int


class KernelDriver(NamedTuple):
    """What the kernel says of NVIDIA: module, device nodes, PCI bus (Linux; Unknown elsewhere).

    module: version text, "" when not loaded. flavour: ``open``, ``proprietary`` or "".
    nodes: which of nvidiactl, nvidia0.., nvidia-uvm, dxg exist below /dev.
    modprobe: the setuid helper that creates missing nodes is installed.
    secure_boot: firmware enforces signed modules. wsl_stub: the driver library WSL lends exists.
    """

    module: str
    flavour: str
    loaded_modules: tuple[str, ...]
    nodes: tuple[str, ...]
    modprobe: bool
    secure_boot: bool
    wsl_stub: bool
    displays: tuple[PciDisplay, ...]


class GpuProcess(NamedTuple):
    """A process that holds memory on a GPU; used_bytes is unknown under WDDM and WSL."""

    pid: int
    name: str
    used_bytes: Fact[int]


class MigInstance(NamedTuple):
    """A slice of a GPU in MIG mode (one card split into several)."""

    uuid: Private
    total_bytes: Fact[int]


class Gpu(NamedTuple):
    """One GPU as NVML (the driver's own query library) describes it; memory in bytes."""

    nvml_index: int
    name: Fact[str]
    uuid: Private
    compute_capability: Fact[tuple[int, int]]
    total_bytes: Fact[int]
    reserved_bytes: Fact[int]
    used_bytes: Fact[int]
    free_bytes: Fact[int]
    display_active: Fact[bool]
    compute_mode: Fact[str]
    mig_enabled: Fact[bool]
    mig_instances: tuple[MigInstance, ...]
    processes: Fact[tuple[GpuProcess, ...]]
    driver_model: Fact[str]
    fault: str


class Nvml(NamedTuple):
    """How NVML answered.

    outcome: ok, library-missing, driver-not-loaded, no-permission, version-mismatch, error,
    hung or crashed. stage: the last call begun. detail: the library's own words, if any.
    cuda_library: ``loaded``, or why libcuda (which runs programs on the card) did not load.
    """

    outcome: str
    stage: str
    detail: str
    driver: Fact[str]
    cuda: Fact[tuple[int, int]]
    cuda_library: Fact[str]
    gpus: tuple[Gpu, ...]


class Visible(NamedTuple):
    """Which GPUs a CUDA program started from here would see, in CUDA's own order.

    order: NVML indices. certain: the order follows from documented rules, not from a guess.
    problem: why the list is shorter than the machine's GPUs, "" when it is not.
    chosen: NVML index of the GPU the model would run on, None when there is none.
    chosen_by: ``--gpu``, ``CUDA_VISIBLE_DEVICES`` or ``first``.
    mig: the slice that was named, if one was.
    """

    order: tuple[int, ...]
    certain: bool
    problem: str
    chosen: int | None
    chosen_by: str
    mig: MigInstance | None


class Interpreter(NamedTuple):
    """The Python that runs the model, read from its files, never started.

    fault: why it cannot start, "" when nothing speaks against it.
    version: (major, minor), or (major, minor, patch) where written down.
    """

    path: Private
    fault: Private
    version: Fact[tuple[int, ...]]
    kind: str
    prefix: Private
    site_packages: tuple[Private, ...]
    has_pip: bool
    has_uv: bool


class Library(NamedTuple):
    """A shared library that is not what it should be; sizes in bytes.

    found is -1 where it is absent; promised is -1 where no record tells: it is no library at all.
    """

    name: str
    promised_bytes: int
    found_bytes: int


class Distribution(NamedTuple):
    """One ``*.dist-info`` of a package. installer: pip, uv, conda, ..., or "" if not recorded."""

    version: str
    installer: str
    editable: bool
    location: Private


class Package(NamedTuple):
    """A Python package read from its files.

    version: what version.py says, local tag (``+cu130``) included. source: where that stands.
    cuda, hip, xpu: what it was built with; None means not.
    """

    name: str
    present: bool
    version: Fact[str]
    cuda: Fact[str | None]
    hip: str | None
    xpu: str | None
    location: Private
    distributions: tuple[Distribution, ...]


class TorchBinary(NamedTuple):
    """What torch's own libraries carry.

    archs: ``sm_120``, ``compute_90``... compiled in, Unknown when not readable.
    damaged: libraries the install record promises that are absent or of another size.
    unresolved: CUDA libraries that torch needs and that no searched folder holds.
    """

    archs: Fact[tuple[str, ...]]
    damaged: tuple[Library, ...]
    unresolved: tuple[str, ...]


class Fault(NamedTuple):
    """A probe or check of the doctor that crashed or ran out of time."""

    where: str
    kind: str
    detail: str


class Facts(NamedTuple):
    """A frozen snapshot of one machine, in the order in which probes are declared.

    route: as asked for, ``auto``, ``comfyui`` or ``diffusers``; what auto means here is judged.
    comfyui: the chosen installation, None where none was found or none is wanted.
    proof, generation: None where nobody asked for them. past: the last run in which all was well,
    proven: the last verified generation; None where none is on record. guard: None without a
    ComfyUI.
    """

    system: Fact[System]
    environment: Fact[Environment]
    kernel: Fact[KernelDriver]
    nvml: Fact[Nvml]
    visible: Fact[Visible]
    interpreter: Fact[Interpreter]
    torch: Fact[Package]
    torch_binary: Fact[TorchBinary]
    torchvision: Fact[Package]
    torchaudio: Fact[Package]
    faults: Fact[tuple[Fault, ...]]
    route: Fact[str]
    search: Fact[Search]
    comfyui: Fact[ComfyUI | None]
    servers: Fact[tuple[Server, ...]]
    packages: Fact[Packages]
    surroundings: Fact[Surroundings]
    memory: Fact[Memory]
    disks: Fact[tuple[Disk, ...]]
    settings: Fact[tuple[Setting, ...]]
    secrets: Fact[tuple[Secret, ...]]
    models: Fact[Models]
    workflows: Fact[tuple[Workflow, ...]]
    extensions: Fact[tuple[Extension, ...]]
    overrides: Fact[Scan]
    hub: Fact[Hub]
    proof: Fact[Proof | None] = Known(None)
    generation: Fact[Generation | None] = Known(None)
    past: Fact[Past | None] = Known(None)
    proven: Fact[Proven | None] = Known(None)
    guard: Fact[Guard | None] = Known(None)


# --- target ----------------------------------------------------------------------------------


class Target(NamedTuple):
    """What is judged, resolved once and passed everywhere.

    python_from: ``--python``, ``server`` (the process that runs ComfyUI), ``launcher`` (a file that
    starts ComfyUI names it), ``comfyui`` (the installation's own), ``VIRTUAL_ENV``,
    ``CONDA_PREFIX`` or ``doctor`` (last resort).
    gpu: the selector as given, "" when none was. assumed: the ``--assume`` text, "" when none.
    comfyui: the folder of the chosen ComfyUI, "" when there is none; comfyui_from: as
    Install.found_by. route: as asked for.
    """

    python: Private
    python_from: str
    gpu: Private
    assumed: str
    comfyui: Private = Private("", "", "")
    comfyui_from: str = ""
    route: str = "auto"


# --- findings --------------------------------------------------------------------------------


class Repair(NamedTuple):
    """A reference to a repair. commands: argv lists; an argument may be Private."""

    id: str
    kind: str
    grade: str
    summary: str
    commands: tuple[tuple[str | Private, ...], ...] = ()


Evidence = Union[str, int, bool, None, Private, tuple[Any, ...]]


@dataclass(frozen=True)
class Outcome:
    """What one check says of one subject; the engine turns it into a Finding.

    title: the sentence of the report's headline. detail: where and why it matters here.
    because: of a skipped check, the id of the finding that stands in its way.
    """

    verdict: Verdict
    title: str
    detail: str = ""
    subject: Private | None = None
    reason: str | None = None
    evidence: dict[str, Evidence] = field(default_factory=dict)
    fixes: tuple[Repair, ...] = ()
    because: str | None = None


class Finding(NamedTuple):
    """An outcome with its place in the report: id, check, family, and what it follows from."""

    id: str
    check: str
    family: str
    verdict: Verdict
    title: str
    detail: str
    subject: Private | None
    reason: str | None
    evidence: dict[str, Evidence]
    because: str | None
    fixes: tuple[Repair, ...]
    harm: Harm


class Report(NamedTuple):
    """Everything a renderer needs, and nothing else.

    route: ``comfyui`` or ``diffusers``. plan: the way of running the model that fits, in one line.
    files: the model's files that are there, in one line.
    picture: what is proven of the test pictures, in one line. ready: a verified generation holds
    for this machine. record: of its own generation, as docs/generation.md has it, or None.
    usage: how to go on with it: labels, each with what it names.
    before: the findings before the steps, None where none were done. steps_planned, steps: what
    was to be done, and how it ended. run: the id to undo them by.
    """

    created: str
    version: str
    recipe: str
    recipe_age_days: int
    target: Target
    facts: Facts
    findings: tuple[Finding, ...]
    first: str | None
    exit_code: Exit
    replayed: bool = False
    route: str = "comfyui"
    plan: str = ""
    files: str = ""
    picture: str = ""
    ready: bool = False
    record: dict[str, Any] | None = None
    usage: tuple[tuple[str, Private], ...] = ()
    before: tuple[Finding, ...] | None = None
    steps_planned: tuple[Step, ...] = ()
    steps: tuple[Result, ...] = ()
    run: str = ""
    changed: bool = False
    reboot_needed: bool = False
    retry: bool = False
