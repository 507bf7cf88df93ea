"""Does the NVIDIA driver answer, and is it new enough for the card and for torch?"""

from __future__ import annotations

from packaging.version import Version

from klein_doctor.card import Card, card, chosen_gpu
from klein_doctor.checks.gpu import gpu_mode_blocks
from klein_doctor.model import (
    Fact,
    Facts,
    Gpu,
    Harm,
    Known,
    Nvml,
    Outcome,
    Repair,
    Unknown,
    Verdict,
    known,
)
from klein_doctor.outcomes import (
    NO_CARD,
    NO_VERSION,
    START_WITH_CARD,
    branch,
    driver_of,
    install_torch,
    passed,
    release,
    unknown,
    update_driver,
    without_card,
)
from klein_doctor.recipe import Recipe, pair
from klein_doctor.registry import check

_NO_DRIVER = ("library-missing", "driver-not-loaded")


def _no_driver() -> Outcome:
    """There is nothing to judge: gpu-not-found says what is missing."""
    return Outcome(Verdict.SKIPPED, "No driver that could be judged", because=NO_CARD)


@check(
    "driver-library-mismatch",
    family="driver",
    title="The driver's two halves are of one version",
    harm=Harm.STOPS,
    reads="The first answer of the driver's query library, and the version of the kernel module.",
    why="After a driver update without a restart the library is new and the kernel module old; "
    "then neither nvidia-smi nor PyTorch can use the card.",
    by_hand="Restart the machine. If the message stays, two driver installations are mixed: remove "
    "one of them.",
)
def driver_library_mismatch(facts: Facts, recipe: Recipe) -> Outcome:
    if isinstance(facts.nvml, Unknown):
        return unknown("Whether the driver's parts fit together is not known", facts.nvml)
    if facts.nvml.value.outcome in _NO_DRIVER:
        return _no_driver()
    if facts.nvml.value.outcome != "version-mismatch":
        # Only a driver that got past NVML's first call has shown that its halves fit.
        if isinstance(facts.nvml.value.driver, Unknown) and facts.nvml.value.outcome != "ok":
            return unknown(
                "Whether the driver's parts fit together is not known", facts.nvml.value.driver
            )
        return passed("The driver's library and kernel module fit together")
    module = facts.kernel.value.module if isinstance(facts.kernel, Known) else ""
    loaded = f" The loaded kernel module is {module}." if module else ""
    return Outcome(
        Verdict.FAIL,
        "The NVIDIA driver was updated, but the old kernel module still runs",
        f"The driver's library and its kernel module are of different versions.{loaded} No program "
        "can use the card until they match.",
        evidence={"said": facts.nvml.value.detail, "module": module},
        fixes=(Repair("reboot", "system", "manual", "restart the machine"),),
    )


@check(
    "driver-broken",
    family="driver",
    title="The driver answers and CUDA can start",
    harm=Harm.STOPS,
    reads="How the driver's query library (NVML) answered and at which call it stopped, whether "
    "libcuda (the library that runs programs on the card) can be loaded, and on Linux the device "
    "files below /dev. With --prove, whether PyTorch can start CUDA.",
    why="A driver that hangs, crashes or lacks a part shows up in PyTorch as 'CUDA unknown error' "
    "or as a program that never starts.",
    by_hand="Restart the machine; run nvidia-smi; look for 'NVRM' and 'Xid' in the kernel log "
    "(sudo dmesg). In a container the capability 'compute' is needed.",
)
def driver_broken(facts: Facts, recipe: Recipe) -> Outcome:
    if isinstance(facts.nvml, Unknown):
        return unknown("Whether the driver works is not known", facts.nvml)
    nvml = facts.nvml.value
    if nvml.outcome in ("hung", "crashed"):
        return _silent(nvml)
    if nvml.outcome == "error":
        return _fail(
            "The NVIDIA driver reports an error",
            f"Its query library NVML answered '{nvml.detail}' at {nvml.stage}.",
            nvml,
        )
    if nvml.outcome != "ok" or not nvml.gpus:
        return _no_driver()
    gpu = chosen_gpu(facts)
    if gpu is not None and gpu.fault:
        return _lost(gpu, nvml)
    if isinstance(facts.visible, Unknown) and any(other.fault for other in nvml.gpus):
        return unknown("Whether the chosen card still answers is not known", facts.visible)
    if isinstance(nvml.cuda_library, Unknown):
        return unknown("Whether CUDA can start is not known", nvml.cuda_library)
    if nvml.cuda_library.value != "loaded":
        return _no_libcuda(facts, nvml)
    return (
        _nodes(facts, nvml)
        or _context(facts, recipe, nvml)
        or passed("The driver answers, and its CUDA library loads")
    )


