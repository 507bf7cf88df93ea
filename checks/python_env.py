"""Can the target's Python start, and is it one that wheels exist for?"""

from __future__ import annotations

from klein_doctor.model import Facts, Harm, Known, Outcome, Repair, Unknown, Verdict
from klein_doctor.outcomes import passed, unknown
from klein_doctor.recipe import Recipe, pair
from klein_doctor.registry import check


@check(
    "python-broken",
    family="python",
    title="The Python that runs the model can start",
    harm=Harm.STOPS,
    reads="The interpreter's own file, where it is a link to, and the pyvenv.cfg of its "
    "environment. It is not started.",
    why="An environment is tied to the Python it was made from; when that one is updated or "
    "removed, nothing in the environment starts any more.",
    by_hand="Run the interpreter with -V. If it does not start, make the environment anew with "
    "'python -m venv' and install its packages again.",
)
def python_broken(facts: Facts, recipe: Recipe) -> Outcome:
    if isinstance(facts.interpreter, Unknown):
        return unknown("Which Python runs the model is not known", facts.interpreter)
    python = facts.interpreter.value
    fault = python.fault
    if not fault.real:
        return passed("The target's Python is in place", kind=python.kind)
    return Outcome(
        Verdict.FAIL,
        "The Python that should run the model is not usable as it stands",
        f"{fault.public[:1].upper()}{fault.public[1:]}.",
        subject=python.path,
        evidence={"fault": fault},
        fixes=(
            Repair(
                "rebuild-environment",
                "packages",
                "manual",
                "make this environment anew, or name the right interpreter",
                (("klein-doctor", "--python", "<the python that starts ComfyUI>"),),
            ),
        ),
    )


@check(
    "python-too-old",
    family="python",
    title="The Python version has wheels",
    harm=Harm.STOPS,
    requires=("python-broken",),
    reads="The version in pyvenv.cfg, in the interpreter's name or in its library folder.",
    why="No build of PyTorch, diffusers or ComfyUI that knows FLUX.2 [klein] exists for Pythons "
    "below 3.10.",
    by_hand="Install a newer Python beside the old one and make the environment from it.",
)
def python_too_old(facts: Facts, recipe: Recipe) -> Outcome:
    if isinstance(facts.interpreter, Unknown):
        return unknown("The Python version is not known", facts.interpreter)
    version = facts.interpreter.value.version
    if isinstance(version, Unknown):
        return unknown("The Python version is not known", version)
    shown = ".".join(str(part) for part in version.value)
    floor = recipe.python_floor.python
    if isinstance(version, Known) and version.value[:2] < pair(floor):
        return Outcome(
            Verdict.FAIL,
            f"Python {shown} is too old",
            f"The packages that run FLUX.2 [klein] need Python {floor} or newer.",
            subject=facts.interpreter.value.path,
            evidence={"version": shown, "needed": floor},
            fixes=(
                Repair(
                    "newer-python",
                    "packages",
                    "manual",
                    f"make the environment anew from Python {floor} or newer",
                ),
            ),
        )
    return passed(f"Python {shown}", version=shown)
