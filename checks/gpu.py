"""Does CUDA see the card, is it the right one, and can it be used?"""

from __future__ import annotations

from klein_doctor.card import card, chosen_gpu, short_name, strength
from klein_doctor.model import (
    Facts,
    Gpu,
    Harm,
    Known,
    Outcome,
    Private,
    Repair,
    Unknown,
    Verdict,
)
from klein_doctor.outcomes import gib, passed, unknown, without_card
from klein_doctor.recipe import Recipe, pair
from klein_doctor.registry import check


@check(
    "gpu-hidden",
    family="gpu",
    title="CUDA programs see the card",
    harm=Harm.STOPS,
    requires=("gpu-not-found",),
    reads="CUDA_VISIBLE_DEVICES (and NVIDIA_VISIBLE_DEVICES) of the environment the doctor was "
    "started in, resolved against the cards that the driver shows.",
    why="With a device list that names no card of this machine, PyTorch answers 'No CUDA GPUs are "
    "available' although card and driver are fine.",
    by_hand="Unset CUDA_VISIBLE_DEVICES, or set it to a number nvidia-smi shows, and look for the "
    "place that sets it: a launcher, a .bat file, a shell profile.",
)
def gpu_hidden(facts: Facts, recipe: Recipe) -> Outcome:
    if isinstance(facts.visible, Unknown):
        return unknown("Whether CUDA sees the card is not known", facts.visible)
    visible = facts.visible.value
    listed = None
    if isinstance(facts.environment, Known):
        listed = facts.environment.value.cuda_visible_devices
    evidence = {"CUDA_VISIBLE_DEVICES": listed, "why": visible.problem}
    if visible.order:
        return passed("CUDA programs see the card", visible=visible.order)
    shown = Private.plain("CUDA_VISIBLE_DEVICES")
    return Outcome(
        Verdict.FAIL,
        "A setting hides every GPU from CUDA programs",
        f"CUDA_VISIBLE_DEVICES {visible.problem}: PyTorch started from here would find no GPU.",
        subject=shown,
        evidence=dict(evidence),
        fixes=(
            Repair(
                "unhide-gpu",
                "config",
                "manual",
                "unset CUDA_VISIBLE_DEVICES where it is set (shell profile, launcher, service)",
                (_unset(facts),),
            ),
        ),
    )


def _unset(facts: Facts) -> tuple[str | Private, ...]:
    if isinstance(facts.system, Known) and facts.system.value.os == "windows":
        return ("set", "CUDA_VISIBLE_DEVICES=")
    return ("unset", "CUDA_VISIBLE_DEVICES")


@check(
    "gpu-not-the-best",
    family="gpu",
    title="The chosen card is the best one here",
    harm=Harm.SLOW,
    requires=("gpu-not-found", "gpu-hidden"),
    reads="The cards that the driver shows, CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER and --gpu.",
    why="With several cards it is easy to run on the weaker one: nvidia-smi counts along the PCI "
    "bus, CUDA counts the fastest first, so the same number can mean two cards.",
    by_hand="Set CUDA_DEVICE_ORDER=PCI_BUS_ID, so that CUDA counts as nvidia-smi does, and choose "
    "the card with CUDA_VISIBLE_DEVICES or ComfyUI's --cuda-device.",
)
def gpu_not_the_best(facts: Facts, recipe: Recipe) -> Outcome:
    gpu = chosen_gpu(facts)
    if isinstance(facts.nvml, Unknown) or isinstance(facts.visible, Unknown) or gpu is None:
        return unknown("Which card would be used is not known", _not_chosen(facts))
    doubt = _unranked(facts.nvml.value.gpus)
    if doubt is not None:
        return unknown("Which card here is the best is not known", doubt)
    best = max(facts.nvml.value.gpus, key=lambda other: (strength(other), -other.nvml_index))
    visible = facts.visible.value
    if strength(best) > strength(gpu):
        return Outcome(
            Verdict.WARN,
            f"The model would run on the weaker card, {_named(gpu)}",
            f"{_named(best)} is in this machine too and stronger; the other was chosen by "
            f"{_chooser(visible.chosen_by)}.",
            evidence={"chosen": gpu.nvml_index, "best": best.nvml_index},
            fixes=(_choose(best),),
        )
    if (
        not visible.certain
        and visible.order
        and visible.order[0] != facts.nvml.value.gpus[0].nvml_index
    ):
        return Outcome(
            Verdict.WARN,
            "nvidia-smi and CUDA number these cards differently",
            f"nvidia-smi's card 0 is {_named(facts.nvml.value.gpus[0])}; CUDA counts the fastest "
            f"first, so its device 0 is most likely {_named(gpu)}. A number in a launcher may mean "
            "the wrong card.",
            evidence={"cuda_order": visible.order},
            fixes=(_choose(best),),
        )
    return passed("The best card here is the one that would be used")


