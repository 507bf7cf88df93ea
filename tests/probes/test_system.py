"""Operating systems told from their files, and the GPUs CUDA would see."""

from __future__ import annotations

from pathlib import Path

import construct as c
import pytest

from klein_doctor.codec import decode, encode
from klein_doctor.model import (
    Environment,
    KernelDriver,
    Known,
    MigInstance,
    Nvml,
    Private,
    Unknown,
    Visible,
)
from klein_doctor.privacy import Redactor
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.system import read_environment, read_kernel, read_system
from klein_doctor.probes.visible import SelectorError, read_visible

OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  "
    "(dvs-builder@U22)  Tue Sep 23 09:41:46 UTC 2025\nGCC version:  gcc version 13.3.0\n"
)
CLOSED = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n"
    "GCC version:  gcc version 12.3.0\n"
)


def machine(root: Path, platform: str = "linux", files: dict[str, str] | None = None,
            **env: str) -> Outside:  # fmt: skip
    for name, content in (files or {}).items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return Outside(root, env, platform, Redactor((), (), ()), "6.8.0-generic", "x86_64")


@pytest.mark.parametrize(
    ("files", "env", "container"),
    [
        ({}, {}, ""),
        ({"/.dockerenv": ""}, {}, "docker"),
        ({"/run/.containerenv": ""}, {}, "podman"),
        ({}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({"/proc/1/cgroup": "0::/kubepods/besteffort/pod1\n"}, {}, "kubernetes"),
        ({"/proc/1/cgroup": "12:cpu:/docker/0123\n"}, {}, "docker"),
        ({"/proc/1/cgroup": "0::/lxc/web\n"}, {}, "lxc"),
        ({"/proc/1/cgroup": "0::/init.scope\n"}, {"container": "systemd-nspawn"}, "systemd-nspawn"),
        ({"/proc/1/cgroup": "0::/\n", "/run/systemd/container": "lxc\n"}, {}, "lxc"),
        ({"/run/systemd/container": "wsl\n"}, {}, ""),
    ],
)
def test_containers(
    tmp_path: Path, files: dict[str, str], env: dict[str, str], container: str
) -> None:
    assert read_system(machine(tmp_path, files=files, **env)).container == container


@pytest.mark.parametrize(
    ("release", "wsl"),
    [
        ("6.6.87.2-microsoft-standard-WSL2", 2),
        ("5.15.90.1-microsoft-custom", 2),
        ("4.4.0-19041-Microsoft", 1),
        ("6.8.0-45-generic", 0),
    ],
)
def test_wsl(tmp_path: Path, release: str, wsl: int) -> None:
    found = read_system(machine(tmp_path, files={"/proc/sys/kernel/osrelease": release + "\n"}))
    assert (found.wsl, found.release) == (wsl, release)


def test_distribution_and_platforms(tmp_path: Path) -> None:
    text = 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 24.04.3 LTS"\n'
    found = read_system(machine(tmp_path, files={"/etc/os-release": text}))
    assert (found.os, found.distribution, found.machine) == (
        "linux",
        "Ubuntu 24.04.3 LTS",
        "x86_64",
    )
    assert read_system(machine(tmp_path, "win32")).os == "windows"
    assert read_system(machine(tmp_path, "darwin")).os == "darwin"
    assert isinstance(read_kernel(machine(tmp_path, "win32")), Unknown)


def kernel(root: Path, **files: str) -> KernelDriver:
    found = read_kernel(machine(root, files=files))
    assert isinstance(found, Known)
    return found.value


def test_kernel_modules(tmp_path: Path) -> None:
    found = kernel(tmp_path / "a", **{"/proc/driver/nvidia/version": OPEN})
    assert (found.module, found.flavour) == ("580.95.05", "open")
    found = kernel(tmp_path / "b", **{"/proc/driver/nvidia/version": CLOSED,
                                     "/proc/modules": "nvidia_uvm 1 0\nnvidia 2 1\next4 3 1\n",
                                     "/dev/nvidia0": "", "/dev/nvidiactl": "", "/dev/null": "",
                                     "/dev/nvidia-caps": "", "/usr/bin/nvidia-modprobe": "",
                                     "/usr/lib/wsl/lib/libcuda.so.1": ""})  # fmt: skip
    assert (found.module, found.flavour) == ("535.183.01", "proprietary")
    assert found.loaded_modules == ("nvidia_uvm", "nvidia")
    assert found.nodes == ("nvidia0", "nvidiactl")
    assert found.modprobe and found.wsl_stub
    assert kernel(tmp_path / "none") == KernelDriver("", "", (), (), False, False, False, ())


def test_pci_bus_and_secure_boot(tmp_path: Path) -> None:
    card = "/sys/bus/pci/devices/0000:01:00.0"
    sound = "/sys/bus/pci/devices/0000:01:00.1"
    bars = (
        "0x00000000f0000000 0x00000000f3ffffff 0x0000000000040200\n"
        "0x0000006000000000 0x00000063ffffffff 0x000000000014220c\n"
        "0x0000000000000000 0x0000000000000000 0x0000000000000000\nnonsense\n"
    )
    found = kernel(tmp_path, **{
        f"{card}/class": "0x030000\n", f"{card}/vendor": "0x10de\n", f"{card}/device": "0x2f04\n",
        f"{card}/resource": bars, f"{sound}/class": "0x040300\n", f"{sound}/vendor": "0x10de\n",
    })  # fmt: skip
    assert [(d.vendor, d.device, d.driver, d.bar_bytes >> 30) for d in found.displays] == [
        ("10de", "2f04", "", 16)
    ]
    assert not found.secure_boot
    variable = tmp_path / "sys/firmware/efi/efivars/SecureBoot-8be4df61"
    variable.parent.mkdir(parents=True)
    variable.write_bytes(b"\x06\0\0\0\x01")
    assert kernel(tmp_path).secure_boot
    (tmp_path / card.lstrip("/") / "driver").symlink_to("/sys/bus/pci/drivers/nouveau")
    assert kernel(tmp_path).displays[0].driver == "nouveau"


def test_only_listed_variables_are_read(tmp_path: Path) -> None:
    env = {"CUDA_VISIBLE_DEVICES": "0,GPU-5a3c", "CUDA_MODULE_LOADING": "EAGER"}
    found = read_environment(machine(tmp_path, HF_TOKEN="hf_secret", **env))
    assert found.cuda_visible_devices is not None
    assert found.cuda_visible_devices.real == "0,GPU-5a3c"
    assert found.cuda_visible_devices.public == "0,GPU-1"
    assert found.cuda_module_loading == "EAGER" and found.cuda_device_order is None
    assert "hf_secret" not in repr(found)


def test_values_of_any_length_fit_into_a_report(tmp_path: Path) -> None:
    names = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES",
             "NVIDIA_DRIVER_CAPABILITIES", "CUDA_MODULE_LOADING")  # fmt: skip
    found = read_environment(machine(tmp_path, **dict.fromkeys(names, "x" * 100_000)))
    assert decode(Environment, encode(found, "public")) == decode(
        Environment, encode(found, "local")
    )


