"""What several renderers say alike: the headline, the machine in a few words, the groups."""

from __future__ import annotations

from typing import NamedTuple

from klein_doctor.model import Finding, Gpu, Known, Private, Report, Verdict, known

FAMILIES = {
    "gpu": "card",
    "driver": "driver",
    "python": "Python",
    "torch": "PyTorch",
    "attention": "",  # seldom of interest where it is fine
    "comfyui": "ComfyUI",
    "diffusers": "diffusers",
    "assets": "model files",
    "workflow": "workflows",
    "memory": "memory",
    "disk": "disk",
    "hub": "",  # no trouble known is not yet a way to it
    "known-bad": "package versions",
    "security": "security",
    "generation": "test pictures",
    "doctor": "",
}
_ORIGINS = {
    "gpu": "hardware",
    "driver": "environment",
    "python": "environment",
    "torch": "environment",
    "attention": "environment",
    "comfyui": "ComfyUI install",
    "diffusers": "environment",
    "assets": "files",
    "workflow": "files",
    "memory": "hardware",
    "disk": "hardware",
    "hub": "environment",
    "known-bad": "environment",
    "security": "environment",
    "generation": "test generation",
    "doctor": "the doctor itself",
}
# Checks of another family's that begin elsewhere than their fellows.
_BEGIN = {"custom-node-pins-torch": "custom node", "vram-busy": "other programs"}
# Advice on a machine that works: where there is little room, the title says enough.
TIPS = {"torch-unguarded"}
_DECISIVE = {"gpu-not-found", "gpu-hidden", "driver-too-old", "torch-lacks-arch", "torch-broken"}
CHOSEN = {
    "--python": "named by --python",
    "server": "it runs ComfyUI now",
    "launcher": "named by what starts ComfyUI",
    "comfyui": "ComfyUI's",
    "VIRTUAL_ENV": "the active environment",
    "CONDA_PREFIX": "the active conda environment",
    "doctor": "the doctor's own, as none was named and none is active",
}


class Groups(NamedTuple):
    """The findings of a report by what a reader does with them."""

    first: Finding | None
    others: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    unjudged: tuple[Finding, ...]
    crashed: tuple[Finding, ...]
    passed: tuple[Finding, ...]


def groups(report: Report) -> Groups:
    """Sort the findings for reading."""
    everything = report.findings
    first = next((f for f in everything if f.id == report.first), None)
    rest = [f for f in everything if f is not first]
    bad = [f for f in rest if f.verdict is Verdict.FAIL]
    warned = [f for f in rest if f.verdict is Verdict.WARN]
    roots = [f for f in bad if f.because is None]
    return Groups(
        first=first,
        others=tuple(sorted(roots, key=lambda f: f.harm)),
        warnings=tuple(f for f in warned if f.because is None),
        unjudged=tuple(f for f in everything if f.verdict in (Verdict.UNKNOWN, Verdict.SKIPPED)),
        crashed=tuple(f for f in everything if f.verdict is Verdict.CRASHED),
        passed=tuple(f for f in everything if f.verdict is Verdict.PASS),
    )


def following(report: Report, cause: Finding) -> tuple[Finding, ...]:
    """The findings that should clear when their cause is mended."""
    bad = (Verdict.FAIL, Verdict.WARN)
    return tuple(f for f in report.findings if f.because == cause.id and f.verdict in bad)


def headline(report: Report) -> str:
    """The verdict in one sentence."""
    fails = [f for f in report.findings if f.verdict is Verdict.FAIL]
    if fails:
        roots = [f for f in fails if f.because is None] or fails
        text = f"{_count(len(roots), 'problem')} to fix"
        more = sum(len(following(report, root)) for root in roots)
        follow = "follows" if more == 1 else "follow"
        them = "it" if len(roots) == 1 else "them"
        return f"{text}; {more} more {follow} from {them}." if more else text + "."
    undecided = [f for f in report.findings if f.verdict in (Verdict.UNKNOWN, Verdict.CRASHED)]
    if undecided:
        return f"No problem found, but {_count(len(undecided), 'check')} could not be judged."
    left = sum(told_why(f) for f in report.findings)
    if not any_judged(report):
        return "Nothing of what was asked for could be judged."
    warnings = [f for f in report.findings if f.verdict is Verdict.WARN]
    judged = {f.check for f in report.findings if f.verdict in (Verdict.PASS, Verdict.WARN)}
    text = "This machine can run FLUX.2 [klein] 4B"
    if not _DECISIVE <= judged:
        text = "No problem found in the checks that were asked for"
    if left:
        text += f", but {_count(left, 'check')} could not be judged"
    return f"{text}; {_count(len(warnings), 'remark')}." if warnings else text + "."


