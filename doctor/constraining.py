"""The file of constraints that keeps torch, written by hand: one command, the same in any shell."""

from __future__ import annotations

from collections.abc import Sequence

from klein_doctor.model import Facts, Private, known

MARK = "# Written by klein-doctor"
_WRITE = "import sys; open(sys.argv[1], 'w').write('\\n'.join(sys.argv[2:]))"


def written(python: Private, place: Private, lines: Sequence[str]) -> tuple[str | Private, ...]:
    """What writes these lines there."""
    return (python, "-c", _WRITE, place, *lines)


def repinned(facts: Facts, packages: Sequence[str]) -> tuple[tuple[str | Private, ...], ...]:
    """What lets the doctor's own constraints name these; pip or uv would refuse them otherwise.

    packages: as ``torch==2.14.1+cu130``. () where no file of the doctor's stands in the way.
    """
    python, guard = known(facts.interpreter), known(facts.guard)
    if python is None or guard is None:
        return ()
    pins = guard.pip if python.has_pip else guard.uv
    places = dict.fromkeys(p.file for p in pins if p.own and _name(p.name, packages))
    return tuple(written(python.path, place, (MARK, *packages)) for place in places)


def in_the_way(facts: Facts, packages: Sequence[str]) -> str:
    """The constraint of somebody else's that forbids one of these, "" where there is none."""
    python, guard = known(facts.interpreter), known(facts.guard)
    if python is None or guard is None:
        return ""
    pins = guard.pip if python.has_pip else guard.uv
    wanted = {f"{p.name}{p.wants}" for p in pins if not p.own and _name(p.name, packages)}
    return next(iter(sorted(wanted - set(packages))), "")


def _name(name: str, packages: Sequence[str]) -> bool:
    return any(each.startswith(f"{name}==") for each in packages)
