"""What the wizard asks, decided from what is known; pure, and nothing is asked here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from klein_doctor.answers import (
    DOWNLOAD,
    ENVIRONMENT,
    INSTALL,
    NO,
    ROUTE,
    SYMPTOM,
    YES,
    checked,
)
from klein_doctor.arguments import SYMPTOMS
from klein_doctor.chosen import Row
from klein_doctor.installation import Install, Search
from klein_doctor.model import Facts, Known, Private, known
from klein_doctor.outcomes import gb
from klein_doctor.plans import plan_line, recommend
from klein_doctor.recipe import Recipe
from klein_doctor.recipe_memory import ROUTES
from klein_doctor.routes import route_of
from klein_doctor.steps import Plan, Step
from klein_doctor.symptoms import NOTHING, WORDS

TORCH = "install-torch"  # the fix that replaces PyTorch


class Choice(NamedTuple):
    """One possible answer: its value in an answers file, what is shown, and more below it."""

    value: str
    label: str
    more: str = ""


class Question(NamedTuple):
    """Something to ask. key: of the answers file. default: the value taken by Enter."""

    key: str
    text: str
    choices: tuple[Choice, ...]
    default: str


# --- which install ---------------------------------------------------------------------------


def install_question(search: Search) -> Question | None:
    """Which ComfyUI, where several were found: running ones first, then by last use."""
    if len(search.found) < 2:
        return None
    order = sorted(search.found, key=lambda i: (i.port is None, -(i.last_used or 0)))
    choices = tuple(Choice(i.root.real, f"{i.root.local} ({_standing(i)})") for i in order)
    return Question(INSTALL, "Which ComfyUI is it about?", choices, choices[0].value)


def _standing(install: Install) -> str:
    if install.port is not None:
        return f"{install.kind}, running on port {install.port}"
    return install.kind


# --- what happened ---------------------------------------------------------------------------


def symptom_question() -> Question:
    """What went wrong, in the user's words."""
    choices = tuple(Choice(name, WORDS[name]) for name in SYMPTOMS)
    return Question(SYMPTOM, "What happened?", choices, NOTHING)


# --- where, and by which route ---------------------------------------------------------------


def environment_question(plan: Plan, optional: Plan, *, private: bool) -> Question | None:
    """Whether this environment may be changed, where that touches compiled extensions.

    private: there is a fix that makes an environment of its own.
    """
    touched = dict.fromkeys(
        name
        for step in (*plan.steps, *optional.steps)
        for name in step.touches or step.arguments.get("spares", ())
    )
    if not touched:
        return None
    names = ", ".join(touched)
    leave = Choice("private", "leave it as it is; changing it stays a step by hand")
    if private:
        leave = Choice("private", "make a private environment beside it that shares the models")
    return Question(
        ENVIRONMENT,
        f"A change of PyTorch here touches {names}, compiled for the present one. Which is it?",
        (leave, Choice("here", f"change this install; {names} may need a rebuild")),
        "private",
    )


def torch_question(rows: Sequence[Row], chosen: Sequence[Step]) -> Question | None:
    """Whether PyTorch may really be replaced, where that was ticked beforehand and not by hand."""
    ticked = [r.step for r in rows if r.step.fix == TORCH and r.tick and r.step in chosen]
    if not ticked:
        return None
    text = f"{ticked[0].title}: whatever runs in this environment uses it from then on. Do it?"
    choices = (
        Choice("private", "no, leave PyTorch as it is"),
        Choice("here", "yes, replace it; undo brings the present one back"),
    )
    return Question(ENVIRONMENT, text[:1].upper() + text[1:], choices, "private")


def route_question(facts: Facts, recipe: Recipe) -> Question | None:
    """ComfyUI or diffusers, where both or neither are installed and both fit this machine."""
    if known(facts.route, "auto") != "auto":
        return None
    packages = known(facts.packages)
    diffusers = packages is not None and packages.version("diffusers") is not None
    comfyui = known(facts.comfyui) is not None
    if diffusers is not comfyui:
        return None
    best = route_of(facts, recipe)
    choices = []
    for route in sorted(ROUTES, key=lambda name: name != best):
        found = recommend(facts._replace(route=Known(route)), recipe)
        if not isinstance(found, Known) or found.value.plan is None:
            return None
        says = plan_line(found, recipe).partition("): ")[2]
        reason = "installed here, recommended" if comfyui else "the usual way, recommended"
        label = f"{route} ({reason})" if route == best else route
        choices.append(Choice(route, label, says))
    return Question(ROUTE, "Which way of running the model?", tuple(choices), best)


# --- what is fetched -------------------------------------------------------------------------


def download_question(steps: Sequence[Step], facts: Facts, files: str) -> Question | None:
    """Whether to fetch: how much, where to, and what is here; None where nothing is fetched."""
    fetching = [step for step in steps if step.kind == "download"]
    if not fetching:
        return None
    sizes = [step.bytes for step in fetching]
    total = sum(size or 0 for size in sizes)
    size = gb(total) if total else "files"
    if None in sizes:
        size += " or more, told while it runs"
    paths = dict.fromkeys(_folder(path) for step in fetching for path in step.paths)
    text = f"Download {size}"
    if paths:
        text += f" to {', '.join(list(paths)[:3])}"
    if files:
        text += f" (here already: {files})"
    return Question(DOWNLOAD, f"{text}?", (Choice(YES, "yes"), Choice(NO, "no, leave it")), YES)


def _folder(path: Private) -> str:
    return path.local.replace("\\", "/").rpartition("/")[0] or path.local


# --- answers given beforehand ----------------------------------------------------------------


def given(question: Question, answers: Mapping[str, str]) -> str | None:
    """The answer of the file to a question, None where it has none.

    Raises:
        UsageError: it is none of the choices.
    """
    if question.key not in answers:
        return None
    value = answers[question.key]
    checked("--answers", question.key, value, [choice.value for choice in question.choices])
    return value
