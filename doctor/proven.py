"""What a generation was verified with, and in what another moment differs from it. Pure."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from klein_doctor.card import chosen_gpu
from klein_doctor.model import Facts, Unknown, known

# What of the diffusers route decides over the picture; ComfyUI brings its own code.
STACK = ("accelerate", "diffusers", "transformers")


class File(NamedTuple):
    """A model file as it was. changed_ns: time of its last change. sha256: "" where not hashed."""

    path: str
    size: int
    changed_ns: int
    sha256: str


class Setup(NamedTuple):
    """Everything a picture hangs on. Paths are real ones; it stays on this machine.

    python: of the target. comfyui: its folder, "" on the other route. gpu: the card's name;
    gpu_id: a hash of its identifier. commit: of ComfyUI, "" where it is no git checkout.
    packages: (name, version) of STACK on the diffusers route. files: None where nobody looked.
    """

    route: str
    python: str
    comfyui: str
    gpu: str
    gpu_id: str
    driver: str
    torch: str
    version: str
    commit: str
    packages: tuple[tuple[str, str], ...]
    files: tuple[File, ...] | None


class Entry(NamedTuple):
    """A verified generation: when (``2026-11-24T07:00:00Z``), and with what."""

    when: str
    setup: Setup


def pseudonym(uuid: str) -> str:
    """A card's identifier as it may be written down: the same for the same card."""
    return hashlib.sha256(f"klein-doctor card {uuid}".encode()).hexdigest()[:16] if uuid else ""


def setup_of(facts: Facts, route: str, files: tuple[File, ...] | None) -> Setup | Unknown:
    """What this machine would make a picture with."""
    gpu = chosen_gpu(facts)
    if gpu is None:
        return Unknown("no card is chosen that could make a picture")
    python, torch, nvml = known(facts.interpreter), known(facts.torch), known(facts.nvml)
    comfyui = known(facts.comfyui) if route == "comfyui" else None
    checkout = known(comfyui.checkout) if comfyui is not None else None
    packages = known(facts.packages)
    listed = packages is not None and route == "diffusers"
    found = [(name, packages.version(name) or "") for name in STACK] if listed else []
    return Setup(
        route=route,
        python=python.path.real if python is not None else "",
        comfyui=comfyui.root.real if comfyui is not None else "",
        gpu=known(gpu.name, ""),
        gpu_id=pseudonym(gpu.uuid.real),
        driver=known(nvml.driver, ""),
        torch=known(torch.version, "") if torch is not None else "",
        version=known(comfyui.version, "") if comfyui is not None else "",
        commit=checkout.commit if checkout is not None else "",
        packages=tuple(found),
        files=files,
    )


def difference(then: Setup, now: Setup) -> str:
    """What is not as it was when the picture was verified, in one line; "" for nothing."""
    if then.route != now.route:
        return f"it was made by {then.route}; {now.route} is judged now"
    if then.gpu != now.gpu:
        return f"the card is {now.gpu or 'unknown'} now; it was made on {then.gpu}"
    if then.gpu_id != now.gpu_id:
        return f"this is another {now.gpu} than the one it was made on"
    for what, was, is_now in _versions(then, now):
        if was != is_now:
            return f"{what} is {is_now or 'not there'} now; it was {was or 'not there'}"
    return _of_files(then.files or (), now.files or ())


def _versions(then: Setup, now: Setup) -> list[tuple[str, str, str]]:
    packages = dict(now.packages)
    return [
        ("the driver", then.driver, now.driver),
        ("torch", then.torch, now.torch),
        ("ComfyUI", then.version, now.version),
        ("ComfyUI's commit", then.commit[:12], now.commit[:12]),
        *((name, version, packages.get(name, "")) for name, version in then.packages),
    ]


def _of_files(then: tuple[File, ...], now: tuple[File, ...]) -> str:
    there = {file.path: file for file in now}
    for file in then:
        name = file.path.replace("\\", "/").rpartition("/")[2]
        found = there.get(file.path)
        if found is None:
            return f"{name} is not there any more"
        same = (file.size, file.changed_ns) == (found.size, found.changed_ns)
        if not same and not (file.sha256 and file.sha256 == found.sha256):
            return f"{name} is not the file it was"
    return ""
