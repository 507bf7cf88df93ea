"""Is it the target's Python that one's commands reach, and may packages go into it?"""

from __future__ import annotations

from packaging.version import Version

from klein_doctor.model import Facts, Harm, Known, Outcome, Repair, Unknown, Verdict, known
from klein_doctor.outcomes import passed, python_version, unknown
from klein_doctor.recipe import Recipe, pair
from klein_doctor.registry import check


@check(
    "python-too-new",
    family="python",
    title="Wheels exist for this Python",
    harm=Harm.STOPS,
    requires=("python-broken",),
    reads="The target's Python version against the newest one the PyTorch builds in the table have "
    "wheels for.",
    why="Compiled packages are built per Python version; for one that is too new pip finds none, "
    "or compiles for an hour and fails.",
    by_hand="Make an environment with a Python in the middle of the range, such as 3.12.",
)
def python_too_new(facts: Facts, recipe: Recipe) -> Outcome:
    mine = python_version(facts)
    if mine is None:
        fact = facts.interpreter
        return unknown(
            "Whether wheels exist for this Python is not known",
            fact if isinstance(fact, Unknown) else "its files do not tell its version",
        )
    newest = max(pair(row.python[1]) for row in recipe.trios)
    shown = ".".join(str(part) for part in mine[:2])
    if mine[:2] <= newest:
        return passed(f"Python {shown} is within the range of the wheels")
    if isinstance(facts.torch, Unknown):
        return unknown("Whether wheels exist for this Python is not known", facts.torch)
    if facts.torch.value.present:
        return passed(f"Python {shown} is newer than the doctor's tables; torch is installed")
    last = max((row.torch for row in recipe.trios), key=Version)
    return Outcome(
        Verdict.FAIL,
        f"No PyTorch in the table has wheels for Python {shown}",
        f"The newest listed, torch {last} of {recipe.as_of}, goes up to Python "
        f"{newest[0]}.{newest[1]}.",
        subject=known(facts.interpreter).path,
        evidence={"python": shown, "newest": f"{newest[0]}.{newest[1]}"},
        fixes=(
            Repair(
                "other-python", "packages", "manual", "make the environment with an older Python"
            ),
        ),
    )


@check(
    "python-wrong-interpreter",
    family="python",
    title="Commands and packages reach the right Python",
    harm=Harm.NOTE,
    requires=("python-broken",),
    reads="VIRTUAL_ENV and CONDA_PREFIX, the first pip on PATH, packages of the user that the "
    "target imports too, and whether a portable build is started with -s.",
    why="A 'pip install' in the wrong place changes nothing for ComfyUI, or changes another "
    "program's packages; packages from the user's own folder hide the target's.",
    by_hand="Always install with the target's own Python: TARGET -m pip install. The portable's "
    "pip.exe does not work after moving it. Start the portable with 'python.exe -s'.",
)
def python_wrong_interpreter(facts: Facts, recipe: Recipe) -> Outcome:
    title = "Whether commands reach the right Python is not known"
    for fact in (facts.interpreter, facts.surroundings, facts.settings):
        if isinstance(fact, Unknown):
            return unknown(title, fact)
    python, around = known(facts.interpreter), known(facts.surroundings)
    if around.user_packages:
        listed = ", ".join(around.user_packages[:5])
        return Outcome(
            Verdict.WARN,
            "Packages of the user's own folder leak into this Python",
            f"{listed}: imported from there as soon as the target lacks them, or in place of its "
            "own, and changed by every 'pip install --user'.",
            subject=around.user_site,
            evidence={"packages": around.user_packages},
            fixes=(
                Repair(
                    "no-user-site",
                    "config",
                    "manual",
                    "start it with -s, or set PYTHONNOUSERSITE=1",
                ),
            ),
        )
    active = next(
        (s for s in known(facts.settings) if s.name in ("VIRTUAL_ENV", "CONDA_PREFIX")), None
    )
    other = active is not None and active.value.real != python.prefix.real
    if other and around.path_pip is not None and not around.path_pip_is_target:
        return Outcome(
            Verdict.WARN,
            "Another environment is active than the one that runs the model",
            f"'pip install' typed now acts on {active.name}, not on the Python that is judged."
            if active is not None
            else "",
            subject=active.value if active is not None else None,
            fixes=(
                Repair(
                    "name-python",
                    "config",
                    "manual",
                    "install with the target's own Python",
                    ((python.path, "-m", "pip", "install", "..."),),
                ),
            ),
        )
    return passed("Commands and packages reach the right Python")


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
    return Outcome(
        Verdict.WARN,
        "The doctor is installed in the environment it judges",
        "Installing or updating it there can move packages the model needs.",
        subject=known(facts.interpreter).prefix if isinstance(facts.interpreter, Known) else None,
        fixes=(
            Repair(
                "move-doctor",
                "packages",
                "manual",
                "install it apart, for example with pipx or uv tool, and uninstall it here",
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
    "no virtual environment.",
    why="The system or a tool owns this Python: pip refuses with 'externally-managed-environment', "
    "and forcing it can break the system's own programs.",
    by_hand="python3 -m venv ENV, then install with ENV/bin/python -m pip. Do not use "
    "--break-system-packages.",
)
def python_externally_managed(facts: Facts, recipe: Recipe) -> Outcome:
    if isinstance(facts.surroundings, Unknown):
        return unknown("Whether packages may be installed is not known", facts.surroundings)
    around = facts.surroundings.value
    if around.managed is None:
        return passed("Packages may be installed into this Python")
    return Outcome(
        Verdict.WARN,
        "This Python belongs to the system: pip refuses to change it",
        f"Its marker says: {around.managed_by or 'externally managed'}. Repairs that install "
        "packages need an environment of your own.",
        subject=around.managed,
        fixes=(
            Repair(
                "make-venv",
                "packages",
                "ask",
                "make an environment for the model",
                (("python3", "-m", "venv", "klein-env"),),
            ),
        ),
    )
