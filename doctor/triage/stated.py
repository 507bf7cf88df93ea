"""What a log says of its machine, judged by the doctor's tables although no error says it.

ComfyUI prints the card and the PyTorch at its start; a build without code for that card explains
whatever comes after.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from klein_doctor.triage.text import Excerpt, bare
from klein_doctor.triage.values import Say

if TYPE_CHECKING:
    from klein_doctor.recipe import Recipe

_MOST = 30  # lines looked at for one word
_CARD = re.compile(
    r"\b((?:rtx|gtx|quadro|tesla|titan)(?: pro| rtx| a| v| p| t)? ?\d{3,4}\w?"
    r"(?: ?(?:ti super|ti|super|laptop gpu|blackwell\S{0,12}))?)\b"
)
_TORCH = re.compile(
    r"\b(?:pytorch|torch)(?: version)?[\s:=*|-]{1,8}v?(\d\.\d{1,2}\.\d)(?:\+([a-z]{2,4}\d{0,3}))?"
)
_DRIVER = re.compile(r"\bdriver(?: version)?[\s:=*|-]{1,6}(\d{3})\.\d{2,3}\b")


def stated(text: Excerpt) -> Iterator[tuple[Say, int]]:
    """What follows from the card, PyTorch and driver that a log names, with the line it stands in.

    Nothing where it names cards of several generations: which of them ran is not told.
    """
    cards = dict(_mentions(text, (b"rtx", b"gtx", b"quadro", b"tesla", b"titan"), _CARD))
    if not cards:
        return
    from klein_doctor.recipe import find_gpu, load, pair

    rows = {row.compute_capability: (row, line) for name, line in cards.items()
            if (row := find_gpu(name[0])) is not None}  # fmt: skip
    if len(rows) != 1:
        return
    row, line = next(iter(rows.values()))
    capability = pair(row.compute_capability)
    recipe = load()
    torches = list(_mentions(text, (b"torch",), _TORCH))
    if torches:
        (version, tag), at = torches[-1]
        yield from _torch(recipe, row.name, capability, (version, tag or ""), at)
        drivers = list(_mentions(text, (b"driver",), _DRIVER))
        if drivers:
            yield from _driver(recipe, drivers[-1][0][0], tag or "", capability, drivers[-1][1])
    if capability < pair(recipe.capability_floor.fails_below):
        yield (
            Say(
                ("gpu-too-old",),
                f"The log names a {row.name}: its generation is older than what current PyTorch "
                "builds hold code for.",
                "Use a card of the RTX 20 generation or newer for this model.",
                "medium",
                "warning",
            ),
            line,
        )


def _mentions(
    text: Excerpt, words: tuple[bytes, ...], pattern: re.Pattern[str]
) -> Iterator[tuple[tuple[str, ...], int]]:
    for word in words:
        at = text.low.find(word)
        for _ in range(_MOST):
            if at < 0:
                break
            number = text.line_at(at)
            found = pattern.search(bare(text.lines[number]).lower())
            if found is not None:
                yield found.groups(), number
            at = text.low.find(word, text.span(number)[1] + 1)


def _torch(
    recipe: Recipe, card: str, capability: tuple[int, int], torch: tuple[str, str], line: int
) -> Iterator[tuple[Say, int]]:
    from packaging.version import Version

    from klein_doctor.recipe import pair
    from klein_doctor.wheels import runs

    version, tag = torch
    archs = recipe.archs_of(version, tag) if tag else None
    floors = [row for row in recipe.torch_floors if capability >= pair(row.min_capability)]
    too_old = any(Version(version) < Version(row.torch) for row in floors)
    if too_old or (archs is not None and not runs(archs, capability)):
        built = f"{version}+{tag}" if tag else version
        yield (
            Say(
                ("torch-lacks-arch", "torch-too-old"),
                f"The log names a {card} and torch {built}, a build without code for that card "
                f"(sm_{capability[0]}{capability[1]}).",
                "Replace torch and torchvision together with a build that has it.",
                "high",
                "warning",
            ),
            line,
        )


def _driver(
    recipe: Recipe, branch: str, tag: str, capability: tuple[int, int], line: int
) -> Iterator[tuple[Say, int]]:
    generation = recipe.generation(capability)
    floor = generation.min_driver if generation else 0
    cuda = re.fullmatch(r"cu(\d\d)\d", tag)
    if cuda is not None:
        majors = [row for row in recipe.cuda_floors if row.cuda_major == int(cuda[1])]
        floor = max([floor, *(row.min_driver for row in majors)])
    if int(branch) < floor:
        yield (
            Say(
                ("driver-too-old",),
                f"The log names driver {branch}; this card with this PyTorch needs {floor} or "
                "newer.",
                "Update the driver from nvidia.com/drivers and restart.",
                "high",
                "warning",
            ),
            line,
        )
