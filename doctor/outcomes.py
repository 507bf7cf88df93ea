"""Small words shared by the checks: outcomes, sizes, versions, repairs."""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

from klein_doctor.card import Card
from klein_doctor.constraining import in_the_way, repinned
from klein_doctor.model import (
    Facts,
    Interpreter,
    Known,
    Outcome,
    Package,
    Private,
    Repair,
    Unknown,
    Verdict,
)
from klein_doctor.recipe import Recipe, pair
from klein_doctor.wheels import Choice, choose

Command = tuple[str | Private, ...]
# What a check is skipped for where there is no card or no driver to judge.
NO_CARD = "gpu-not-found:1"
START_WITH_CARD = (
    "docker", "run", "--gpus", "all", "-e", "NVIDIA_DRIVER_CAPABILITIES=compute,utility", "...",
)  # fmt: skip
NO_VERSION = Unknown("no driver told its version")
DRIVER_PAGE = "https://www.nvidia.com/drivers"


def passed(title: str, **evidence: object) -> Outcome:
    """Nothing speaks against it."""
    return Outcome(Verdict.PASS, title, evidence=dict(evidence))  # type: ignore[arg-type]


def unknown(title: str, fact: Unknown | str) -> Outcome:
    """The answer hangs on a fact that could not be read: never a pass, never a fail."""
    reason = fact if isinstance(fact, str) else fact.reason
    return Outcome(Verdict.UNKNOWN, title, reason=reason)


def without_card(title: str, facts: Facts, fact: Unknown) -> Outcome:
    """The answer hangs on the card, and there is none: gpu-not-found already says so."""
    if isinstance(facts.nvml, Known) and not facts.nvml.value.gpus:
        return Outcome(Verdict.SKIPPED, title, because=NO_CARD)
    return unknown(title, fact)


def branch(driver: str) -> int:
    """The branch of a driver version: 580 for ``580.95.05``; 0 if it has none."""
    head = driver.partition(".")[0]
    return int(head) if head.isdigit() else 0


def release(version: str) -> Version | None:
    """A version without its local tag, None when it is not a version."""
    try:
        return Version(version.partition("+")[0])
    except InvalidVersion:
        return None


def gib(size: int) -> str:
    """Bytes as ``11.9 GiB``."""
    return f"{size / 2**30:.1f} GiB"


def gb(size: int) -> str:
    """Bytes as ``12.45 GB`` or ``6.29 MB``: decimal, as the Hub and the makers of disks count."""
    return f"{size / 1e9:.2f} GB" if size >= 100_000_000 else f"{size / 1e6:.2f} MB"


def driver_of(facts: Facts) -> str:
    """The driver's version text, "" when nobody tells."""
    if isinstance(facts.nvml, Known) and isinstance(facts.nvml.value.driver, Known):
        return facts.nvml.value.driver.value
    if isinstance(facts.kernel, Known):
        return facts.kernel.value.module
    return ""


def python_version(facts: Facts) -> tuple[int, ...] | None:
    """The target's Python version, None when its files do not tell."""
    if isinstance(facts.interpreter, Known) and isinstance(facts.interpreter.value.version, Known):
        return facts.interpreter.value.version.value
    return None


def wheel_choice(facts: Facts, recipe: Recipe, card: Card, *, anew: bool = False) -> Choice | None:
    """The build the wheel table names for this card, driver and Python.

    anew: for an environment that is empty yet: all three, whatever is installed here.
    """
    installed = ""
    if anew:
        pass
    elif isinstance(facts.torch, Known) and isinstance(facts.torch.value.version, Known):
        installed = facts.torch.value.version.value
    audio = anew or (isinstance(facts.torchaudio, Known) and facts.torchaudio.value.present)
    # Where there is no driver yet, a current one will be installed.
    driver = branch(driver_of(facts)) or recipe.fast_cuda.min_driver
    return choose(recipe, card.capability, driver, python_version(facts), installed, audio)


def install_torch(
    facts: Facts, recipe: Recipe, card: Card, *, again: bool = False
) -> tuple[Repair, ...]:
    """The repair that moves torch and its partners together, or what must happen before it."""
    choice = wheel_choice(facts, recipe, card)
    if choice is None:
        return (_driver_first(facts, recipe, card),)
    if isinstance(facts.interpreter, Unknown):
        wanted = " ".join((*choice.packages, "--index-url", choice.index_url))
        by_hand = f"with the Python that runs the model: pip install {wanted}"
        return (Repair("install-torch", "packages", "manual", by_hand),)
    names = " and ".join(package.partition("==")[0] for package in choice.packages)
    torch = choice.packages[0].partition("==")[2]
    summary = f"replace {names} together, with the build {torch}"
    if isinstance(facts.torch, Known) and not facts.torch.value.present:
        summary = f"if this is the right Python, install {names} together, the build {torch}"
    elif isinstance(facts.torch, Known) and from_conda(facts.torch.value):
        summary += "; the present one came from conda: remove it there first"
    install = pip_install(facts.interpreter.value, again=again)
    command = (*install, *choice.packages, "--index-url", choice.index_url)
    foreign = in_the_way(facts, choice.packages)
    if foreign:
        summary += f"; pip or uv is told to keep {foreign}: correct that constraint first"
    commands = (*repinned(facts, choice.packages), command)
    return (Repair("install-torch", "packages", "ask", summary, commands),)


def from_conda(package: Package | None) -> bool:
    """Whether conda installed it: pip would leave conda believing what is not so any more."""
    return package is not None and any(d.installer == "conda" for d in package.distributions)


def uses_uv(python: Interpreter) -> bool:
    """Whether its packages are uv's to change: it has no pip, as those that uv makes."""
    return not python.has_pip


def pip_install(python: Interpreter, *, again: bool = False, isolated: bool = False) -> Command:
    """The command that installs what is put behind it: by pip or, where there is none, by uv.

    Args:
        isolated: with -s, where packages of the user's own could count as installed.
    """
    if uses_uv(python):
        uv: Command = ("uv", "pip", "install", "--python", python.path)
        return (*uv, "--reinstall") if again else uv
    pip: Command = (python.path, *(("-s",) if isolated else ()), "-m", "pip", "install")
    return (*pip, "--force-reinstall") if again else pip


def update_driver(branch_wanted: int) -> Repair:
    """The driver is the user's to update; the doctor never does."""
    return Repair(
        "update-driver",
        "driver",
        "manual",
        f"install NVIDIA driver {branch_wanted} or newer from {DRIVER_PAGE}, then restart",
    )


def _driver_first(facts: Facts, recipe: Recipe, card: Card) -> Repair:
    generation = recipe.generation(card.capability)
    floor = generation.min_driver if generation else 0
    if branch(driver_of(facts)) < max(floor, recipe.fast_cuda.min_driver):
        return update_driver(recipe.fast_cuda.min_driver)
    return Repair(
        "choose-python",
        "packages",
        "manual",
        "no build in the table fits this card, driver and Python; use Python "
        f"{recipe.python_floor.python} to {_last_python(recipe)}, or see "
        "https://pytorch.org/get-started/locally",
    )


def _last_python(recipe: Recipe) -> str:
    """The newest Python for which every build that is named has wheels."""
    named = {row.newest for row in recipe.installs}
    return min((row.python[1] for row in recipe.trios if row.torch in named), key=pair)
