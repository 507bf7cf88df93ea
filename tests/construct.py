"""Builders of literal facts of whole machines: card, driver, Python and PyTorch.

Each machine of MADE is a healthy one with the facts of one known trouble put in their place.
"""

from __future__ import annotations

from collections.abc import Callable

import around
import model_facts

from klein_doctor.attention import Scan
from klein_doctor.installation import ComfyUI, Guard, Hub, Install
from klein_doctor.model import (
    Distribution,
    Environment,
    Facts,
    Gpu,
    GpuProcess,
    Interpreter,
    KernelDriver,
    Known,
    Nvml,
    Package,
    PciDisplay,
    Private,
    System,
    TorchBinary,
    Unknown,
    Visible,
)

CU126 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
CU130 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
GIB = 1 << 30
NOT_SUPPORTED = Unknown("NVML: Not Supported")
plain = Private.plain


def system(**changes: object) -> System:
    return System("linux", "6.14.0-33-generic", "Ubuntu 24.04.3 LTS", "x86_64", 0, "")._replace(
        **changes
    )


def environment(**changes: object) -> Environment:
    return Environment(None, None, None, None, None)._replace(**changes)


def kernel(**changes: object) -> KernelDriver:
    return KernelDriver(
        module="580.95.05",
        flavour="open",
        loaded_modules=("nvidia_uvm", "nvidia_drm", "nvidia_modeset", "nvidia"),
        nodes=("nvidia-uvm", "nvidia0", "nvidiactl"),
        modprobe=True,
        secure_boot=False,
        wsl_stub=False,
        displays=(PciDisplay("10de", "2f04", "nvidia", 16 * GIB),),
    )._replace(**changes)


def gpu(index: int = 0, name: str = "NVIDIA GeForce RTX 5070", **changes: object) -> Gpu:
    return Gpu(
        nvml_index=index,
        name=Known(name),
        uuid=plain(f"GPU-{index + 1}"),
        compute_capability=Known((12, 0)),
        total_bytes=Known(12227 << 20),
        reserved_bytes=Known(377 << 20),
        used_bytes=Known(1042 << 20),
        free_bytes=Known(10808 << 20),
        display_active=Known(True),
        compute_mode=Known("default"),
        mig_enabled=NOT_SUPPORTED,
        mig_instances=(),
        processes=Known(
            (
                GpuProcess(2211, "Xorg", Known(412 << 20)),
                GpuProcess(2390, "gnome-shell", Known(187 << 20)),
                GpuProcess(4102, "firefox", Known(391 << 20)),
            )
        ),
        driver_model=NOT_SUPPORTED,
        fault="",
    )._replace(**changes)


def weaker(index: int = 1) -> Gpu:
    return gpu(
        index,
        "NVIDIA GeForce RTX 3060",
        compute_capability=Known((8, 6)),
        total_bytes=Known(12288 << 20),
        used_bytes=Known(9 << 20),
        free_bytes=Known(12003 << 20),
        reserved_bytes=Known(276 << 20),
        display_active=Known(False),
        processes=Known(()),
    )


def nvml(*gpus: Gpu, driver: str = "580.95.05", cuda: tuple[int, int] = (13, 0)) -> Nvml:
    return Nvml("ok", "done", "", Known(driver), Known(cuda), Known("loaded"), gpus)


def silent(outcome: str, detail: str) -> Nvml:
    reason = Unknown(f"NVML did not start: {detail}")
    return Nvml(outcome, "nvmlInit", detail, reason, reason, Known("libcuda.so.1 is absent"), ())


def package(name: str, version: str, cuda: str | None, site: str) -> Package:
    number = version.partition("+")[0]
    return Package(
        name=name,
        present=True,
        version=Known(version),
        cuda=Known(cuda),
        hip=None,
        xpu=None,
        location=plain(site),
        distributions=(
            Distribution(version, "pip", False, plain(f"{site}/{name}-{number}.dist-info")),
        ),
    )


def absent(name: str, site: str) -> Package:
    nothing = Unknown("no version is written down")
    return Package(name, False, nothing, nothing, None, None, plain(site), ())


