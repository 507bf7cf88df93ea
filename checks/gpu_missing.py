"""Does any NVIDIA card answer, and if not, why?"""

from __future__ import annotations

from klein_doctor.card import NVIDIA_PCI_VENDOR, chosen_gpu, pci_rows, short_name
from klein_doctor.model import Facts, Harm, Known, Outcome, Repair, Unknown, Verdict, known
from klein_doctor.outcomes import DRIVER_PAGE, START_WITH_CARD, driver_of, gib, passed, unknown
from klein_doctor.recipe import Recipe, pair
from klein_doctor.registry import check

_VENDORS = {"1002": "AMD", "8086": "Intel", NVIDIA_PCI_VENDOR: "NVIDIA"}


@check(
    "gpu-not-found",
    family="gpu",
    title="An NVIDIA card answers",
    harm=Harm.STOPS,
    follows=("driver-library-mismatch", "driver-broken", "driver-too-old"),
    reads="NVML, the driver's own query library; on Linux also the PCI bus, /proc/driver/nvidia "
    "and the container's settings, to tell why no card answers.",
    why="FLUX.2 [klein] runs on an NVIDIA card. Without one that answers, nothing else matters.",
    by_hand="Run nvidia-smi. 'No devices were found' on an RTX 50 card under Linux means the "
    "open kernel module is missing; 'command not found' means there is no driver; inside a "
    "container start it with --gpus all; under WSL install the driver on the Windows side only.",
)
def gpu_not_found(facts: Facts, recipe: Recipe) -> Outcome:
    if isinstance(facts.nvml, Unknown):
        return unknown("Whether an NVIDIA card answers is not known", facts.nvml)
    if facts.nvml.value.gpus:
        return _found(facts)
    cause, what_to_do, title = _why_no_gpu(facts, recipe)
    return Outcome(
        Verdict.FAIL,
        title,
        cause,
        evidence={"nvml": facts.nvml.value.outcome, "said": facts.nvml.value.detail},
        fixes=(what_to_do,),
    )


def _found(facts: Facts) -> Outcome:
    gpu = chosen_gpu(facts)
    if gpu is None:
        return passed("An NVIDIA card is in this machine")
    parts = [short_name(gpu)]
    if isinstance(gpu.total_bytes, Known):
        parts.append(gib(gpu.total_bytes.value))
    if isinstance(gpu.free_bytes, Known):
        parts.append(f"{gib(gpu.free_bytes.value)} free now")
    return passed(", ".join(parts), driver=driver_of(facts))


def _why_no_gpu(facts: Facts, recipe: Recipe) -> tuple[str, Repair, str]:
    """(detail, what to do, title) for a machine whose driver shows no card."""
    assert isinstance(facts.nvml, Known)
    system = facts.system.value if isinstance(facts.system, Known) else None
    title = "No NVIDIA card answers on this machine"
    if system is not None and system.os == "darwin":
        detail = "This is a Mac: current Macs have no NVIDIA card, and the doctor covers no other."
        return (
            detail,
            Repair("other-machine", "hardware", "manual", "use a machine with an NVIDIA card"),
            title,
        )
    if system is not None and system.wsl:
        return (*_wsl(facts, system.wsl), "WSL does not see the NVIDIA card")
    if system is not None and system.container:
        return (*_container(facts, system.container), "This container does not see an NVIDIA card")
    if facts.nvml.value.outcome == "library-missing":
        return (*_no_driver(facts), title)
    if facts.nvml.value.outcome == "no-permission":
        return (
            "The driver is there, but this user may not talk to it (the files /dev/nvidia* are "
            "closed to it).",
            Repair(
                "gpu-permission",
                "system",
                "manual",
                "ask the administrator for access to /dev/nvidia* (often the group video or "
                "render)",
            ),
            "This user may not use the NVIDIA card",
        )
    if facts.nvml.value.outcome != "ok" and facts.nvml.value.outcome != "driver-not-loaded":
        return (*_no_answer(), "The NVIDIA driver does not say which cards are here")
    if facts.nvml.value.outcome == "driver-not-loaded":
        return (*_not_loaded(facts), "The NVIDIA driver is installed but not running")
    return (*_no_device(facts, recipe), "The NVIDIA driver runs but finds no card")


def _wsl(facts: Facts, version: int) -> tuple[str, Repair]:
    if version == 1:
        return (
            "This is WSL 1, which has no GPU support; WSL 2 has.",
            Repair(
                "wsl-2",
                "system",
                "manual",
                "convert the distribution, in Windows",
                (("wsl", "--set-version", "<distribution>", "2"),),
            ),
        )
    stub = isinstance(facts.kernel, Unknown) or facts.kernel.value.wsl_stub
    detail = (
        "The driver library that Windows lends to WSL (in /usr/lib/wsl/lib) shows no card."
        if stub
        else "Windows lends WSL its driver library (in /usr/lib/wsl/lib), but it is absent: the "
        "Windows driver is missing or too old, or WSL is."
    )
    return (
        detail,
        Repair(
            "wsl-driver",
            "driver",
            "manual",
            f"install the NVIDIA driver in Windows ({DRIVER_PAGE}), not in WSL; then, in Windows:",
            (("wsl", "--update"), ("wsl", "--shutdown")),
        ),
    )