def test_a_bus_of_loops_and_rubbish_is_survived(tmp_path: Path) -> None:
    card = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    (card / "resource").mkdir(parents=True)
    (card / "driver").symlink_to(card / "driver")
    (card / "class").write_bytes(b"0x030200\xff")
    (card / "vendor").symlink_to(card / "vendor")
    (tmp_path / "proc/driver/nvidia/version").mkdir(parents=True)
    (tmp_path / "dev").write_text("")
    (tmp_path / "sys/firmware/efi/efivars/SecureBoot-1").mkdir(parents=True)
    found = kernel(tmp_path)
    assert found.module == "" and found.nodes == () and not found.secure_boot
    assert [(d.vendor, d.bar_bytes) for d in found.displays] == [("", 0)]


# --- what CUDA would see ---------------------------------------------------------------------

UUIDS = ("GPU-aaaa1111", "GPU-aaaa2222", "GPU-bbbb3333")
SLICE = MigInstance(Private.plain("MIG-cccc4444"), Known(10 << 30))


def gpus() -> Nvml:
    """By the bus: a weaker card, the strongest, a twin of the weaker."""
    return c.nvml(
        c.weaker(0)._replace(uuid=Private.plain(UUIDS[0])),
        c.gpu(1)._replace(uuid=Private.plain(UUIDS[1])),
        c.weaker(2)._replace(uuid=Private.plain(UUIDS[2]), mig_instances=(SLICE,)),
    )


def seen(
    listed: str | None, order: str | None = None, selector: str = "", nvml: Nvml | None = None
) -> Visible:
    private = None if listed is None else Private.plain(listed)
    env = c.environment(cuda_visible_devices=private, cuda_device_order=order)
    found = read_visible(Known(nvml or gpus()), env, selector)
    assert isinstance(found, Known)
    return found.value


@pytest.mark.parametrize(
    ("listed", "order", "visible", "problem"),
    [
        (None, "PCI_BUS_ID", (0, 1, 2), ""),
        (None, None, (1, 0, 2), ""),
        ("0", "PCI_BUS_ID", (0,), ""),
        ("0", None, (1,), ""),
        ("2,0", "PCI_BUS_ID", (2, 0), ""),
        ("", None, (), "is set but empty"),
        ("-1", None, (), "negative"),
        ("9", None, (), "names device 9, but there are 3"),
        ("0,9,1", "PCI_BUS_ID", (0,), "names device 9"),
        ("0,-1,1", "PCI_BUS_ID", (0,), "negative"),
        (" 1 , 2 ", "PCI_BUS_ID", (1, 2), ""),
        ("GPU-aaaa2222", None, (1,), ""),
        ("GPU-bb", None, (2,), ""),
        ("GPU-AAAA1111", None, (0,), ""),
        ("GPU-aaaa", None, (), "no GPU here has"),
        ("GPU-", None, (), "no GPU here has"),
        ("GPU-bad", None, (), "no GPU here has"),
        ("none", None, (), "neither a number nor"),
        ("٣", None, (), "neither a number nor"),
    ],
)
def test_device_lists(
    listed: str | None, order: str | None, visible: tuple[int, ...], problem: str
) -> None:
    found = seen(listed, order)
    assert found.order == visible and problem in found.problem
    assert found.chosen == (visible[0] if visible else None)
    assert found.certain == (order == "PCI_BUS_ID")


def test_equal_cards_have_a_certain_order() -> None:
    found = seen(None, nvml=c.nvml(c.gpu(0), c.gpu(1)))
    assert found.certain and found.order == (0, 1)


def test_slices_and_selectors() -> None:
    named = seen("MIG-cccc4444")
    assert named.chosen == 2 and named.mig == SLICE
    assert seen("-1", selector="1").chosen == 1
    assert seen(None, selector="GPU-bbbb").chosen == 2
    assert seen(None, selector="0").chosen_by == "--gpu"
    for bad in ("3", "GPU-zz", "RTX 5070", "-1"):
        with pytest.raises(SelectorError, match="--gpu"):
            seen(None, selector=bad)


def test_without_cards_there_is_nothing_to_see() -> None:
    env = c.environment()
    assert isinstance(read_visible(Known(c.nvml()), env, ""), Unknown)
    assert read_visible(Unknown("hung"), env, "0") == Unknown("hung")