def machine(
    torch: str = "2.14.1+cu130",
    vision: str = "0.29.1+cu130",
    cuda: str | None = "13.0",
    archs: tuple[str, ...] = CU130,
    windows: bool = False,
    python: tuple[int, ...] = (3, 12, 3),
) -> Facts:
    """A healthy RTX 5070 machine, but for what the arguments say of its torch."""
    prefix = r"~\ComfyUI_windows_portable\python_embeded" if windows else "~/ComfyUI/.venv"
    site = prefix + (r"\Lib\site-packages" if windows else "/lib/python3.12/site-packages")
    no_archs = Unknown("libtorch_python.so holds no list of GPU architectures")
    return Facts(
        system=Known(system()),
        environment=Known(environment()),
        kernel=Known(kernel()),
        nvml=Known(nvml(gpu())),
        visible=Known(Visible((0,), True, "", 0, "first", None)),
        interpreter=Known(
            Interpreter(
                path=plain(prefix + (r"\python.exe" if windows else "/bin/python")),
                fault=plain(""),
                version=Known(python),
                kind="embedded" if windows else "venv",
                prefix=plain(prefix),
                site_packages=(plain(site),),
                has_pip=True,
                has_uv=False,
            )
        ),
        torch=Known(package("torch", torch, cuda, site)),
        torch_binary=Known(TorchBinary(Known(archs) if archs else no_archs, (), ())),
        torchvision=Known(package("torchvision", vision, cuda, site)),
        torchaudio=Known(absent("torchaudio", site)),
        route=Known("auto"),
        search=Known(around.search(_install(windows))),
        comfyui=Known(_comfyui(windows)),
        servers=Known(()),
        packages=Known(around.packages()),
        surroundings=Known(around.surroundings()),
        memory=Known(around.memory()),
        disks=Known(around.disks(around.PORTABLE if windows else around.ROOT)),
        models=Known(model_facts.healthy(around.PORTABLE if windows else around.ROOT)),
        workflows=Known(()),
        extensions=Known(()),
        overrides=Known(Scan((), 120, True, 0)),
        hub=Known(Hub(None)),
        settings=Known(()),
        secrets=Known(()),
        faults=Known(()),
    )


def _comfyui(windows: bool) -> ComfyUI:
    if not windows:
        return around.comfyui()
    line = around.launcher(
        "bat",
        r"~\ComfyUI_windows_portable\run_nvidia_gpu.bat",
        around.flag("--windows-standalone-build"),
        isolated=True,
    )
    return around.comfyui(around.PORTABLE, "portable", launchers=(line,))


def _install(windows: bool) -> Install:
    if not windows:
        return around.install()
    python = plain(r"~\ComfyUI_windows_portable\python_embeded\python.exe")
    return around.install(around.PORTABLE, "portable", python=python)


def on_windows(facts: Facts, driver: str = "581.42", card: Gpu | None = None) -> Facts:
    """The facts as Windows gives them: no kernel files, memory of processes not told."""
    nothing = Unknown("NVML does not tell under this driver model")
    card = card or gpu()
    card = card._replace(
        driver_model=Known("WDDM"),
        processes=Known(
            (GpuProcess(1432, "dwm.exe", nothing), GpuProcess(8212, "chrome.exe", nothing))
        ),
    )
    return facts._replace(
        system=Known(system(os="windows", release="10.0.26200", distribution="")),
        kernel=Unknown("only Linux describes its driver in files"),
        nvml=Known(nvml(card, driver=driver)),
    )


def _windows_cpu() -> Facts:
    return on_windows(machine("2.15.0+cpu", "0.29.2+cpu", None, (), windows=True))


def _laptop() -> Facts:
    card = gpu(
        name="NVIDIA GeForce RTX 5080 Laptop GPU",
        total_bytes=Known(16303 << 20),
        free_bytes=Known(15100 << 20),
    )
    facts = on_windows(machine(windows=True), "573.24", card)
    assert isinstance(facts.nvml, Known)
    return facts._replace(nvml=Known(facts.nvml.value._replace(cuda=Known((12, 8)))))


def _old_driver() -> Facts:
    card = weaker(0)._replace(display_active=Known(True), free_bytes=Known(11200 << 20))
    return machine("2.14.1+cu130")._replace(
        kernel=Known(
            kernel(
                module="535.183.01",
                flavour="proprietary",
                displays=(PciDisplay("10de", "2504", "nvidia", 16 * GIB),),
            )
        ),
        nvml=Known(nvml(card, driver="535.183.01", cuda=(12, 2))),
    )