def _not_chosen(facts: Facts) -> Unknown:
    """Why no card could be picked out."""
    for fact in (facts.nvml, facts.visible):
        if isinstance(fact, Unknown):
            return fact
    return Unknown("no card was chosen")


def _unranked(gpus: tuple[Gpu, ...]) -> Unknown | None:
    """What must be known before several cards can be ranked, and is not."""
    if len(gpus) < 2:
        return None
    for gpu in gpus:
        for fact in (gpu.compute_capability, gpu.total_bytes):
            if isinstance(fact, Unknown):
                return Unknown(f"GPU {gpu.nvml_index}: {fact.reason}")
    return None


def _chooser(chosen_by: str) -> str:
    return "CUDA's own order" if chosen_by == "first" else chosen_by


def _named(gpu: Gpu) -> str:
    return f"GPU {gpu.nvml_index} ({short_name(gpu)})"


def _choose(gpu: Gpu) -> Repair:
    return Repair(
        "choose-gpu",
        "config",
        "manual",
        "set CUDA_DEVICE_ORDER=PCI_BUS_ID and CUDA_VISIBLE_DEVICES="
        f"{gpu.nvml_index} where ComfyUI or the script is started",
    )


@check(
    "gpu-too-old",
    family="gpu",
    title="The card's generation is supported",
    harm=Harm.STOPS,
    follows=("gpu-not-the-best",),
    reads="The card's compute capability (NVIDIA's number for its instruction set), from the "
    "driver or, without one, from its PCI id.",
    why="Current PyTorch builds carry no code for cards before Turing (RTX 20, GTX 16). Cards "
    "before Ada (RTX 40) load the 8-bit weights of klein but compute them in a wider type.",
    by_hand="Compare your card with https://developer.nvidia.com/cuda-gpus; below 7.5 no current "
    "PyTorch build runs on it.",
)
def gpu_too_old(facts: Facts, recipe: Recipe) -> Outcome:
    found = card(facts)
    if isinstance(found, Unknown):
        return without_card("The card's generation is not known", facts, found)
    floor = recipe.capability_floor
    name, capability = found.value.name, found.value.capability
    number = "{}.{}".format(*capability)
    generation = recipe.generation(capability)
    if capability < pair(floor.fails_below):
        return Outcome(
            Verdict.FAIL,
            f"The {name} is too old for current PyTorch builds",
            f"Its compute capability (NVIDIA's number for the instruction set) is {number}; builds "
            f"that run FLUX.2 [klein] begin at {floor.fails_below}, the RTX 20 and GTX 16 cards.",
            evidence={"capability": number},
            fixes=(
                Repair(
                    "other-card", "hardware", "manual", "use a card of the RTX 20 series or newer"
                ),
            ),
        )
    if capability >= recipe.newest_capability():
        return passed(f"The {name} ({number}) is newer than the doctor's tables of {recipe.as_of}")
    if capability < pair(floor.fp8_from):
        return Outcome(
            Verdict.WARN,
            f"The {name} computes 8-bit weights in a wider type",
            f"FP8 (8-bit) arithmetic begins at compute capability {floor.fp8_from} (RTX 40); this "
            f"card has {number}. The FP8 model still loads and saves memory, but gains no speed.",
            evidence={"capability": number},
        )
    return passed(f"{name}: {generation.name if generation else number}", capability=number)


