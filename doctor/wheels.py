"""Which PyTorch build fits a card, a driver and a Python: one rule for advice and for repair."""

from __future__ import annotations

from typing import NamedTuple

from packaging.version import Version

from klein_doctor.recipe import Install, Recipe, Trio, pair


class Choice(NamedTuple):
    """Packages pinned with their local tag (``torch==2.14.1+cu130``), and the index to ask."""

    packages: tuple[str, ...]
    index_url: str
    variant: str
    torch: str


def choose(
    recipe: Recipe,
    capability: tuple[int, int],
    driver_branch: int,
    python: tuple[int, ...] | None,
    installed: str = "",
    with_audio: bool = False,
) -> Choice | None:
    """The build to install, or None when only another driver, card or Python would help.

    The installed torch version is kept where its number exists in the wanted variant, because
    compiled extensions were built for it.
    """
    row = _row(recipe, capability, driver_branch)
    if row is None:
        return None
    usable = [trio for trio in recipe.trios if _offered(recipe, trio, row, capability, python)]
    if not usable:
        return None
    kept = [trio for trio in usable if trio.torch == installed.partition("+")[0]]
    trio = (kept or sorted(usable, key=lambda trio: Version(trio.torch)))[-1]
    packages = [f"torch=={trio.torch}+{row.variant}"]
    packages.append(f"torchvision=={trio.torchvision}+{row.variant}")
    if with_audio:
        packages.append(f"torchaudio=={trio.torchaudio}+{row.variant}")
    return Choice(tuple(packages), row.index_url, row.variant, trio.torch)


def runs(archs: tuple[str, ...], capability: tuple[int, int]) -> str:
    """How compiled code serves a card: ``native``, ``ptx`` (translated by the driver) or "".

    Code for sm_XY runs on a card of the same major and at least that minor; sm_90a and the like
    on exactly that card; PTX (compute_XY) on any card from XY on, unless its suffix binds it to
    the card (a) or its family (f).
    Source: CUDA C++ programming guide, binary and PTX compatibility.
    """
    found = ""
    for arch in archs:
        kind, _, number = arch.partition("_")
        digits = number.rstrip("af")
        if not digits.isdigit() or len(digits) < 2:
            continue
        built = (int(digits[:-1]), int(digits[-1]))
        family = built[0] == capability[0] and built[1] <= capability[1]
        fits = built == capability if number.endswith("a") else family
        if kind == "sm" and fits:
            return "native"
        if kind == "compute" and (fits or (number == digits and built <= capability)):
            found = "ptx"
    return found


def _row(recipe: Recipe, capability: tuple[int, int], driver_branch: int) -> Install | None:
    for row in recipe.installs:
        if driver_branch >= row.min_driver and (
            pair(row.min_capability) <= capability <= pair(row.max_capability)
        ):
            return row
    return None


def _offered(
    recipe: Recipe,
    trio: Trio,
    row: Install,
    capability: tuple[int, int],
    python: tuple[int, ...] | None,
) -> bool:
    if Version(trio.torch) > Version(row.newest):
        return False
    archs = recipe.archs_of(trio.torch, row.variant)
    if archs is None or not runs(archs, capability):
        return False
    if python is None:
        return True
    return pair(trio.python[0]) <= python[:2] <= pair(trio.python[1])