def any_judged(report: Report) -> bool:
    """Not every check that was asked for was skipped."""
    return any(f.verdict is not Verdict.SKIPPED for f in report.findings)


def told_why(finding: Finding) -> bool:
    """Skipped for a reason that stands in no other finding of the report."""
    return finding.verdict is Verdict.SKIPPED and finding.reason is not None


def verdict_word(report: Report) -> str:
    """One word for the whole: ok, problems or undecided."""
    return {0: "ok", 1: "problems", 3: "undecided"}.get(int(report.exit_code), "undecided")


def origin(finding: Finding) -> str:
    """Where a finding originates: hardware, environment, ComfyUI install, files..."""
    return _BEGIN.get(finding.check) or _ORIGINS.get(finding.family, finding.family)


def fine(report: Report) -> list[str]:
    """The areas in which every check was judged and passed."""
    by_family: dict[str, set[Verdict]] = {}
    for finding in report.findings:
        by_family.setdefault(finding.family, set()).add(finding.verdict)
    if Verdict.FAIL in by_family.get("gpu", ()):
        by_family.pop("driver", None)  # A driver that shows no usable card is not called fine.
    return [
        FAMILIES.get(family, family)
        for family, verdicts in by_family.items()
        if verdicts == {Verdict.PASS} and FAMILIES.get(family, family)
    ]


def chosen_gpu(report: Report) -> Gpu | None:
    """The GPU the model would run on."""
    nvml, visible = known(report.facts.nvml), known(report.facts.visible)
    if nvml is None or visible is None:
        return None
    return next((gpu for gpu in nvml.gpus if gpu.nvml_index == visible.chosen), None)


def card_line(report: Report) -> str:
    """Card, memory and display in one line, or that none answers or all are hidden."""
    gpu = chosen_gpu(report)
    if gpu is None:
        nvml = known(report.facts.nvml)
        if nvml is None or not nvml.gpus:
            return "none answers"
        names = [known(gpu.name, "GPU").removeprefix("NVIDIA ") for gpu in nvml.gpus]
        return f"{', '.join(names)}, hidden from CUDA programs"
    parts = [known(gpu.name, "GPU").removeprefix("NVIDIA ")]
    total, free = known(gpu.total_bytes), known(gpu.free_bytes)
    if total:
        parts.append(f"{total / 2**30:.1f} GiB")
    if free is not None:
        display = " with a display on it" if known(gpu.display_active) else ""
        own = _own_share(report, gpu)
        held = f" beside ComfyUI's own {own / 2**30:.1f}" if own else ""
        parts.append(f"{free / 2**30:.1f} GiB free now{held}{display}")
    return ", ".join(parts) + (" (assumed, not measured)" if report.target.assumed else "")


def _own_share(report: Report, gpu: Gpu) -> int:
    """What a running ComfyUI holds of the card, in bytes, as far as the driver tells."""
    pids = {server.pid for server in known(report.facts.servers, ()) if server.outcome == "ok"}
    return sum(known(p.used_bytes, 0) for p in known(gpu.processes, ()) if p.pid in pids)


def driver_line(report: Report) -> str:
    """The driver's version, "" when unknown."""
    nvml = known(report.facts.nvml)
    driver = known(nvml.driver, "") if nvml is not None else ""
    cuda = known(nvml.cuda) if nvml is not None else None
    return f"{driver} (CUDA {cuda[0]}.{cuda[1]})" if driver and cuda else driver


