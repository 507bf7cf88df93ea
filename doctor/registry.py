"""How a check is declared, and the catalogue of all of them.

A check is a pure function of (Facts, Recipe) that returns one Outcome, several when it judges
several subjects, or none where it does not apply to this machine. Discovery walks the package
``klein_doctor.checks``: a new file is enough.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, Union

from klein_doctor.model import Facts, Harm, Outcome
from klein_doctor.recipe import Recipe

Judge = Callable[[Facts, Recipe], Union[Outcome, Sequence[Outcome]]]


class RegistryError(ValueError):
    """A check is declared twice, or names a check that does not exist."""


class Check(NamedTuple):
    """A declared check.

    requires: checks that must not have failed, or this one is skipped because of them.
    follows: checks whose fault brings this one's along, so that mending them mends it.
    without: why it judges nothing until something was asked for, and what to ask for.
    reads, why, by_hand: the three paragraphs of ``explain``.
    """

    name: str
    family: str
    title: str
    harm: Harm
    judge: Judge
    reads: str
    why: str
    by_hand: str
    requires: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    without: str = ""


_declared: dict[str, Check] = {}


def check(
    name: str,
    *,
    family: str,
    title: str,
    harm: Harm,
    reads: str,
    why: str,
    by_hand: str,
    requires: tuple[str, ...] = (),
    follows: tuple[str, ...] = (),
    without: str = "",
) -> Callable[[Judge], Judge]:
    """Declare the decorated function as a check."""

    def declare(judge: Judge) -> Judge:
        if name in _declared and _declared[name].judge.__module__ != judge.__module__:
            raise RegistryError(f"check {name} is declared twice")
        _declared[name] = Check(
            name, family, title, harm, judge, reads, why, by_hand, requires, follows, without
        )
        return judge

    return declare


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Check]:
    """All checks by name, in the order in which they run: what is required comes first.

    Raises:
        RegistryError: an edge names an unknown check, or edges run in a circle.
    """
    from klein_doctor import checks

    modules = [info.name for info in pkgutil.iter_modules(checks.__path__)]
    for module in sorted(modules, key=_family_order):
        importlib.import_module(f"klein_doctor.checks.{module}")
    # Whoever imported a check earlier, for itself, must not change the order of reports.
    by_module = sorted(_declared.items(), key=lambda item: _family_order(_module(item[1])))
    return ordered(dict(by_module))


def _module(check: Check) -> str:
    return check.judge.__module__.rpartition(".")[2]


def ordered(declared: dict[str, Check]) -> dict[str, Check]:
    """Checks in an order that respects their edges and otherwise keeps the declared one."""
    for item in declared.values():
        for name in (*item.requires, *item.follows):
            if name not in declared:
                raise RegistryError(f"check {item.name} names an unknown check: {name}")
    done: dict[str, Check] = {}
    while len(done) < len(declared):
        ready = [
            item
            for item in declared.values()
            if item.name not in done and all(n in done for n in (*item.requires, *item.follows))
        ]
        if not ready:
            stuck = ", ".join(name for name in declared if name not in done)
            raise RegistryError(f"checks require each other in a circle: {stuck}")
        done[ready[0].name] = ready[0]
    return done


def unknown_check(name: str, checks: Iterable[str]) -> str:
    """One line about a check that does not exist, with the nearest name."""
    import difflib

    close = difflib.get_close_matches(name, checks, n=1)
    hint = f"; did you mean {close[0]}?" if close else "; klein-doctor explain lists them"
    return f"there is no check called {name[:60]!r}{hint}"


def _family_order(module: str) -> tuple[int, str]:
    """Subjects in the order in which a machine is built up; new files come after."""
    known = (
        "gpu_missing", "gpu", "driver", "comfyui_missing", "python_env", "python_path",
        "torch_replaced", "torch_build", "torch_age", "torch_partners", "torch_guard", "proof",
        "attention", "attention_extensions", "comfyui", "comfyui_folders", "comfyui_start",
        "diffusers_stack", "packages", "known_bad", "assets", "assets_state", "assets_choice",
        "checkout", "workflow", "memory", "disk", "hub", "security", "generation",
        "pictures",
    )  # fmt: skip
    return (known.index(module) if module in known else len(known), module)
