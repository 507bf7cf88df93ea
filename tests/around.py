"""Builders of literal facts about ComfyUI, packages, memory and disks, healthy unless changed."""

from __future__ import annotations

from trees import PINS

from klein_doctor.installation import (
    Checkout,
    ComfyUI,
    CustomNodes,
    Disk,
    Flag,
    Install,
    Installed,
    Launcher,
    Memory,
    ModelFolder,
    Packages,
    Search,
    Server,
    Surroundings,
    Wanted,
)
from klein_doctor.model import Known, Private

GIB = 1 << 30
ROOT = "~/ComfyUI"
PORTABLE = r"~\ComfyUI_windows_portable\ComfyUI"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
plain = Private.plain
LISTED = {
    **PINS,
    "numpy": "2.3.5",
    "transformers": "5.23.0",
    "tokenizers": "0.22.1",
    "huggingface-hub": "1.30.0",
    "safetensors": "0.7.0",
}


def flag(name: str, value: str = "") -> Flag:
    """One launch argument."""
    return Flag(name, plain(value))


def join(root: str, *names: str) -> str:
    """A path below root, with the separators root has."""
    mark = "\\" if "\\" in root else "/"
    return mark.join((root, *names))


def folders(base: str = ROOT) -> tuple[ModelFolder, ...]:
    """The search path of an installation without an extra_model_paths.yaml."""
    models, output = join(base, "models"), join(base, "output")
    order = {
        "diffusion_models": ("unet", "diffusion_models", "diffusion_models"),
        "text_encoders": ("text_encoders", "clip", "clip"),
        "vae": ("vae", "vae"),
        "checkpoints": ("checkpoints", "checkpoints"),
        "loras": ("loras", "loras"),
    }
    return tuple(
        ModelFolder(category, plain(path), source, source == "models")
        for category, (*places, last) in order.items()
        for path, source in (
            *((join(models, place), "models") for place in places),
            (join(output, last), "output"),
        )
    )


def wanted(installed: dict[str, str | None] | None = None) -> tuple[Wanted, ...]:
    """The lines of requirements.txt beside what is installed."""
    found: dict[str, str | None] = {**LISTED, **(installed or {})}
    pinned = [Wanted(name, f"{name}=={version}", found.get(name), True)
              for name, version in PINS.items()]  # fmt: skip
    floors = [("numpy", "numpy>=1.25.0"), ("transformers", "transformers>=4.50.3"),
              ("safetensors", "safetensors>=0.4.2")]  # fmt: skip
    return (*pinned, *(Wanted(name, text, found.get(name), True) for name, text in floors))


def comfyui(root: str = ROOT, kind: str = "manual", **changes: object) -> ComfyUI:
    """A current ComfyUI."""
    return ComfyUI(
        root=plain(root),
        kind=kind,
        base=plain(root),
        version=Known("0.33.0"),
        klein=Known(True),
        flux2=Known(True),
        checkout=Known(Checkout(COMMIT, "master", Known(False)) if kind == "manual" else None),
        requirements=Known(wanted()),
        custom_nodes=Known(CustomNodes(2, 0, (plain("ComfyUI-Manager"), plain("rgthree")), ())),
        launchers=(),
        folders=Known(folders(root)),
        path_files=(),
    )._replace(**changes)


def install(root: str = ROOT, kind: str = "manual", **changes: object) -> Install:
    """One installation that was found, with its own Python."""
    python = join(root, ".venv", "bin", "python")
    return Install(
        root=plain(root),
        kind=kind,
        found_by="home folder",
        python=plain(python),
        python_from="own",
        base=plain(root),
        last_used=1763800000,
        port=None,
    )._replace(**changes)


def search(*found: Install, chosen: int | None = 0, why: str = "") -> Search:
    """A search and what it chose."""
    looked = ("current folder", "home folder", "launchers' settings", "running servers")
    return Search(found, chosen if found else None, why, looked)


def launcher(kind: str, path: str, *flags: Flag, listen: str = "", **changes: object) -> Launcher:
    """A file or setting that starts ComfyUI."""
    return Launcher(kind, plain(path), 1, flags, listen, None)._replace(**changes)


def server(port: int = 8188, **changes: object) -> Server:
    """A running ComfyUI."""
    return Server(
        port=port,
        outcome="ok",
        detail="",
        pid=5120,
        rss_bytes=2 * GIB,
        version="0.33.0",
        torch="2.14.1+cu130",
        python="3.12.3",
        listen="",
        flags=(),
        devices=(("NVIDIA GeForce RTX 5070", 12227 << 20, 10808 << 20),),
    )._replace(**changes)


def packages(versions: dict[str, str | None] | None = None, count: int = 142) -> Packages:
    """The distributions that matter; None takes one away."""
    found = {**LISTED, **(versions or {})}
    return Packages(
        count,
        tuple(
            Installed(name, version, (), 0)
            for name, version in sorted(found.items())
            if version is not None
        ),
    )


def surroundings(**changes: object) -> Surroundings:
    """Nothing in the way of the target."""
    return Surroundings(
        managed=None,
        managed_by="",
        user_site=None,
        user_packages=(),
        path_python=plain("/usr/bin/python3"),
        path_python_is_target=False,
        path_pip=plain("/usr/bin/pip3"),
        path_pip_is_target=False,
        doctor_inside=False,
        shadowing=(),
    )._replace(**changes)


def memory(total: int = 32, available: int = 24, **changes: object) -> Memory:
    """RAM in GiB."""
    return Memory(
        total=total * GIB,
        available=available * GIB,
        limit=None,
        limit_free=None,
        limited_by="",
        commit_limit=None,
        commit_free=None,
        swap_total=2 * GIB,
        swap_free=2 * GIB,
        zram_total=0,
        zram_free=0,
    )._replace(**changes)


def disk(role: str, path: str, free: int = 180, **changes: object) -> Disk:
    """A file system, its free space in GiB."""
    return Disk(
        role=role,
        path=plain(path),
        volume=66306,
        kind="ext4",
        total=Known(480 * GIB),
        free=Known(free * GIB),
        writable=Known(True),
        ascii=True,
        longest=len(path) + 60,
    )._replace(**changes)


def disks(root: str = ROOT, **changes: object) -> tuple[Disk, ...]:
    """The four folders that matter, on one file system."""
    windows = "\\" in root
    state = r"~\AppData\Local\klein-doctor" if windows else "~/.local/state/klein-doctor"
    temp = r"~\AppData\Local\Temp" if windows else "/tmp"
    cache = r"~\.cache\huggingface\hub" if windows else "~/.cache/huggingface/hub"
    kind = {"kind": "ntfs"} if windows else {}
    places = {"models": join(root, "models"), "hub-cache": cache, "temp": temp, "state": state}
    return tuple(disk(role, path, **{**kind, **changes}) for role, path in places.items())