_WITH_CARD = Repair(
    "container-gpu",
    "system",
    "manual",
    "start the container again with the card (the host needs the NVIDIA Container Toolkit); other "
    "runtimes have a setting of the same meaning",
    (START_WITH_CARD,),
)


def _container(facts: Facts, runtime: str) -> tuple[str, Repair]:
    env = known(facts.environment)
    listed = env.nvidia_visible_devices if env is not None else None
    if listed is not None and listed.real in ("", "void", "none"):
        return (
            f"NVIDIA_VISIBLE_DEVICES is '{listed.real}' in this {runtime} container, which "
            "withholds every card from it."
        ), _WITH_CARD
    if isinstance(facts.kernel, Unknown):
        return f"No card answers in this {runtime} container.", _WITH_CARD
    if not any(name.startswith("nvidia") for name in facts.kernel.value.nodes):
        return (
            f"This {runtime} container was started without the card: no /dev/nvidia* is in it."
        ), _WITH_CARD
    capabilities = env.nvidia_driver_capabilities if env is not None else "not known"
    said = f"is {capabilities}" if capabilities else "is not set"
    return (
        f"The card's device files are in this {runtime} container, but the driver's query library "
        f"is not: NVIDIA_DRIVER_CAPABILITIES {said}, and it must name utility (NVML) and compute "
        "(CUDA)."
    ), _WITH_CARD


def _no_driver(facts: Facts) -> tuple[str, Repair]:
    displays = facts.kernel.value.displays if isinstance(facts.kernel, Known) else ()
    if isinstance(facts.kernel, Unknown):
        detail = "No NVIDIA driver is installed (its query library NVML is absent)."
    elif any(item.vendor == NVIDIA_PCI_VENDOR for item in displays):
        rows = pci_rows(facts)
        name = rows[0].name if rows else "NVIDIA card"
        detail = f"A card is plugged in ({name} on the PCI bus), but no NVIDIA driver is installed."
    elif displays:
        seen = ", ".join(sorted({_VENDORS.get(d.vendor, f"vendor {d.vendor}") for d in displays}))
        detail = f"The PCI bus holds no NVIDIA card (graphics here: {seen}), and no NVIDIA driver."
        return detail, _other_machine()
    else:
        detail = "The PCI bus holds no graphics card, and no NVIDIA driver is installed."
        return detail, _other_machine()
    return detail, Repair(
        "install-driver",
        "driver",
        "manual",
        f"install the NVIDIA driver ({DRIVER_PAGE}, or your distribution's package), then restart",
    )


def _other_machine() -> Repair:
    return Repair(
        "other-machine",
        "hardware",
        "manual",
        "run the doctor on the machine that has the NVIDIA card; to judge the rest of this one "
        "for a card, name it",
        (("klein-doctor", "--assume", "RTX 5070,driver=580"),),
    )


def _not_loaded(facts: Facts) -> tuple[str, Repair]:
    detail = "The driver's library is there, but its kernel module is not loaded."
    if isinstance(facts.kernel, Known):
        if "nouveau" in facts.kernel.value.loaded_modules:
            detail += " The open-source driver nouveau holds the card instead."
        elif facts.kernel.value.secure_boot:
            detail += " Secure Boot is on: an unsigned module is refused silently."
    return detail, Repair(
        "load-module",
        "driver",
        "manual",
        "restart; if that does not help, reinstall the driver (under Secure Boot enrol its "
        "signing key)",
        (("sudo", "modprobe", "nvidia"),),
    )


def _no_answer() -> tuple[str, Repair]:
    """Another finding says what is wrong with the driver itself."""
    return "Its query library NVML did not get as far as listing the cards.", Repair(
        "reboot",
        "system",
        "manual",
        "restart the machine; if it comes back, reinstall the NVIDIA driver",
    )


def _no_device(facts: Facts, recipe: Recipe) -> tuple[str, Repair]:
    rows = pci_rows(facts)
    needs_open = [
        row
        for row in rows
        if (generation := recipe.generation(pair(row.compute_capability)))
        and generation.open_module_only
    ]
    kernel = known(facts.kernel)
    if kernel is not None and kernel.flavour == "proprietary" and needs_open:
        return (
            f"The {needs_open[0].name} needs NVIDIA's open kernel module; this machine runs driver "
            f"{kernel.module} with the proprietary one, which ignores the card.",
            Repair(
                "open-kernel-module",
                "driver",
                "manual",
                "install the '-open' flavour of the driver (nvidia-open; on Ubuntu for example "
                f"nvidia-driver-{recipe.fast_cuda.min_driver}-open), then restart",
            ),
        )
    name = rows[0].name if rows else "card"
    return (
        f"The driver is loaded but could not start the {name}. On recent cards the cause is often "
        "Above 4G Decoding or Resizable BAR switched off in the firmware, or a card not properly "
        "powered.",
        Repair(
            "firmware-settings",
            "hardware",
            "manual",
            "look for 'RmInitAdapter failed' in the kernel log; switch Above 4G Decoding and "
            "Resizable BAR on in the firmware setup",
            (("sudo", "dmesg"),),
        ),
    )