def torch_line(report: Report) -> str:
    """torch and its partners with their versions, "" when there is none."""
    found = []
    for fact in (report.facts.torch, report.facts.torchvision, report.facts.torchaudio):
        package = known(fact)
        if package is not None and package.present:
            found.append(f"{package.name} {known(package.version, '(version unknown)')}")
    return ", ".join(found)


def comfyui_line(report: Report) -> str:
    """ComfyUI's version, state and how many there are, "" on the other route."""
    if report.route == "diffusers":
        return ""
    search, comfyui = known(report.facts.search), known(report.facts.comfyui)
    if comfyui is None:
        return "none found" if isinstance(report.facts.comfyui, Known) else "unknown"
    parts = [known(comfyui.version, "of unknown version"), comfyui.kind]
    checkout = known(comfyui.checkout)
    if checkout is not None:
        parts[0] += f"@{checkout.commit[:8]}"
        parts += ["changed by hand"] if known(checkout.dirty) else []
        parts += ["not on a branch"] if not checkout.branch else []
    chosen = search.judged() if search is not None else None
    if chosen is not None and chosen.port is not None:
        parts.append(f"running on port {chosen.port}")
    return ", ".join(part for part in parts if part)


def other_installs(report: Report, form: str) -> str:
    """The ComfyUIs that are not judged, with their kinds."""
    search = known(report.facts.search)
    if search is None or report.route == "diffusers":
        return ""
    rest = [each for place, each in enumerate(search.found) if place != search.chosen]
    named = [f"{getattr(each.root, form)} ({each.kind})" for each in rest[:4]]
    more = f" and {len(rest) - 4} more" if len(rest) > 4 else ""
    return ", ".join(named) + more


def nodes_words(report: Report) -> str:
    """How many custom nodes ComfyUI has."""
    comfyui = known(report.facts.comfyui)
    nodes = known(comfyui.custom_nodes) if comfyui is not None else None
    if nodes is None:
        return "unknown" if comfyui is not None else "none looked at"
    return f"{nodes.total}" + (f" ({nodes.disabled} disabled)" if nodes.disabled else "")


def arguments_line(report: Report, form: str) -> str:
    """What ComfyUI is started with: the running one's arguments, else each launcher's."""
    comfyui = known(report.facts.comfyui)
    launchers = comfyui.launchers if comfyui is not None else ()
    running = [launcher for launcher in launchers if launcher.kind == "server"]
    lines = []
    for launcher in running or launchers[:4]:
        flags = [f"{f.name} {getattr(f.value, form)}".strip() for f in launcher.flags]
        lines.append(f"{launcher.kind}: {' '.join(flags) or 'none'}")
    return "; ".join(dict.fromkeys(lines))


def memory_line(report: Report) -> str:
    """RAM and what a program may still use of it."""
    memory = known(report.facts.memory)
    if memory is None:
        return "unknown"
    text = f"{memory.total / 2**30:.1f} GiB, {memory.usable() / 2**30:.1f} GiB usable now"
    if memory.limit is not None:
        text += f" (limit of the container or service: {memory.limit / 2**30:.1f} GiB)"
    return text


def system_line(report: Report) -> str:
    """Operating system, WSL and container."""
    system = known(report.facts.system)
    if system is None:
        return "unknown"
    parts = [system.distribution or f"{system.os} {system.release}".strip(), system.machine]
    if system.wsl:
        parts.append(f"WSL {system.wsl}")
    if system.container:
        parts.append(f"in a container ({system.container})")
    return ", ".join(part for part in parts if part)


def python_line(report: Report) -> str:
    """The target Python's version and kind."""
    python = known(report.facts.interpreter)
    if python is None:
        return "unknown"
    version = known(python.version)
    shown = ".".join(str(part) for part in version) if version else "of unknown version"
    return f"{shown} ({python.kind})"


def python_version(report: Report) -> str:
    """The target Python's version in figures."""
    return python_line(report).partition(" (")[0]


def place(report: Report) -> Private:
    """The folder that is judged: the environment's root."""
    python = known(report.facts.interpreter)
    return python.prefix if python is not None else report.target.python


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
