"""What the command line asks of a test generation."""

from __future__ import annotations

import argparse
from typing import NamedTuple

from klein_doctor.exits import UsageError
from klein_doctor.model import Facts, Finding, Harm, Verdict, known

_SMALLEST, _LARGEST, _MULTIPLE = 64, 2048, 16
# Faults of these families do not reach a run that the doctor starts itself.
_OUTSIDE = ("security", "hub", "workflow", "doctor")
_OF_CARDS = ("gpu", "driver", "memory")
_BUILDS = ("torch-cpu-only", "torch-lacks-arch", "torch-too-old", "attention-extension-lacks-arch")
_OF_WEIGHTS = ("assets", "memory")
_FORCED = "flash-attention-forced"


class Wish(NamedTuple):
    """size: pixels of a side, 0: as the recipe says. expect: ``picture`` or ``reference``.

    custom_nodes: of ComfyUI, to be loaded. device: ``cuda`` or ``cpu``. pictures: the folder they
    go to, "" for the state folder.
    """

    size: int = 0
    expect: str = "picture"
    custom_nodes: bool = False
    device: str = "cuda"
    pictures: str = ""


def wish_of(options: argparse.Namespace) -> Wish:
    """What the options say.

    Raises:
        UsageError: a size that is none.
    """
    size = 0
    if options.size:
        text = options.size
        size = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1
        if not _SMALLEST <= size <= _LARGEST or size % _MULTIPLE:
            raise UsageError(
                f"--size {text[:20]}: use pixels of a side, {_SMALLEST} to {_LARGEST}, "
                f"a multiple of {_MULTIPLE}"
            )
    return Wish(size, options.expect, options.custom_nodes, options.device, options.pictures)


def in_the_way(findings: tuple[Finding, ...], facts: Facts, wish: Wish) -> tuple[Finding, ...]:
    """What fails and would stop or spoil the run, so that it is not begun."""
    return tuple(
        f
        for f in findings
        if f.verdict is Verdict.FAIL
        and f.harm <= Harm.WRONG_IMAGE
        and f.family not in (*_OUTSIDE, "generation")
        and not set_aside(f, wish)
        and (f.check != _FORCED or _reaches(f, facts, wish))
    )


def set_aside(finding: Finding, wish: Wish) -> bool:
    """Whether a finding is of no matter to a run without a card, or with weights of any kind."""
    of_card = finding.family in _OF_CARDS or finding.check in _BUILDS
    if wish.device == "cpu" and of_card:
        return True
    return wish.expect == "reference" and finding.family in _OF_WEIGHTS


def _reaches(forced: Finding, facts: Facts, wish: Wish) -> bool:
    """Whether what asks for FlashAttention is loaded by the run: not a launcher, not a script."""
    if forced.evidence.get("node"):
        return wish.custom_nodes
    if forced.subject is None or forced.evidence.get("kind") == "server":
        return True
    models = known(facts.models)
    folders = [each.path.real for each in models.pipelines[:1]] if models is not None else []
    return any(forced.subject.real.startswith(folder) for folder in folders)
