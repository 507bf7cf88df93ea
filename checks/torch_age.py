"""Is this PyTorch recent enough, for the card and for ComfyUI?"""

from __future__ import annotations

from packaging.version import Version

from klein_doctor.card import card
from klein_doctor.checks.torch_build import place, read_archs, repairs
from klein_doctor.model import Facts, Harm, Known, Outcome, Unknown, Verdict
from klein_doctor.outcomes import (
    NO_VERSION,
    branch,
    driver_of,
    passed,
    release,
    unknown,
    without_card,
)
from klein_doctor.recipe import Recipe, pair
from klein_doctor.registry import check
from klein_doctor.routes import route_of
from klein_doctor.wheels import runs


@check(
    "torch-too-old",
    family="torch",
    title="PyTorch is recent enough for this card",
    harm=Harm.STOPS,
    requires=("torch-missing",),
    follows=("torch-lacks-arch", "torch-cpu-only", "torch-broken"),
    reads="The version in torch/version.py and the table of first versions per generation.",
    why="Before torch 2.7 no build at all carries code for RTX 50 cards, whatever its CUDA tag.",
    by_hand="Install torch and torchvision together in a version from the table on "
    "https://pytorch.org/get-started/previous-versions.",
)
def torch_too_old(facts: Facts, recipe: Recipe) -> Outcome:
    outcome = _for_card(facts, recipe)
    if outcome.verdict is not Verdict.PASS:
        return outcome
    return _for_comfyui(facts, recipe) or outcome


def _for_comfyui(facts: Facts, recipe: Recipe) -> Outcome | None:
    """A warning where the installed ComfyUI asks for a newer torch."""
    if route_of(facts, recipe) != "comfyui" or isinstance(facts.torch, Unknown):
        return None
    if not isinstance(facts.comfyui, Known) or facts.comfyui.value is None:
        return None
    asks, has = facts.comfyui.value.version, facts.torch.value.version
    if isinstance(asks, Unknown) or isinstance(has, Unknown):
        return None
    comfyui, mine = release(asks.value), release(has.value)
    for row in recipe.comfyui_torch:
        if comfyui is None or mine is None or comfyui < Version(row.comfyui):
            continue
        if Version(mine.base_version) < Version(row.torch):
            return Outcome(
                Verdict.WARN,
                f"ComfyUI {asks.value} asks for torch {row.torch} or newer",
                f"torch {has.value} has code for this card, so it may well run; ComfyUI's own "
                "notes support nothing older.",
                subject=place(facts),
                evidence={"version": has.value, "comfyui": asks.value, "needed": row.torch},
                fixes=repairs(facts, recipe),
            )
    return None


def _for_card(facts: Facts, recipe: Recipe) -> Outcome:
    if isinstance(facts.torch, Unknown):
        return unknown("Whether PyTorch is recent enough is not known", facts.torch)
    version = facts.torch.value.version
    if isinstance(version, Unknown):
        return unknown("Whether PyTorch is recent enough is not known", version)
    mine = release(version.value)
    if mine is None:
        return unknown(
            "Whether PyTorch is recent enough is not known",
            f"{version.value[:40]!r} is not a version",
        )
    found = card(facts)
    if isinstance(found, Unknown):
        return without_card("Whether PyTorch is recent enough is not known", facts, found)
    archs, capability = read_archs(facts), found.value.capability
    if isinstance(archs, Known) and runs(archs.value, capability):
        return passed(f"torch {version.value} is recent enough")  # a preview may be, before others
    for row in recipe.torch_floors:
        if capability >= pair(row.min_capability) and mine < Version(row.torch):
            return Outcome(
                Verdict.FAIL,
                f"torch {version.value} is older than the {found.value.name}",
                f"The first PyTorch with code for this card is {row.torch}.",
                subject=place(facts),
                evidence={"version": version.value, "needed": row.torch},
                fixes=repairs(facts, recipe),
            )
    return passed(f"torch {version.value} is recent enough")


@check(
    "torch-cuda-below-13",
    family="torch",
    title="PyTorch's CUDA lets ComfyUI run at full speed",
    harm=Harm.SLOW,
    requires=("torch-missing",),
    follows=("torch-lacks-arch", "torch-too-old", "torch-cpu-only", "driver-too-old"),
    reads="The CUDA release in torch/version.py, the card and the driver.",
    why="ComfyUI switches its own CUDA kernels for 8-bit weights off when PyTorch was built for "
    "a CUDA below 13. It runs, but slower.",
    by_hand="If you want the speed, install a +cu130 build of torch and torchvision together; a "
    "working setup may as well stay as it is.",
)
def torch_cuda_below_13(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    if route_of(facts, recipe) != "comfyui":
        return ()
    if isinstance(facts.torch, Unknown):
        return unknown("PyTorch's CUDA release is not known", facts.torch)
    cuda = facts.torch.value.cuda
    if isinstance(cuda, Unknown):
        return unknown("PyTorch's CUDA release is not known", cuda)
    if cuda.value is None:
        return Outcome(Verdict.SKIPPED, "A build without CUDA", because="torch-cpu-only:1")
    fast = recipe.fast_cuda
    if pair(cuda.value) >= pair(fast.cuda):
        return passed(f"CUDA {cuda.value}: ComfyUI keeps its own kernels on", cuda=cuda.value)
    found = card(facts)
    if isinstance(found, Unknown):
        return without_card("Whether a newer CUDA would help is not known", facts, found)
    if found.value.capability < pair(fast.min_capability):
        return passed(f"CUDA {cuda.value}, the newest line for this card")
    driver = branch(driver_of(facts))
    if not driver:
        return without_card("Whether a newer CUDA would help is not known", facts, NO_VERSION)
    if driver < fast.min_driver:
        return passed(f"CUDA {cuda.value}, which fits this driver", cuda=cuda.value)
    return Outcome(
        Verdict.WARN,
        "ComfyUI leaves its fast kernels off with this PyTorch",
        f"torch was built for CUDA {cuda.value}; ComfyUI uses its own CUDA kernels from CUDA "
        f"{fast.cuda} on. It works all the same, only slower.",
        subject=place(facts),
        evidence={"cuda": cuda.value},
        fixes=repairs(facts, recipe),
    )
