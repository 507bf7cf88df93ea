"""The target's environment as those see it who change its packages: pure functions of facts."""

from __future__ import annotations

from klein_doctor.model import Facts, Interpreter, Package, known
from klein_doctor.outcomes import release, uses_uv

TRIO = ("torch", "torchvision", "torchaudio")


def kept(facts: Facts) -> tuple[str, ...]:
    """torch and its partners by the version pip knows them by, () where torch is not installed.

    PyPI's builds are recorded without the local tag that their version.py has.
    """
    found: list[str] = []
    for fact in (facts.torch, facts.torchvision, facts.torchaudio):
        package: Package | None = known(fact)
        if package is None or not package.present:
            if not found:
                return ()
            continue
        recorded = [item.version for item in package.distributions]
        version = recorded[0] if recorded else known(package.version, "")
        if release(version) is not None:
            found.append(f"{package.name}=={version}")
    return tuple(found)


def tool(python: Interpreter) -> str:
    """What changes its packages: ``uv`` where it has no pip and was made by uv, else ``pip``."""
    return "uv" if uses_uv(python) else "pip"


def isolated(python: Interpreter) -> bool:
    """Whether it is started with -s, so that the user's own packages do not count."""
    return python.kind == "embedded"


def shared(facts: Facts) -> str:
    """Why packages of this interpreter are not for the doctor to change, "" where they are."""
    around = known(facts.surroundings)
    if around is not None and around.managed is not None:
        return "this Python belongs to the system (it is marked as externally managed)"
    return ""


def compiled_for_torch(facts: Facts, chosen: str) -> tuple[str, ...]:
    """Extensions that were compiled for the installed torch and may not load beside another.

    chosen: the version that is to come, with its tag. Nothing is named where number and CUDA stay.
    """
    torch = known(facts.torch)
    present = known(torch.version, "") if torch is not None and torch.present else ""
    if not present or present == chosen:
        return ()
    found = known(facts.extensions, ())
    return tuple(f"{each.name} {each.version}" for each in found)