def _two_gpus() -> Facts:
    return machine()._replace(
        environment=Known(
            environment(cuda_visible_devices=plain("1"), cuda_device_order="PCI_BUS_ID")
        ),
        nvml=Known(nvml(gpu(), weaker())),
        visible=Known(Visible((1,), True, "", 1, "CUDA_VISIBLE_DEVICES", None)),
    )


def _hidden() -> Facts:
    why = "contains a negative number, which ends the list"
    return machine()._replace(
        environment=Known(environment(cuda_visible_devices=plain("-1"))),
        visible=Known(Visible((), True, why, None, "CUDA_VISIBLE_DEVICES", None)),
    )


def _no_gpu(facts: Facts, answer: Nvml, kernel_facts: KernelDriver, **around: object) -> Facts:
    return facts._replace(
        system=Known(system(**around)),
        kernel=Known(kernel_facts),
        nvml=Known(answer),
        visible=Unknown("NVML (the driver's query library) shows no GPU"),
    )


def _container() -> Facts:
    facts = _no_gpu(
        machine(),
        silent("library-missing", "NVML Shared Library Not Found"),
        kernel(modprobe=False),
        container="docker",
    )
    return facts._replace(
        environment=Known(
            environment(nvidia_visible_devices=plain("all"), nvidia_driver_capabilities="compute")
        )
    )


def _wsl() -> Facts:
    card = gpu(processes=Known(()), display_active=Known(True))
    return machine()._replace(
        system=Known(system(release="6.6.87.2-microsoft-standard-WSL2", wsl=2)),
        kernel=Known(
            kernel(
                module="",
                flavour="",
                loaded_modules=(),
                nodes=("dxg",),
                modprobe=False,
                wsl_stub=True,
                displays=(),
            )
        ),
        nvml=Known(nvml(card, driver="581.42")),
    )


def _wsl_without_stub() -> Facts:
    return _no_gpu(
        machine(),
        silent("library-missing", "NVML Shared Library Not Found"),
        kernel(
            module="", flavour="", loaded_modules=(), nodes=("dxg",), modprobe=False, displays=()
        ),
        release="6.6.87.2-microsoft-standard-WSL2",
        wsl=2,
    )


def _no_driver() -> Facts:
    return _no_gpu(
        machine("2.6.0+cu126", "0.21.0+cu126", "12.6", CU126),
        silent("library-missing", "NVML Shared Library Not Found"),
        kernel(
            module="",
            flavour="",
            loaded_modules=(),
            nodes=(),
            modprobe=False,
            displays=(PciDisplay("10de", "2f04", "", 16 * GIB),),
        ),
    )


def _proprietary() -> Facts:
    return _no_gpu(machine(), nvml(driver="580.95.05"), kernel(flavour="proprietary"))


def guard(root: str = around.ROOT, **changes: object) -> Guard:
    """Nothing keeps torch, and ComfyUI-Manager is there."""
    folder = plain(around.join(root, "user", "__manager"))
    return Guard((), (), 0, folder, (), False)._replace(**changes)


def _unguarded() -> Facts:
    return machine()._replace(guard=Known(guard()))


# Name: how it is made, its first finding, its exit code.
MADE: dict[str, tuple[Callable[[], Facts], str | None, int]] = {
    "healthy-rtx5070-linux-cu130": (machine, None, 0),
    "healthy-rtx5070-windows-portable": (lambda: on_windows(machine(windows=True)), None, 0),
    "healthy-unguarded": (_unguarded, "torch-unguarded:1", 0),
    "cu126-wheel-on-sm120": (
        lambda: machine("2.6.0+cu126", "0.21.0+cu126", "12.6", CU126),
        "torch-lacks-arch:1",
        1,
    ),
    "cpu-wheel-on-windows": (_windows_cpu, "torch-cpu-only:1", 1),
    "driver-573-with-cu130": (_laptop, "driver-too-old:1", 1),
    "rtx3060-on-driver-535": (_old_driver, "driver-too-old:1", 1),
    "two-gpus-weaker-chosen": (_two_gpus, "gpu-not-the-best:1", 0),
    "cuda-visible-devices-minus-one": (_hidden, "gpu-hidden:1", 1),
    "container-without-utility": (_container, "gpu-not-found:1", 1),
    "wsl2-healthy": (_wsl, None, 0),
    "wsl2-without-driver-library": (_wsl_without_stub, "gpu-not-found:1", 1),
    "no-driver-at-all": (_no_driver, "gpu-not-found:1", 1),
    "rtx50-with-proprietary-module": (_proprietary, "gpu-not-found:1", 1),
}
