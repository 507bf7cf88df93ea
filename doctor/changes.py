"""What of a machine can break between two runs, and how it differs; pure.

A ``State`` is the short form of Facts that is kept from run to run. Sections stand in the order of
likely blame: what most often breaks a setup that worked comes first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from packaging.version import InvalidVersion, Version

from klein_doctor.model import Facts, Gpu, Private, Unknown, known

SECTIONS = {
    "torch": "PyTorch",
    "packages": "Packages",
    "driver": "Driver",
    "comfyui": "ComfyUI",
    "nodes": "Custom nodes",
    "files": "Model files",
    "flags": "Launch arguments",
    "python": "Python",
    "settings": "Environment variables",
    "machine": "Machine",
}
# What an entry of a model file ends with.
_OF_FILE = re.compile(r", (?P<size>\d+) bytes, (?P<digest>\w+)$")
_TRIO = ("torch", "torchvision", "torchaudio")


class Entry(NamedTuple):
    """One thing that was seen: its section, what it is, and its state in a few words."""

    section: str
    what: Private
    state: str


class Asked(NamedTuple):
    """A requirement of an installed package that names torch or a partner of it."""

    package: str
    text: str


class State(NamedTuple):
    """A machine in short. unread: sections of which something could not be read."""

    entries: tuple[Entry, ...]
    asked: tuple[Asked, ...]
    unread: tuple[str, ...] = ()

    def of(self, section: str, what: str) -> str:
        """What was seen of a thing; "" for nothing."""
        found = (e.state for e in self.entries if (e.section, e.what.local) == (section, what))
        return next(found, "")


class Change(NamedTuple):
    """One difference; before or after is "" where the thing was not there.

    because: what explains it, in one sentence, "" where nothing does.
    """

    section: str
    what: Private
    before: str
    after: str
    because: str = ""


def state_of(facts: Facts) -> State:
    """The short form of facts."""
    packages = known(facts.packages)
    listed = packages.listed if packages is not None else ()
    asked = [
        Asked(item.name, text)
        for item in listed
        if item.name not in _TRIO
        for text in item.requires
        if _name(text) in _TRIO
    ]
    return State(tuple(_entries(facts)), tuple(asked), _unread(facts))


def assumed(state: State) -> State:
    """Where the card and its driver were only assumed, nothing is known of this machine's."""
    return state._replace(unread=(*state.unread, "driver", "machine"))


def changes(before: State, after: State) -> tuple[Change, ...]:
    """What differs, what is most likely to blame first.

    A section that one of them could not read is left out.
    """
    read = SECTIONS.keys() - {*before.unread, *after.unread}
    old = {(e.section, e.what.local): e for e in before.entries if e.section in read}
    new = {(e.section, e.what.local): e for e in after.entries if e.section in read}
    found = []
    for key in dict.fromkeys((*old, *new)):
        was, now = old.get(key), new.get(key)
        entry = now or was
        if entry is None or (was and now and _alike(was, now)):
            continue
        found.append(
            Change(entry.section, entry.what, was.state if was else "", now.state if now else "")
        )
    found = [c._replace(because=_explained(c, found, after)) for c in found]
    order = list(SECTIONS)
    return tuple(sorted(found, key=lambda c: (order.index(c.section), not c.because)))


def _alike(was: Entry, now: Entry) -> bool:
    """Whether nothing is known to differ: a file that was not hashed may be the one that was."""
    if was.state == now.state:
        return True
    seen = [_OF_FILE.search(e.state) for e in (was, now) if e.section == "files"]
    if len(seen) != 2 or seen[0] is None or seen[1] is None:
        return False
    digests = {seen[0]["digest"], seen[1]["digest"]}
    return seen[0]["size"] == seen[1]["size"] and len(digests) > 1 and "unchecked" in digests