@check(
    "gpu-mode-blocks",
    family="gpu",
    title="The card accepts another program",
    harm=Harm.STOPS,
    requires=("gpu-not-found", "gpu-hidden"),
    reads="Compute mode, the processes on the card, and MIG mode (one card split into slices), "
    "from the driver.",
    why="In an exclusive mode a second program is refused with 'all CUDA-capable devices are "
    "busy'; in prohibited mode every one is. A MIG slice has only its own share of memory.",
    by_hand="nvidia-smi -q -d COMPUTE shows the mode; 'sudo nvidia-smi -c DEFAULT' sets it back.",
)
def gpu_mode_blocks(facts: Facts, recipe: Recipe) -> Outcome:
    gpu = chosen_gpu(facts)
    if gpu is None:
        return unknown(_MODE_UNKNOWN, _not_chosen(facts))
    blocked = _mode(gpu)
    if blocked is not None and blocked.verdict is Verdict.FAIL:
        return blocked
    if isinstance(gpu.mig_enabled, Known) and gpu.mig_enabled.value:
        sliced = _mig(facts, gpu, recipe)
        return sliced if blocked is None or sliced.verdict is Verdict.FAIL else blocked
    if blocked is not None:
        return blocked
    if isinstance(gpu.mig_enabled, Unknown) and not _lacking(gpu.mig_enabled):
        return unknown("Whether the card is split into slices is not known", gpu.mig_enabled)
    return passed("The card accepts programs")


_MODE_UNKNOWN = "Whether the card is free for another program is not known"


def _lacking(fact: Unknown) -> bool:
    """Whether the driver answered that this card has no such mode."""
    return fact.reason.endswith("Not Supported")


def _mode(gpu: Gpu) -> Outcome | None:
    if isinstance(gpu.compute_mode, Unknown):
        return None if _lacking(gpu.compute_mode) else unknown(_MODE_UNKNOWN, gpu.compute_mode)
    mode = gpu.compute_mode.value
    exclusive = mode.startswith("exclusive")
    if exclusive and isinstance(gpu.processes, Unknown):
        return unknown(_MODE_UNKNOWN, gpu.processes)
    busy = isinstance(gpu.processes, Known) and gpu.processes.value
    if mode != "prohibited" and not (exclusive and busy):
        return None
    names = ""
    if isinstance(gpu.processes, Known) and busy:
        names = ", ".join(f"{p.name} (pid {p.pid})" for p in gpu.processes.value[:3])
    detail = (
        "In prohibited mode the card refuses every CUDA program."
        if mode == "prohibited"
        else f"In exclusive mode the card takes one program only, and {names} already uses it."
    )
    return Outcome(
        Verdict.FAIL,
        f"The card's compute mode ({mode}) refuses another program",
        detail,
        evidence={"mode": mode},
        fixes=(
            Repair(
                "default-mode",
                "system",
                "manual",
                "set the compute mode back to default",
                (("sudo", "nvidia-smi", "-i", str(gpu.nvml_index), "-c", "DEFAULT"),),
            ),
        ),
    )


def _mig(facts: Facts, gpu: Gpu, recipe: Recipe) -> Outcome:
    if not gpu.mig_instances:
        return Outcome(
            Verdict.FAIL,
            "The card is in MIG mode but has no slice to run on",
            "MIG splits one card into slices; without any slice CUDA programs find no device.",
            fixes=(
                Repair(
                    "mig-off",
                    "system",
                    "manual",
                    "create a slice, or switch MIG mode off",
                    (("sudo", "nvidia-smi", "-i", str(gpu.nvml_index), "-mig", "0"),),
                ),
            ),
        )
    named = facts.visible.value.mig if isinstance(facts.visible, Known) else None
    used = named or gpu.mig_instances[0]
    if isinstance(used.total_bytes, Unknown):
        return unknown("The size of the MIG slice is not known", used.total_bytes)
    floor = min(recipe.memory_floors, key=lambda row: float(row.gib))
    if used.total_bytes.value < float(floor.gib) * 2**30:
        return Outcome(
            Verdict.WARN,
            "The MIG slice is smaller than any run that is known to have worked",
            f"It has {gib(used.total_bytes.value)}; an image was finished with {floor.gib} GiB "
            f"free at the least ({floor.measured_on}).",
            evidence={"slice": gib(used.total_bytes.value)},
            fixes=(Repair("bigger-slice", "system", "manual", "use a larger MIG slice"),),
        )
    return passed(f"MIG slice of {gib(used.total_bytes.value)}")
