"""One diagnosis: from target or report to Report."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from klein_doctor import __version__
from klein_doctor import recipe as recipes
from klein_doctor.engine import Choice, exit_code, first_of, judge
from klein_doctor.exits import UsageError, leading
from klein_doctor.generation import Proven
from klein_doctor.model import Fact, Facts, Fault, Known, Report, Target, Unknown
from klein_doctor.registry import catalogue
from klein_doctor.rows import RecipeError
from klein_doctor.target import Wish

if TYPE_CHECKING:
    from klein_doctor.probes.outside import Outside

_RECORD_LIMIT_S = 2.0


@dataclass(frozen=True)
class Request:
    """What the command line asks of a diagnosis."""

    wish: Wish = field(default_factory=Wish)
    choice: Choice = field(default_factory=Choice)
    strict: bool = False
    deep: bool = False
    state_dir: str = ""
    recipe: str = ""
    prove: bool = False
    offline: bool = False


def request_of(options: argparse.Namespace) -> Request:
    """What the command line says."""
    return Request(
        wish=Wish(
            options.python, options.comfyui, options.gpu, options.assume, options.route,
            new=options.fix or options.command == "setup",
        ),
        choice=Choice(options.select, options.ignore),
        strict=options.strict,
        deep=options.deep,
        state_dir=options.state_dir,
        recipe=options.recipe,
        prove=options.prove,
        offline=options.offline,
    )  # fmt: skip


def diagnose(request: Request, meanwhile: Callable[[], None] = lambda: None) -> Report:
    """Read this machine and judge it; meanwhile is called while the probes run.

    Raises:
        UsageError: wrong usage, in one line.
    """
    from klein_doctor import snapshot, target
    from klein_doctor.probes import assume
    from klein_doctor.probes.outside import Outside

    wish = request.wish
    assumption = assume.parse(wish.assume) if wish.assume else None
    outside = Outside.real()
    running = snapshot.Snapshot(
        outside,
        ask_driver=assumption is None,
        state_dir=request.state_dir,
        recipe=request.recipe,
        deep=request.deep,
    )
    aim = target.resolve(outside, wish)
    recipe = recipe_of(request)
    running.aim(aim, frozenset(recipe.stack.watched))
    # While the probes wait for the driver and the disk, get ready for what comes after them.
    catalogue()
    meanwhile()
    facts = running.facts()
    if assumption is not None:
        facts = assume.apply(facts, assumption, recipe)
    else:
        facts = facts._replace(proven=_on_record(outside, facts, recipe, request))
    if request.prove:
        from klein_doctor.generate.kernels import proof_of

        facts = facts._replace(proof=proof_of(facts))
    now = datetime.datetime.now(datetime.timezone.utc)
    return build(facts, aim.target, now.strftime("%Y-%m-%dT%H:%M:%SZ"), recipe, request)


def again(source: str, request: Request, note: Callable[[str], None]) -> Report:
    """Judge what a report holds of a machine; note is told when its seal is broken.

    Raises:
        UsageError: wrong usage, in one line.
    """
    from klein_doctor.replay import read_report

    found = read_report(source)
    if not found.intact:
        note("this report was changed after it was made (its seal does not fit)")
    recipe = recipe_of(request)
    if request.wish.route != "auto":  # the same machine, judged for another way of running it
        found = found.routed(request.wish.route)
    return build(found.facts, found.target, found.created, recipe, request, replayed=True)


def build(
    facts: Facts,
    target: Target,
    created: str,
    recipe: recipes.Recipe,
    request: Request,
    *,
    replayed: bool = False,
) -> Report:
    """Judge facts, wherever they come from; created is ``YYYY-MM-DDThh:mm:ssZ``."""
    from klein_doctor.assets import files_line
    from klein_doctor.pictured import pictured
    from klein_doctor.plans import plan_line, recommend
    from klein_doctor.routes import route_of

    checks = catalogue()
    findings = judge(facts, recipe, checks, request.choice)
    picture = pictured(facts, recipe, created)
    return Report(
        created=created,
        version=__version__,
        recipe=recipe.as_of,
        recipe_age_days=_age(created, recipe.as_of),
        target=target,
        facts=facts,
        findings=findings,
        first=first_of(findings, checks),
        exit_code=leading(exit_code(findings, strict=request.strict), picture.exit_code),
        replayed=replayed,
        route=route_of(facts, recipe),
        plan=plan_line(recommend(facts, recipe), recipe),
        files=files_line(facts, recipe),
        picture=picture.says,
        ready=picture.ready,
        record=picture.record,
    )


def _on_record(
    outside: Outside, facts: Facts, recipe: recipes.Recipe, request: Request
) -> Fact[Proven | None]:
    from klein_doctor.boxed import boxed
    from klein_doctor.probes.proven import read_proven
    from klein_doctor.routes import route_of
    from klein_doctor.state import state_folder

    state = state_folder(request.state_dir, outside.env)
    route = route_of(facts, recipe)
    found = boxed("record", lambda: read_proven(outside, facts, route, state), _RECORD_LIMIT_S)
    return Unknown(f"the record: {found.kind}") if isinstance(found, Fault) else Known(found)


def recipe_of(request: Request) -> recipes.Recipe:
    """The tables this request is judged by, read once.

    Raises:
        UsageError: those of --recipe are not what they should be.
    """
    try:
        return _load(request.recipe)
    except RecipeError as error:
        if not request.recipe:
            raise
        raise UsageError(f"--recipe {request.recipe}: {error}") from error


@lru_cache(maxsize=1)
def _load(extra: str) -> recipes.Recipe:
    return recipes.load(extra=extra)


def _age(created: str, as_of: str) -> int:
    try:
        then = datetime.date.fromisoformat(as_of)
        return max(0, (datetime.date.fromisoformat(created[:10]) - then).days)
    except ValueError:
        return 0
