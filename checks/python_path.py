"""Is it the target's Python that one's commands reach, and may packages go into it?"""

from __future__ import annotations

from packaging.version import Version

from klein_doctor.checks.python_launched import of_absent, of_moved, same
from klein_doctor.environment import of_the_system
from klein_doctor.installation import ComfyUI, Setting, Surroundings
from klein_doctor.model import (
    Facts,
    Harm,
    Interpreter,
    Outcome,
    Private,
    Repair,
    Unknown,
    Verdict,
    known,
)
from klein_doctor.outcomes import passed, unknown
from klein_doctor.recipe import Recipe, pair
from klein_doctor.registry import check
from klein_doctor.routes import route_of

_SHOWN = 5


@check(
    "python-too-new",
    family="python",
    title="Wheels exist for this Python",
    harm=Harm.STOPS,
    requires=("python-broken",),
    reads="The target's Python version against the newest one that the PyTorch builds in the table "
    "have wheels for. Where PyTorch is installed already, nothing is wrong.",
    why="Compiled packages are built per Python version; for one that is too new pip finds none, "
    "or compiles for an hour and fails.",
    by_hand="Make the environment with a Python in the middle of the range, such as 3.12.",
)
def python_too_new(facts: Facts, recipe: Recipe) -> Outcome:
    title = "Whether wheels exist for this Python is not known"
    if isinstance(facts.interpreter, Unknown):
        return unknown(title, facts.interpreter)
    if isinstance(facts.interpreter.value.version, Unknown):
        return unknown(title, facts.interpreter.value.version)
    mine = facts.interpreter.value.version.value[:2]
    shown = ".".join(str(part) for part in mine)
    last = {row.torch: pair(row.python[1]) for row in recipe.trios}
    named = max(last[row.newest] for row in recipe.installs if row.newest in last)
    if mine <= named:
        return passed(f"Python {shown} is within the range of the wheels")
    if isinstance(facts.torch, Unknown):
        return unknown(title, facts.torch)
    if facts.torch.value.present:
        return passed(f"Python {shown} is newer than most wheels, and torch is installed in it")
    newest = max(last.values())
    torch = max(last, key=Version)
    range_ = f"{recipe.python_floor.python} to {named[0]}.{named[1]}"
    beyond = mine > newest
    return Outcome(
        Verdict.FAIL if beyond else Verdict.WARN,
        f"No PyTorch in the table has wheels for Python {shown}"
        if beyond
        else f"Only the newest PyTorch has wheels for Python {shown}",
        f"Here is no PyTorch yet. The newest listed on {recipe.as_of}, torch {torch}, goes up to "
        f"Python {newest[0]}.{newest[1]}; the builds that are named for FLUX.2 [klein], and most "
        f"compiled packages, go up to {named[0]}.{named[1]}.",
        subject=facts.interpreter.value.path,
        evidence={"python": shown, "newest": f"{newest[0]}.{newest[1]}"},
        fixes=(
            Repair(
                "other-python",
                "packages",
                "manual",
                f"make the environment anew from Python {range_}, 3.12 for example",
            ),
        ),
    )


@check(
    "python-wrong-interpreter",
    family="python",
    title="Commands and packages reach the right Python",
    harm=Harm.NOTE,
    requires=("python-broken",),
    reads="Packages of the user that the target imports too, whether a portable build is started "
    "with -s, VIRTUAL_ENV and CONDA_PREFIX, and the first pip on PATH; the place that the "
    "environment's activation script and pip name, and the environments that launchers name.",
    why="A 'pip install' in the wrong place changes nothing for ComfyUI, or changes another "
    "program's packages; packages from the user's own folder hide the target's. An environment "
    "keeps the place it was made at: moved or copied, its scripts lead there.",
    by_hand="Always install with the target's own Python: TARGET -m pip install. The portable's "
    "pip.exe does not work after moving it. Start the portable with 'python.exe -s'. After moving "
    "an environment, ENV/bin/python -m venv ENV writes its scripts anew and keeps its packages.",
)
def python_wrong_interpreter(facts: Facts, recipe: Recipe) -> list[Outcome] | Outcome:
    title = "Whether commands reach the right Python is not known"
    for fact in (facts.interpreter, facts.surroundings, facts.settings):
        if isinstance(fact, Unknown):
            return unknown(title, fact)
    python: Interpreter = known(facts.interpreter)
    around: Surroundings = known(facts.surroundings)
    comfyui: ComfyUI | None = known(facts.comfyui)
    comfyui = comfyui if route_of(facts, recipe) == "comfyui" else None
    outcomes = [of_moved(python, around.moved, comfyui)] if around.moved is not None else []
    outcomes += of_absent(python, comfyui)
    if around.user_packages:
        outcomes.append(_user_packages(facts, python, around))
    return outcomes or _typed(facts, recipe, python, around)


