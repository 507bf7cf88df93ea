"""Which way a test generation takes here, and what it needs for that: facts to a callable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from klein_doctor.assets import loadable
from klein_doctor.generate.job import Attempt, Job, Watch
from klein_doctor.generate.wish import Wish
from klein_doctor.model import Facts, Known, Private, Unknown, known
from klein_doctor.plans import PIXELS, need_mib, recommend
from klein_doctor.privacy import Redactor
from klein_doctor.recipe import Recipe
from klein_doctor.recipe_memory import MemoryRules, Plan
from klein_doctor.routes import route_of

_WEIGHTS = ("*.safetensors", "model_index.json")
_PORT = 8188  # ComfyUI's own
# What the plans are for is a card; without one everything lies where it is.
_WITHOUT_CARD = "resident"


class Way(NamedTuple):
    """A way that can be gone. run raises nothing but KeyboardInterrupt.

    plan: None where none is known. files: whose change makes another picture, real paths.
    usage: how a user goes on: labels, each with what it names; finish writes what is still to be
    written for that into a folder, and answers with more of the same.
    """

    route: str
    plan: Plan | None
    files: tuple[str, ...]
    run: Callable[[Job, Watch], Attempt]
    usage: tuple[tuple[str, Private], ...]
    finish: Callable[[Path, Job], tuple[tuple[str, Private], ...]]

    def predicted_mib(self, rules: MemoryRules, pixels: int, free_mib: int) -> int:
        """The most it should hold of the card, 0 where there is no plan to tell.

        Programs take what is free up to their unconstrained peak, and work with less.
        """
        if self.plan is None:
            return 0
        need = need_mib(self.plan, rules, pixels)
        more = self.plan.peak_unconstrained_mib - need_mib(self.plan, rules, PIXELS)
        most = need + max(0, more)
        return max(need, min(most, free_mib)) if free_mib >= 0 else most


def way_of(
    facts: Facts, recipe: Recipe, wish: Wish, env: Mapping[str, str], redactor: Redactor
) -> Way | str:
    """The way, or in words why there is none."""
    if route_of(facts, recipe) == "diffusers":
        return _diffusers(facts, recipe, wish, env, redactor)
    return _comfyui(facts, recipe, wish, env, redactor)


# --- ComfyUI ---------------------------------------------------------------------------------


def _comfyui(
    facts: Facts, recipe: Recipe, wish: Wish, env: Mapping[str, str], redactor: Redactor
) -> Way | str:
    from klein_doctor.generate.comfyui_given import given_by
    from klein_doctor.generate.comfyui_run import Means, run
    from klein_doctor.generate.remarks import remark_kind

    given = given_by(facts, recipe, wish.device, custom_nodes=wish.custom_nodes)
    if isinstance(given, str):
        return given
    means = Means(remark_kind, redactor, env)
    found = recommend(facts, recipe)
    models = known(facts.models)
    files = loadable(models) if models is not None else None
    return Way(
        route="comfyui",
        plan=found.value.plan if isinstance(found, Known) else None,
        files=tuple(file.path.real for file in files or ()),
        run=lambda job, watch: run(job, watch, given, means),
        usage=_of_comfyui(facts, given.port, files is not None),
        finish=lambda folder, job: (),
    )


def _of_comfyui(facts: Facts, port: int | None, whole: bool) -> tuple[tuple[str, Private], ...]:
    comfyui, python = known(facts.comfyui), known(facts.interpreter)
    rows: list[tuple[str, Private]] = []
    if port is None and comfyui is not None and python is not None:
        rows.append(("Start", _command(python.path, comfyui.root.below("main.py"))))
    rows.append(("Open", Private.plain(f"http://127.0.0.1:{port or _PORT}")))
    fitting = next(
        (
            each
            for each in known(facts.workflows, ())
            if each.form == "ui"
            and "flux2" in each.encoder_types
            and all(file.found and file.variant != "base" for file in each.files if file.active)
        ),
        None,
    )
    if fitting is not None:
        rows.append(("Workflow", fitting.path))
    elif whole:
        rows.append(("Workflow", Private.plain("klein-doctor --fix --only place-workflow")))
    return tuple(rows)


def _command(*words: Private) -> Private:
    """A command line in each of its forms."""

    def line(form: str) -> str:
        texts = [str(getattr(word, form)) for word in words]
        return " ".join(f'"{text}"' if " " in text else text for text in texts)

    return Private(line("real"), line("local"), line("public"))


# --- diffusers -------------------------------------------------------------------------------


def _diffusers(
    facts: Facts, recipe: Recipe, wish: Wish, env: Mapping[str, str], redactor: Redactor
) -> Way | str:
    from klein_doctor.environment import isolated
    from klein_doctor.generate.diffusers_run import run
    from klein_doctor.generate.diffusers_ways import plan_for

    models, python = known(facts.models), known(facts.interpreter)
    if models is None or not models.pipelines:
        return "no diffusers folder of FLUX.2 [klein] 4B was found in the Hub's cache"
    planned = plan_for(facts, recipe)
    if wish.device == "cpu":
        resident = next(p for p in recipe.memory.plans if p.id == _WITHOUT_CARD)
        planned = Known(resident)
    if isinstance(planned, Unknown):
        return planned.reason
    plan, folder = planned.value, Path(models.pipelines[0].path.real)
    flags = ("-s",) if python is not None and isolated(python) else ()
    packages = known(facts.packages)
    version = packages.version("diffusers") if packages is not None else None

    def finish(place: Path, job: Job) -> tuple[tuple[str, Private], ...]:
        from klein_doctor.generate.ready_script import NAME, Wanted, write_script

        wanted = Wanted(folder, version or "", job.prompt, job.seeds[0], job.width, job.height,
                        job.steps, job.guidance)  # fmt: skip
        write_script(place / NAME, plan, wanted)
        script = redactor.path(str(place / NAME))
        words = (python.path, script) if python is not None else (script,)
        return (("Script", script), ("Run", _command(*words)))

    return Way(
        route="diffusers",
        plan=plan,
        files=_weights(folder),
        run=lambda job, watch: run(job, watch, folder=folder, plan=plan, env=env, flags=flags),
        usage=(),
        finish=finish,
    )


def _weights(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(str(path) for mask in _WEIGHTS for path in folder.rglob(mask)))
    except OSError:
        return ()
