"""The target's environment as those see it who change its packages: pure functions of facts."""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

from klein_doctor.constraining import written
from klein_doctor.installation import CONSTRAINTS, Guard, Pin
from klein_doctor.model import (
    Fact,
    Facts,
    Interpreter,
    Known,
    Package,
    Private,
    Unknown,
    known,
)
from klein_doctor.outcomes import Command, from_conda, release, uses_uv

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
    """What changes its packages: ``uv`` where it has no pip, else ``pip``."""
    return "uv" if uses_uv(python) else "pip"


def isolated(python: Interpreter) -> bool:
    """Whether it is started with -s, so that the user's own packages do not count."""
    return python.kind == "embedded"


def shared(facts: Facts) -> str:
    """Why packages of this interpreter are not for the doctor to change, "" where they are."""
    around, python = known(facts.surroundings), known(facts.interpreter)
    if around is not None and around.managed is not None:
        return "this Python belongs to the system (it is marked as externally managed)"
    if python is not None and of_the_system(python):
        return "this Python belongs to the system (it lies in /usr)"
    if python is not None and conda_base(python):
        return "this is conda's own base environment, which conda itself runs on"
    return ""


NAME_PYTHON: Command = ("klein-doctor", "--python", "<python or environment folder>")


def doctors_own(facts: Facts) -> bool:
    """Whether nothing but the doctor lives in this environment: no torch ever was in it."""
    around = known(facts.surroundings)
    torch = known(facts.torch)
    if around is None or not around.doctor_inside or not isinstance(facts.torch, Known):
        return False
    return torch is None or not (torch.present or torch.distributions)


def without_tool(facts: Facts) -> str:
    """What is missing to change its packages with, "" where there is pip or uv."""
    python, around = known(facts.interpreter), known(facts.surroundings)
    if python is None or python.has_pip or around is None or around.path_uv is not False:
        return ""
    return "this Python has no pip: first give it one, or install uv (https://docs.astral.sh/uv)"


def with_pip_first(facts: Facts, fix: str) -> tuple[Command, ...]:
    """What gives it a pip, and the fix after that."""
    python = known(facts.interpreter)
    again: Command = ("klein-doctor", "--fix", "--only", fix)
    return (again,) if python is None else ((python.path, "-m", "ensurepip", "--upgrade"), again)


def of_the_system(python: Interpreter) -> bool:
    """Whether it is the one that the system's own programs run on, marked so or not."""
    return python.kind == "system" and python.prefix.real.rstrip("/") == "/usr"


def conda_base(python: Interpreter) -> bool:
    """Whether it is conda's base and none of its environments, which lie below ``envs``."""
    parts = python.prefix.real.replace("\\", "/").rstrip("/").split("/")
    return python.kind == "conda" and parts[-2:-1] != ["envs"]


def holds(pin: Pin, pins: tuple[str, ...]) -> bool | None:
    """Whether a constraint keeps what is installed; None where it is about something else."""
    version = dict(each.split("==", 1) for each in pins).get(pin.name)
    if version is None:
        return None
    if pin.wants == "@":
        return True
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(pin.wants).contains(version, prereleases=True)
    except InvalidSpecifier:
        return False


def contradicting(guard: Guard, pins: tuple[str, ...]) -> Pin | None:
    """A constraint of somebody else's that asks for another version than is installed."""
    found = (*guard.pip, *guard.uv)
    return next((pin for pin in found if not pin.own and holds(pin, pins) is False), None)


def not_to_guard(facts: Facts) -> str:
    """Why no file of the environment can keep torch there, "" where one can."""
    python, guard = known(facts.interpreter), known(facts.guard)
    reason = shared(facts)
    if from_conda(known(facts.torch)):
        reason = "conda installed it: pin it there, in conda-meta/pinned"
    elif python is not None and tool(python) == "uv":
        reason = (
            "uv reads no file of an environment: give it a list of constraints, and set "
            "UV_CONSTRAINT for good where ComfyUI and its nodes are installed from"
        )
    elif guard is not None and (pin := contradicting(guard, kept(facts))) is not None:
        reason = f"{pin.file.local} asks for {pin.name}{pin.wants}: correct or remove that line"
    return reason


def guard_commands(facts: Facts) -> tuple[Command, ...]:
    """What keeps torch in an environment that uv serves."""
    python, pins = known(facts.interpreter), kept(facts)
    if python is None or not pins or tool(python) != "uv":
        return ()
    place: Private = python.prefix.below(CONSTRAINTS)
    forms = (f"UV_CONSTRAINT={form}" for form in (place.real, place.local, place.public))
    system = known(facts.system)
    setting: Command = ("export", Private(*forms))
    if system is not None and system.os == "windows":
        setting = ("setx", "UV_CONSTRAINT", place)
    return (written(python.path, place, pins), setting)


def compiled_for_torch(facts: Facts, chosen: str) -> tuple[str, ...]:
    """Extensions that were compiled for the installed torch and may not load beside another.

    chosen: the version that is to come, with its tag. Nothing is named where number and CUDA stay,
    nor what is Python alone and compiles when it runs, nor a library that asks nothing of torch.
    """
    torch = known(facts.torch)
    present = known(torch.version, "") if torch is not None and torch.present else ""
    if not present or present == chosen:
        return ()
    found = known(facts.extensions, ())
    kept = _keeps_stable(present, chosen)
    return tuple(
        f"{each.name} {each.version}"
        for each in found
        if any(_is_bound(binary.torch, kept) for binary in each.binaries)
    )


def _is_bound(built: Fact[str], kept: bool) -> bool:
    """Whether a library may not load beside another torch; what could not be read may not."""
    return isinstance(built, Unknown) or built.value == "exact" or (built.value != "" and not kept)


def _keeps_stable(present: str, chosen: str) -> bool:
    """Whether what was built against the stable functions of one torch loads beside another.

    The later torch has them; CUDA's own libraries come with torch, so their major must stay.
    """
    try:
        old, new = Version(present), Version(chosen)
    except InvalidVersion:
        return False
    majors = [(each.local or "")[: len("cu13")] for each in (old, new)]
    return new.release >= old.release and majors[0] == majors[1] != ""
