"""Operating system, WSL, container; the variables that hide GPUs; the kernel's NVIDIA driver."""

from __future__ import annotations

import re

from klein_doctor.model import (
    Environment,
    Fact,
    KernelDriver,
    Known,
    PciDisplay,
    Private,
    System,
    Unknown,
)
from klein_doctor.probes.outside import Outside, is_file, names, read_text

_OS_NAMES = {"win32": "windows", "darwin": "darwin"}
_CONTAINER_MARKS = (
    ("kubepods", "kubernetes"),
    ("docker", "docker"),
    ("libpod", "podman"),
    ("containerd", "containerd"),
    ("lxc", "lxc"),
)
_DISPLAY_CLASS = "0x03"
_WSL_STUBS = ("/usr/lib/wsl/lib/libnvidia-ml.so.1", "/usr/lib/wsl/lib/libcuda.so.1")


def read_system(outside: Outside) -> System:
    """The operating system, with WSL (0, 1 or 2) and the container runtime if there is one."""
    kernel = outside.text("/proc/sys/kernel/osrelease").strip() or outside.release
    return System(
        os=_OS_NAMES.get(outside.platform, outside.platform),
        release=kernel,
        distribution=_distribution(outside),
        machine=outside.machine.lower().replace("amd64", "x86_64"),
        wsl=_wsl(outside, kernel),
        container=_container(outside),
    )


def read_environment(outside: Outside) -> Environment:
    """The variables that decide which GPU CUDA sees, by name; no other variable is read."""

    def devices(name: str) -> Private | None:
        value = outside.env.get(name)
        return None if value is None else outside.redactor.devices(value[:1000])

    def word(name: str) -> str | None:
        value = outside.env.get(name)
        return None if value is None else value[:200]

    return Environment(
        cuda_visible_devices=devices("CUDA_VISIBLE_DEVICES"),
        cuda_device_order=word("CUDA_DEVICE_ORDER"),
        nvidia_visible_devices=devices("NVIDIA_VISIBLE_DEVICES"),
        nvidia_driver_capabilities=word("NVIDIA_DRIVER_CAPABILITIES"),
        cuda_module_loading=word("CUDA_MODULE_LOADING"),
    )


def read_kernel(outside: Outside) -> Fact[KernelDriver]:
    """What the Linux kernel says of NVIDIA; Unknown on other systems."""
    if outside.platform != "linux":
        return Unknown("only Linux describes its driver in files")
    version = outside.text("/proc/driver/nvidia/version")
    modules = [line.split(" ", 1)[0] for line in outside.text("/proc/modules").splitlines()]
    return Known(
        KernelDriver(
            module=_module_version(version),
            flavour=_flavour(version),
            loaded_modules=tuple(m for m in modules if m.startswith(("nvidia", "nouveau"))),
            nodes=tuple(
                name
                for name in outside.names("/dev")
                if re.fullmatch(r"nvidia(ctl|-uvm|\d+)|dxg", name)
            ),
            modprobe=is_file(outside.at("/usr/bin/nvidia-modprobe")),
            secure_boot=_secure_boot(outside),
            wsl_stub=any(is_file(outside.at(path)) for path in _WSL_STUBS),
            displays=tuple(_displays(outside)),
        )
    )


def _distribution(outside: Outside) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', outside.text("/etc/os-release"), re.MULTILINE)
    return found.group(1)[:100] if found else ""


def _wsl(outside: Outside, kernel: str) -> int:
    if outside.platform != "linux" or "microsoft" not in kernel.casefold():
        return 0
    # WSL 1 spells the vendor with a capital letter and has no Linux kernel of its own.
    return 1 if "Microsoft" in kernel and "WSL2" not in kernel else 2


def _container(outside: Outside) -> str:
    if outside.platform != "linux":
        return ""
    if "KUBERNETES_SERVICE_HOST" in outside.env:
        return "kubernetes"
    if is_file(outside.at("/.dockerenv")):
        return "docker"
    if is_file(outside.at("/run/.containerenv")):
        return "podman"
    groups = outside.text("/proc/1/cgroup")
    named = next((name for mark, name in _CONTAINER_MARKS if mark in groups), "")
    # systemd writes the name down for everybody; only the first process has the variable.
    named = (
        named or outside.text("/run/systemd/container").strip() or outside.env.get("container", "")
    )
    return "" if named == "wsl" else named[:40]


def _module_version(text: str) -> str:
    found = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", text)
    return found.group(1) if found else ""


def _flavour(text: str) -> str:
    if not text:
        return ""
    return "open" if "Open Kernel Module" in text else "proprietary"


def _secure_boot(outside: Outside) -> bool:
    folder = "/sys/firmware/efi/efivars"
    for name in outside.names(folder):
        if name.startswith("SecureBoot-"):
            try:
                return outside.at(f"{folder}/{name}").read_bytes()[-1:] == b"\x01"
            except OSError:
                return False
    return False


def _displays(outside: Outside) -> list[PciDisplay]:
    bus = outside.at("/sys/bus/pci/devices")
    found = []
    for name in names(bus):
        device = bus / name
        if not read_text(device / "class", 64).startswith(_DISPLAY_CLASS):
            continue
        driver = device / "driver"
        try:
            bound = driver.resolve().name if driver.is_symlink() else ""
        except (OSError, RuntimeError):
            bound = ""
        found.append(
            PciDisplay(
                vendor=read_text(device / "vendor", 64).strip().removeprefix("0x"),
                device=read_text(device / "device", 64).strip().removeprefix("0x"),
                driver=bound,
                bar_bytes=_largest_bar(read_text(device / "resource", 4096)),
            )
        )
    return found


def _largest_bar(text: str) -> int:
    """The largest memory window of a PCI device, in bytes."""
    largest = 0
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[0].startswith("0x") and fields[1].startswith("0x"):
            try:
                start, end = int(fields[0], 16), int(fields[1], 16)
            except ValueError:
                continue
            largest = max(largest, end - start + 1 if end > start else 0)
    return largest