def _typed(facts: Facts, recipe: Recipe, python: Interpreter, around: Surroundings) -> Outcome:
    """Whether what is typed now goes elsewhere."""
    title = "Whether commands reach the right Python is not known"
    active = _active(python, known(facts.settings))
    if active is None or around.path_pip is None or around.path_pip_is_target:
        return passed("Commands and packages reach the right Python")
    lacks = _lacks(facts, recipe)
    if isinstance(lacks, Unknown):
        return unknown(title, lacks)
    if not lacks:
        return passed("Another environment is active, but nothing is missing in the right one")
    return _elsewhere(python, around, active, lacks)


def _user_packages(facts: Facts, python: Interpreter, around: Surroundings) -> Outcome:
    """Python puts the user's folder before its own, unless it is started with -s."""
    listed = ", ".join(around.user_packages[:_SHOWN])
    more = len(around.user_packages) - _SHOWN
    listed += f" and {more} more" if more > 0 else ""
    comfyui: ComfyUI | None = known(facts.comfyui)
    launchers = comfyui.launchers if comfyui is not None and python.kind == "embedded" else ()
    told = [each for each in launchers if each.isolated is not None]
    detail = (
        f"{listed}: Python takes these from there, before its own packages, and every 'pip install "
        "--user' of another program changes them."
    )
    if told and all(each.isolated for each in told):
        detail = (
            f"{listed}: the launchers leave them out with -s, but pip does not. It says 'already "
            "satisfied' for what ComfyUI then does not find."
        )
    elif told:
        at = next(each for each in told if not each.isolated)
        detail += f" Line {at.line} of a launcher starts this Python without -s, which leaves "
        detail += "them out."
    return Outcome(
        Verdict.WARN,
        "Packages of the user's own folder leak into this Python",
        detail,
        subject=around.user_site,
        evidence={"packages": around.user_packages[:40]},
        fixes=(
            Repair(
                "no-user-site",
                "config",
                "manual",
                "start this Python, and its pip, with -s, or set PYTHONNOUSERSITE=1",
                ((python.path, "-s", "-m", "pip", "list"),),
            ),
        ),
    )


def _active(python: Interpreter, settings: tuple[Setting, ...]) -> Setting | None:
    """The environment that is active where it is not the target's, else None."""
    named = [each for each in settings if each.name in ("VIRTUAL_ENV", "CONDA_PREFIX")]
    if any(same(each.value, python.prefix) for each in named):
        return None
    return named[0] if named else None


def _lacks(facts: Facts, recipe: Recipe) -> str | Unknown:
    """What the target misses that may have gone elsewhere, "" where it has all."""
    if isinstance(facts.torch, Unknown):
        return facts.torch
    if not facts.torch.value.present:
        return "torch"
    comfyui: ComfyUI | None = known(facts.comfyui)
    if route_of(facts, recipe) != "comfyui" or comfyui is None:
        return ""
    wanted = known(comfyui.requirements, ())
    absent = [item.name for item in wanted if item.applies and item.installed is None]
    return absent[0] if absent else ""


def _elsewhere(python: Interpreter, around: Surroundings, active: Setting, lacks: str) -> Outcome:
    return Outcome(
        Verdict.WARN,
        "Another environment is active than the one that runs the model",
        f"{active.name} names it, so 'pip install' typed now goes there, while {lacks} is missing "
        "in the one that is judged.",
        subject=active.value,
        evidence={"active": active.value, "pip": around.path_pip, "missing": lacks},
        fixes=(
            Repair(
                "name-python",
                "config",
                "manual",
                "install with the right Python by its full name, or name another with --python",
                ((python.path, "-m", "pip", "install", "..."),),
            ),
        ),
    )