def _context(facts: Facts, recipe: Recipe, nvml: Nvml) -> Outcome | None:
    """CUDA did not start in a proof, and no other check says why."""
    proof, torch = known(facts.proof), known(facts.torch)
    if proof is None or proof.outcome not in ("no-cuda", "crashed", "hung"):
        return None
    if proof.stage != "context" or (torch is not None and known(torch.cuda, "") is None):
        return None
    for other in (driver_too_old, gpu_mode_blocks):
        said = other(facts, recipe)
        if isinstance(said, Outcome) and said.verdict is Verdict.FAIL:
            return None
    how = {"hung": "hangs", "crashed": "crashes"}.get(proof.outcome, "fails")
    return _fail(
        f"The driver answers, but starting CUDA {how}",
        f"torch {proof.torch} loads; its first call to the card ended with: {proof.says}. Typical "
        "after a suspend, after a driver update without a restart, or where the module nvidia_uvm "
        "is not loaded.",
        nvml,
    )


def _silent(nvml: Nvml) -> Outcome:
    how = "did not answer in time" if nvml.outcome == "hung" else "crashed"
    return _fail(
        f"The NVIDIA driver {how}",
        f"Its query library NVML {how} at the call {nvml.stage or 'that starts it'}"
        + (f" ({nvml.detail})" if nvml.detail else "")
        + ". nvidia-smi and PyTorch are likely to stop at the same place. A server with many cards "
        "and persistence mode off can be this slow once: run the doctor again first.",
        nvml,
    )


def _lost(gpu: Gpu, nvml: Nvml) -> Outcome:
    return _fail(
        f"The driver has lost contact with GPU {gpu.nvml_index}",
        f"The driver's query library (NVML) says of it: '{gpu.fault}'. Typical after an "
        "overheated or badly powered card, or a suspended laptop.",
        nvml,
    )


def _no_libcuda(facts: Facts, nvml: Nvml) -> Outcome:
    library = nvml.cuda_library.value if isinstance(nvml.cuda_library, Known) else ""
    container = isinstance(facts.system, Known) and facts.system.value.container
    if container:
        return Outcome(
            Verdict.FAIL,
            "This container has the card's query library, but not CUDA",
            f"libcuda, the library that runs programs on the card, does not load ({library}). The "
            "container was started with the capability utility alone; compute is needed too.",
            evidence={"libcuda": library},
            fixes=(
                Repair(
                    "container-gpu",
                    "system",
                    "manual",
                    "start the container again with",
                    (START_WITH_CARD,),
                ),
            ),
        )
    return _fail(
        "The driver's CUDA library does not load",
        f"The driver answers, but libcuda, the library that runs programs on the card, does not "
        f"load: {library}. The driver is installed in part.",
        nvml,
        "reinstall the NVIDIA driver whole, then restart",
    )


def _nodes(facts: Facts, nvml: Nvml) -> Outcome | None:
    """A missing /dev/nvidia-uvm matters only where nothing can create it on demand."""
    if isinstance(facts.system, Known) and (
        facts.system.value.os != "linux" or facts.system.value.wsl
    ):
        return None  # without such files
    if nvml.stage == "assumed":
        return None
    if isinstance(facts.kernel, Unknown):
        return unknown(_NODES_UNKNOWN, facts.kernel)
    kernel = facts.kernel.value
    if "nvidia-uvm" in kernel.nodes or not kernel.nodes:
        return None
    if isinstance(facts.system, Unknown):
        return unknown(_NODES_UNKNOWN, facts.system)
    system = facts.system.value
    if kernel.modprobe and not system.container:
        return None
    return Outcome(
        Verdict.FAIL,
        "A device file that CUDA needs is missing: /dev/nvidia-uvm",
        "The driver's query library (NVML) works without it, CUDA does not ('CUDA unknown error'). "
        + (
            "The container must be given it from the host."
            if system.container
            else "The kernel module nvidia_uvm is not loaded, and the helper nvidia-modprobe that "
            "would load it is not installed."
        ),
        evidence={"nodes": kernel.nodes},
        fixes=(
            Repair(
                "load-uvm",
                "driver",
                "manual",
                "load the module" + (" on the host" if system.container else ""),
                (("sudo", "modprobe", "nvidia_uvm"),),
            ),
        ),
    )


_NODES_UNKNOWN = "Whether the device files CUDA needs are there is not known"


def _fail(title: str, detail: str, nvml: Nvml, do: str = "") -> Outcome:
    return Outcome(
        Verdict.FAIL,
        title,
        detail,
        evidence={"nvml": nvml.outcome, "stage": nvml.stage, "said": nvml.detail},
        fixes=(
            Repair(
                "reboot",
                "system",
                "manual",
                do or "restart the machine; if it comes back, reinstall the NVIDIA driver",
            ),
        ),
    )