def culprits(torch: str, changed: Iterable[str], asked: Iterable[Asked]) -> list[Asked]:
    """Those of the requirements that the torch of now fulfils, of packages that have changed too.

    Such a package is what most likely brought that torch. A requirement that any torch fulfils
    explains nothing.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    names = set(changed)
    try:
        version = Version(torch)
    except InvalidVersion:
        return []
    found = []
    for each in asked:
        try:
            wanted = Requirement(each.text)
        except InvalidRequirement:
            continue
        pins = any(s.operator in ("==", "===", "~=", "<", "<=") for s in wanted.specifier)
        public = Version(version.public)
        fits = any(wanted.specifier.contains(v, prereleases=True) for v in (version, public))
        if each.package in names and wanted.name.lower() == "torch" and pins and fits:
            found.append(each)
    return found


def _unread(facts: Facts) -> tuple[str, ...]:
    comfyui, nvml = known(facts.comfyui), known(facts.nvml)
    parts: dict[str, tuple[object, ...]] = {
        "torch": (facts.torch, facts.torchvision, facts.torchaudio),
        "packages": (facts.packages,),
        "driver": (facts.nvml, nvml.driver if nvml is not None else None),
        "comfyui": (facts.comfyui,),
        "nodes": (facts.comfyui, comfyui.custom_nodes if comfyui is not None else None),
        "files": (facts.models,),
        "flags": (facts.comfyui,),
        "python": (facts.interpreter,),
        "settings": (facts.settings,),
        "machine": (facts.system, facts.nvml, facts.memory),
    }
    return tuple(n for n, read in parts.items() if any(isinstance(f, Unknown) for f in read))


def _explained(change: Change, found: list[Change], after: State) -> str:
    if (change.section, change.what.local) != ("torch", "torch") or not change.after:
        return ""
    moved = {c.what.local: c for c in found if c.section == "packages" and c.after}
    because = culprits(change.after.split()[0], moved, after.asked)
    told = [
        f"{a.package} {moved[a.package].after}, "
        f"{'changed' if moved[a.package].before else 'new'} since then, asks for {a.text}"
        for a in because
    ]
    return "; ".join(told)


def _entries(facts: Facts) -> Iterable[Entry]:
    yield from _torch(facts)
    packages = known(facts.packages)
    for item in packages.listed if packages is not None else ():
        if item.name not in _TRIO:
            yield Entry("packages", Private.plain(item.name), item.version)
    nvml = known(facts.nvml)
    if nvml is not None and known(nvml.driver):
        yield Entry("driver", Private.plain("driver"), known(nvml.driver))
        for gpu in nvml.gpus:
            yield Entry("machine", Private.plain(f"GPU {gpu.nvml_index}"), _card(gpu))
    yield from _comfyui(facts)
    models = known(facts.models)
    for file in models.files if models is not None else ():
        where = file.path if not file.category else _joined(file.category, file.name)
        yield Entry("files", where, f"{file.known or file.says}, {file.size} bytes, {file.digest}")
    python, system, memory = known(facts.interpreter), known(facts.system), known(facts.memory)
    if python is not None:
        version = ".".join(map(str, known(python.version, ())))
        yield Entry("python", python.path, version or "version unknown")
    for setting in known(facts.settings, ()):
        yield Entry("settings", Private.plain(setting.name), setting.value.public)
    if system is not None:
        text = f"{system.os} {system.release}"
        yield Entry("machine", Private.plain("system"), text)
    if memory is not None:
        total = memory.limit or memory.total
        yield Entry("machine", Private.plain("memory"), f"{total / 2**30:.0f} GiB")


def _torch(facts: Facts) -> Iterable[Entry]:
    for fact in (facts.torch, facts.torchvision, facts.torchaudio):
        package = known(fact)
        if package is not None and package.present:
            version = known(package.version, "unreadable")
            yield Entry("torch", Private.plain(package.name), version)


def _card(gpu: Gpu) -> str:
    return f"{known(gpu.name, 'unknown')}, {known(gpu.total_bytes, 0) / 2**30:.0f} GiB"


def _comfyui(facts: Facts) -> Iterable[Entry]:
    comfyui = known(facts.comfyui)
    if comfyui is None:
        return
    checkout = known(comfyui.checkout)
    version = known(comfyui.version, "version unknown")
    text = f"{version} at {checkout.commit[:9]}" if checkout is not None else version
    yield Entry("comfyui", comfyui.root, text)
    nodes = known(comfyui.custom_nodes)
    for name in nodes.names if nodes is not None else ():
        yield Entry("nodes", name, "installed")
    for launcher in comfyui.launchers:
        if launcher.kind != "server":
            flags = " ".join(f"{f.name} {f.value.public}".strip() for f in launcher.flags)
            yield Entry("flags", launcher.path, flags or "none")


def _joined(folder: str, name: Private) -> Private:
    return Private(*(f"{folder}/{form}" for form in (name.real, name.local, name.public)))


def _name(text: str) -> str:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(text).name.lower().replace("_", "-")
    except InvalidRequirement:
        return ""