@check(
    "doctor-inside-target",
    family="python",
    title="The doctor lives in an environment of its own",
    harm=Harm.NOTE,
    reads="The doctor's own environment and the target's.",
    why="Installing or updating the doctor there can move packages the model needs.",
    by_hand="Install it with 'pipx install klein-doctor', 'uv tool install klein-doctor' or in an "
    "environment of its own, and take it out of this one.",
)
def doctor_inside_target(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    if isinstance(facts.surroundings, Unknown):
        return unknown("Where the doctor lives is not known", facts.surroundings)
    if not facts.surroundings.value.doctor_inside:
        return passed("The doctor lives in an environment of its own")
    if isinstance(facts.torch, Unknown):
        return unknown("Whether the doctor lives in the target is not known", facts.torch)
    if not facts.torch.value.present:
        return ()
    python: Interpreter | None = known(facts.interpreter)
    commands: tuple[tuple[str | Private, ...], ...] = (("pipx", "install", "klein-doctor"),)
    if python is not None and python.has_pip:
        commands = (*commands, (python.path, "-m", "pip", "uninstall", "klein-doctor"))
    return Outcome(
        Verdict.WARN,
        "The doctor is installed in the environment it judges",
        "Installing or updating it there can move packages the model needs.",
        subject=python.prefix if python is not None else None,
        fixes=(
            Repair(
                "move-doctor",
                "packages",
                "manual",
                "install it apart, with pipx or uv tool, and uninstall it here",
                commands,
            ),
        ),
    )


@check(
    "python-externally-managed",
    family="python",
    title="Packages may be installed into this Python",
    harm=Harm.NOTE,
    requires=("python-broken",),
    reads="The marker EXTERNALLY-MANAGED (PEP 668) beside the standard library of a Python that is "
    "no virtual environment, and whether it lies in /usr.",
    why="The system or a tool owns this Python: pip refuses with 'externally-managed-environment', "
    "and forcing it can break the system's own programs.",
    by_hand="python3 -m venv ENV, then install with ENV/bin/python -m pip. Do not use "
    "--break-system-packages.",
)
def python_externally_managed(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    title = "Whether packages may be installed is not known"
    for fact in (facts.interpreter, facts.surroundings):
        if isinstance(fact, Unknown):
            return unknown(title, fact)
    around: Surroundings = known(facts.surroundings)
    python: Interpreter = known(facts.interpreter)
    if around.managed is None and not of_the_system(python):
        return passed("Packages may be installed into this Python")
    if isinstance(facts.comfyui, Unknown):
        return unknown(title, facts.comfyui)
    comfyui = facts.comfyui.value if route_of(facts, recipe) == "comfyui" else None
    if comfyui is None and route_of(facts, recipe) == "comfyui":
        return ()  # nothing would go into it: ComfyUI is installed with an environment of its own
    if around.managed is None:
        return Outcome(
            Verdict.WARN,
            "This Python belongs to the system, whose own programs run on it",
            "It lies in /usr. pip would change it without a word; repairs that install packages "
            "need an environment for the model.",
            subject=python.prefix,
            fixes=(_own_environment(python, comfyui),),
        )
    return Outcome(
        Verdict.WARN,
        "This Python belongs to the system: pip refuses to change it",
        f"Its marker says: {around.managed_by.rstrip('.') or 'externally managed'}. Repairs that "
        "install packages need an environment for the model.",
        subject=around.managed,
        fixes=(_own_environment(python, comfyui),),
    )


def _own_environment(python: Interpreter, comfyui: ComfyUI | None) -> Repair:
    folder = "klein-env" if comfyui is None else comfyui.root.below(".venv")
    return Repair(
        "make-venv",
        "packages",
        "ask",
        "make an environment for the model (on Debian and Ubuntu with the package python3-venv)",
        ((python.path, "-m", "venv", folder),),
    )
