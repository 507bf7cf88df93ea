"""What the wizard asks, decided from what is known; pure, and nothing is asked here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from klein_doctor.exits import UsageError
from klein_doctor.installation import Install, Search
from klein_doctor.model import Facts, Finding, Known, Private, Verdict, known
from klein_doctor.outcomes import gb
from klein_doctor.plans import plan_line, recommend
from klein_doctor.recipe import Recipe
from klein_doctor.recipe_memory import ROUTES
from klein_doctor.recipe_messages import SymptomRow
from klein_doctor.routes import route_of
from klein_doctor.steps import Plan, Step

# Keys of an --answers file.
INSTALL, SYMPTOM, ENVIRONMENT = "install", "symptom", "environment"
ROUTE, STEPS, DOWNLOAD = "route", "steps", "download"
# What happened, in the user's words, and the rows of symptoms.toml that it means.
_HAPPENED = (
    ("nothing", "nothing yet, it is new or being set up", ()),
    ("black", "a black, noisy or washed-out picture", ("black", "noise", "washed-out")),
    ("error", "an error message", ()),
    ("wont-start", "it does not start, or it ends by itself",
     ("silent-crash", "after-driver-update")),
    ("memory", "memory runs out", ("no-memory-words", "no-ram-words")),
    ("slow", "it is slow", ("slow", "cpu-used", "stuck-loading")),
)  # fmt: skip
_YES, _NO = ("true", "yes", "1", "on"), ("false", "no", "0", "off")
_SHOWN = (Verdict.FAIL, Verdict.WARN)


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


class Row(NamedTuple):
    """A step of the plan table. warning: it mends a warning. tick: None where it is not ours."""

    step: Step
    warning: bool
    tick: bool | None


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
    choices = tuple(Choice(name, label) for name, label, _ in _HAPPENED)
    return Question(SYMPTOM, "What happened?", choices, "nothing")


def checks_of(symptom: str, rows: Iterable[SymptomRow]) -> tuple[str, ...]:
    """The checks that can explain a symptom, the likeliest first."""
    names = next((names for name, _, names in _HAPPENED if name == symptom), ())
    found = {row.id: row.checks for row in rows}
    return tuple(dict.fromkeys(check for name in names for check in found.get(name, ())))


def explaining(findings: Sequence[Finding], checks: Sequence[str]) -> tuple[Finding, ...]:
    """The findings that are red and can explain the symptom, in the order of checks."""
    red = [f for f in findings if f.verdict in _SHOWN and f.check in checks]
    return tuple(sorted(red, key=lambda f: (f.verdict is not Verdict.FAIL, checks.index(f.check))))


def first(findings: Sequence[Finding], leading: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings with the leading ones in front, each once."""
    ids = [f.id for f in leading]
    front = sorted((f for f in findings if f.id in ids), key=lambda f: ids.index(f.id))
    return (*front, *(f for f in findings if f.id not in ids))


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


# --- the plan --------------------------------------------------------------------------------


def table(plan: Plan, optional: Plan) -> tuple[Row, ...]:
    """What can be done, as it stands before anybody ticks; by hand first, warnings last."""
    rows = [Row(step, False, _tick(step)) for step in plan.steps]
    there = {(step.fix, step.title) for step in plan.steps}
    for step in optional.steps:
        if (step.fix, step.title) not in there:
            rows.append(Row(step, True, None if step.grade == "manual" else False))
    return tuple(rows)


def _tick(step: Step) -> bool | None:
    return None if step.grade == "manual" else not step.touches


def chosen_by(answer: str, rows: Sequence[Row]) -> tuple[Step, ...]:
    """The steps an answer names: ``all``, ``fails``, ``none`` or ids of fixes.

    Raises:
        UsageError: a name is none of a step that can be done.
    """
    ours = [row for row in rows if row.tick is not None]
    names = [name.strip() for name in answer.split(",") if name.strip()]
    if names == ["all"]:
        return tuple(row.step for row in ours)
    if names == ["fails"]:
        return tuple(row.step for row in ours if not row.warning)
    if names in ([], ["none"]):
        return ()
    there = list(dict.fromkeys(row.step.fix for row in ours))
    for name in names:
        if name not in there:
            known_ones = ", ".join(("all", "fails", "none", *there))
            raise UsageError(f"--answers: steps = {name[:60]!r}; there are {known_ones}")
    return tuple(row.step for row in ours if row.step.fix in names)


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
    return Question(
        DOWNLOAD, f"{text}?", (Choice("true", "yes"), Choice("false", "no, leave it")), "true"
    )


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
    values = [choice.value for choice in question.choices]
    if question.key == DOWNLOAD and value.lower() in (*_YES, *_NO):
        value = "true" if value.lower() in _YES else "false"
    if value not in values:
        raise UsageError(
            f"--answers: {question.key} = {value[:60]!r}; use one of {', '.join(values)}"
        )
    return value