@check(
    "driver-too-old",
    family="driver",
    title="The driver is new enough",
    harm=Harm.STOPS,
    requires=("driver-library-mismatch",),
    reads="The driver's version, the card's generation, and the CUDA release that the installed "
    "PyTorch was built with.",
    why="Every card has a first driver, and every CUDA major release a lowest one: CUDA 13 builds "
    "need driver 580, CUDA 12 builds 525, RTX 50 cards 570. Below it PyTorch finds no GPU at all.",
    by_hand="Compare the driver nvidia-smi shows with the numbers above. Laptop makers and Windows "
    "Update often offer an old one and call it up to date: take it from NVIDIA.",
)
def driver_too_old(facts: Facts, recipe: Recipe) -> Outcome:
    driver = driver_of(facts)
    if isinstance(facts.nvml, Known) and facts.nvml.value.outcome in _NO_DRIVER and not driver:
        return _no_driver()
    if not branch(driver):
        reason = NO_VERSION
        if isinstance(facts.nvml, Known) and isinstance(facts.nvml.value.driver, Unknown):
            reason = facts.nvml.value.driver
        return unknown("The driver's version is not known", reason)
    found, cuda = card(facts), _torch_cuda(facts)
    too_old = _below_card(driver, found.value, recipe) if isinstance(found, Known) else None
    if too_old is None and isinstance(cuda, Known) and cuda.value is not None:
        too_old = _below_cuda(facts, driver, cuda.value, found, recipe)
    if too_old is not None:
        return too_old
    title = f"Whether driver {driver} is new enough is not known"
    if isinstance(found, Unknown):
        return without_card(title, facts, found)
    if isinstance(cuda, Unknown):
        return unknown(title, cuda)
    if cuda.value is None:
        return passed(f"Driver {driver}", driver=driver)
    return _below_own(facts, driver, cuda.value, recipe) or passed(
        f"Driver {driver}, new enough for CUDA {cuda.value}", driver=driver
    )


def _torch_cuda(facts: Facts) -> Fact[str | None]:
    if isinstance(facts.torch, Unknown):
        return facts.torch
    return facts.torch.value.cuda if facts.torch.value.present else Known(None)


def _below_card(driver: str, found: Card, recipe: Recipe) -> Outcome | None:
    generation = recipe.generation(found.capability)
    if generation is None or branch(driver) >= generation.min_driver:
        return None
    return Outcome(
        Verdict.FAIL,
        f"Driver {driver} is too old for the {found.name}",
        f"{generation.name} cards need driver {generation.min_driver} or newer.",
        evidence={"driver": driver, "needed": generation.min_driver},
        fixes=(update_driver(max(generation.min_driver, recipe.fast_cuda.min_driver)),),
    )


def _below_cuda(
    facts: Facts, driver: str, cuda: str, found: Known[Card] | Unknown, recipe: Recipe
) -> Outcome | None:
    floor = next((r for r in recipe.cuda_floors if r.cuda_major == pair(cuda)[0]), None)
    if floor is not None and branch(driver) < floor.min_driver:
        fixes: tuple[Repair, ...] = (update_driver(floor.min_driver),)
        if isinstance(found, Known):
            other = install_torch(facts, recipe, found.value)
            fixes += tuple(repair for repair in other if repair.id == "install-torch")
        return Outcome(
            Verdict.FAIL,
            f"Driver {driver} is too old for this PyTorch",
            f"torch was built for CUDA {cuda}, which needs driver {floor.min_driver} or newer; "
            "with an older one PyTorch finds no GPU. Update the driver, or install an older build.",
            evidence={"driver": driver, "cuda": cuda, "needed": floor.min_driver},
            fixes=fixes,
        )
    return None


def _below_own(facts: Facts, driver: str, cuda: str, recipe: Recipe) -> Outcome | None:
    """torch's CUDA against the one the driver names as its own."""
    wanted = pair(cuda)
    title = f"Whether driver {driver} has all of CUDA {cuda} is not known"
    found = facts.nvml if isinstance(facts.nvml, Unknown) else facts.nvml.value.cuda
    if isinstance(found, Unknown):
        return None if _came_with(driver, wanted, recipe) else unknown(title, found)
    own = found.value
    if own < wanted and not any(row.cuda_major == wanted[0] for row in recipe.cuda_floors):
        reason = f"CUDA {wanted[0]} is not in the doctor's tables of {recipe.as_of}"
        return unknown(title, f"{reason}, and the driver's own is {own[0]}.{own[1]}")
    if own[0] == wanted[0] and own < wanted:
        paired = next((row.driver for row in recipe.cuda_paired if row.cuda == cuda), "")
        return Outcome(
            Verdict.WARN,
            f"torch's CUDA {cuda} is newer than the driver's own CUDA {own[0]}.{own[1]}",
            "PyTorch itself runs (CUDA guarantees this within one major release). Only code that "
            "the driver must translate first (PTX) is refused, which some extensions carry.",
            evidence={"driver": driver, "cuda": cuda, "own": f"{own[0]}.{own[1]}"},
            fixes=(update_driver(branch(paired)),) if paired else (),
        )
    return None


def _came_with(driver: str, cuda: tuple[int, int], recipe: Recipe) -> bool:
    """Whether the tables say that such a driver came with this CUDA or a newer one."""
    mine = release(driver)
    return mine is not None and any(
        pair(row.cuda) >= cuda and mine >= Version(row.driver) for row in recipe.cuda_paired
    )
