"""One test generation from the facts of a machine to a report with its pictures judged."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from klein_doctor.card import chosen_gpu
from klein_doctor.console import Lines
from klein_doctor.diagnose import Request, build, recipe_of
from klein_doctor.engine import exit_code
from klein_doctor.exits import Exit, leading
from klein_doctor.generate import kept
from klein_doctor.generate.job import Attempt, Job
from klein_doctor.generate.kernels import proof_of
from klein_doctor.generate.pictures import looked_at
from klein_doctor.generate.routes import Way, way_of
from klein_doctor.generate.sampling import Sampler
from klein_doctor.generate.watching import Watcher
from klein_doctor.generate.wish import Wish, in_the_way, set_aside
from klein_doctor.generation import Generation, Phase, Sample
from klein_doctor.model import Facts, Known, Private, Report, known
from klein_doctor.privacy import Redactor
from klein_doctor.recipe import Recipe
from klein_doctor.recipe_prompt import load_prompt
from klein_doctor.recipe_workflow import load_workflow
from klein_doctor.repair import Limits
from klein_doctor.values import printable
from klein_doctor.verdict_images import AS_RECORDED, VERIFIED

_MIB = 1 << 20
_LONGEST_SAID = 400
_SAMPLES = 160  # kept for the report, which is pasted into issues
_OF_STEPS = (Exit.FIX_ROLLED_BACK, Exit.REBOOT, Exit.TRY_AGAIN)
_EXPLAINED = 3  # checks that a failure is put down to, at most


class _Ran(NamedTuple):
    """A run as it was seen from outside. origin: when its phases began, by time.monotonic()."""

    attempt: Attempt
    phases: tuple[Phase, ...]
    samples: tuple[Sample, ...]
    origin: float


def with_pictures(
    report: Report, request: Request, wish: Wish, limits: Limits, console: Lines
) -> Report:
    """The report with a test generation in it, or with the reason why none was begun.

    What was found and done before stays in it. Raises nothing of what can go wrong on a machine.
    """
    refused = _refused(report, wish, console)
    if refused is not None:
        return refused
    recipe, redactor = recipe_of(request), Redactor.of_this_machine(os.environ)
    facts = report.facts
    try:
        if wish.device == "cuda":
            console.note("trying the kernels on the card")
            facts = facts._replace(proof=proof_of(facts, limits.stop, limits.left_s))
            report = _judged(report, facts, request)
            refused = _refused(report, wish, console)
            if refused is not None:
                return refused
        way = way_of(facts, recipe, wish, os.environ, redactor)
        if isinstance(way, str):
            console.note(f"no test generation: {way}")
            return _without(report)
        return _made(report, request, wish, way, limits, console)
    except KeyboardInterrupt:
        return report._replace(exit_code=leading(report.exit_code, Exit.INTERRUPTED))


def _refused(report: Report, wish: Wish, console: Lines) -> Report | None:
    """The report as it is where something stands in the way, and that is said."""
    found = in_the_way(report.findings, report.facts, wish)
    if found:
        names = ", ".join(dict.fromkeys(f.check for f in found))
        ours = any(fix.grade != "manual" for f in found for fix in f.fixes)
        then = "klein-doctor --fix --generate" if ours else f"klein-doctor explain {found[0].check}"
        console.note(f"no test generation: mend first what stands in its way ({names}): {then}")
        return _without(report)
    if wish.device == "cuda" and chosen_gpu(report.facts) is None:
        console.note("no test generation: no card answers here that could make a picture")
        return _without(report)
    return None


def _without(report: Report) -> Report:
    return report._replace(exit_code=report.exit_code or Exit.PROBLEMS)


def _judged(report: Report, facts: Facts, request: Request) -> Report:
    """Judged anew, with what was found and done before kept."""
    anew = build(facts, report.target, report.created, recipe_of(request), request)
    return anew._replace(
        before=report.before,
        steps_planned=report.steps_planned,
        steps=report.steps,
        run=report.run,
        changed=report.changed,
        reboot_needed=report.reboot_needed,
        retry=report.retry,
    )


# --- the run ---------------------------------------------------------------------------------


def _made(
    report: Report, request: Request, wish: Wish, way: Way, limits: Limits, console: Lines
) -> Report:
    facts, recipe = report.facts, recipe_of(request)
    place = kept.folder(wish.pictures, request.state_dir, os.environ)
    if place.scratch:
        console.note(f"there is no state folder: the pictures go to {place.path}")
    job = _job(facts, wish, place.path)
    redactor = Redactor.of_this_machine(os.environ)
    ran = _carried_out(job, way, limits, console)
    generation = _generation(facts, recipe, wish, way, job, ran, redactor)
    judged = _judged(report, facts._replace(generation=Known(generation)), request)
    usage: tuple[tuple[str, Private], ...] = ()
    if judged.record is not None and judged.record["verdict"] in (VERIFIED, AS_RECORDED):
        usage = way.usage
        with contextlib.suppress(OSError):  # the script is a gift, not what was asked for
            usage = (*usage, *way.finish(place.path, job))
    problem = kept.keep(judged, way.route, way.files, request.state_dir, os.environ)
    if problem:
        console.note(f"the record could not be kept: {problem}")
    return judged._replace(usage=usage, exit_code=_exit(report, judged, request, wish))


def _exit(before: Report, after: Report, request: Request, wish: Wish) -> Exit:
    """What the run ended with, beside what the steps before it did."""
    code = after.exit_code
    if code in (Exit.PROBLEMS, Exit.UNDECIDED):
        rest = [f for f in after.findings if not set_aside(f, wish)]
        code = exit_code(rest, strict=request.strict)
    return leading(code, before.exit_code) if before.exit_code in _OF_STEPS else code


def _job(facts: Facts, wish: Wish, place: Path) -> Job:
    prompt, settings = load_prompt(), load_workflow()["distilled"]
    python, gpu = known(facts.interpreter), chosen_gpu(facts)
    side = wish.size or prompt.pixels
    return Job(
        prompt=prompt.text,
        seeds=prompt.seeds,
        width=side,
        height=side,
        steps=settings.steps,
        guidance=f"{settings.cfg_tenths / 10:.1f}",
        folder=place,
        python=python.path.real if python is not None else "",
        device=wish.device,
        gpu=gpu.uuid.real if gpu is not None and wish.device == "cuda" else "",
    )


def _carried_out(job: Job, way: Way, limits: Limits, console: Lines) -> _Ran:
    with Sampler(job.gpu) as memory:
        watcher = Watcher(console, limits, len(job.seeds), memory.root)
        try:
            attempt = way.run(job, watcher)
        except KeyboardInterrupt:
            attempt = Attempt("interrupted", "", "stopped", "stopped as asked", "", (), (), ())
        except OSError as error:
            says = f"{error.filename or 'the disk'}: {error.strerror or error}"
            attempt = Attempt("failed", "", type(error).__name__, says, "", (), (), ())
        phases = watcher.close()
        if not attempt.gone:
            console.note("a process of the run could not be ended; a restart ends it")
    return _Ran(attempt, phases, memory.samples(), watcher.origin)


def _generation(
    facts: Facts, recipe: Recipe, wish: Wish, way: Way, job: Job, ran: _Ran, redactor: Redactor
) -> Generation:
    attempt = ran.attempt
    looked = looked_at(attempt.made, redactor)
    gpu = chosen_gpu(facts) if wish.device == "cuda" else None
    free = known(gpu.free_bytes) if gpu is not None else None
    free_mib = free // _MIB if free is not None else -1
    samples = thinned(
        [
            s._replace(at_s=round(s.at_s - ran.origin, 3))
            for s in ran.samples
            if s.at_s >= ran.origin
        ]
    )
    predicted = way.predicted_mib(recipe.memory, job.width, free_mib) if gpu is not None else 0
    return Generation(
        route=way.route,
        outcome=attempt.outcome,
        stage=attempt.stage,
        kind=attempt.kind,
        says=printable(redactor.text(attempt.says).public, _LONGEST_SAID),
        explained=_explained(attempt) if attempt.outcome == "failed" else (),
        plan=way.plan.id if way.plan is not None else "",
        expectation=wish.expect,
        width=job.width,
        height=job.height,
        steps=job.steps,
        guidance=job.guidance,
        prompt=job.prompt,
        pictures=looked.pictures,
        repeated=looked.repeated,
        differed=looked.differed,
        remarks=attempt.remarks,
        phases=ran.phases,
        samples=samples,
        free_mib=free_mib,
        predicted_mib=predicted,
        peak_mib=max((s.ours_mib for s in ran.samples), default=-1) if gpu is not None else -1,
        ram_mib=max((s.ram_mib for s in ran.samples), default=-1),
        cold_s=_cold(ran),
        warm_s=attempt.made[-1].seconds if len(attempt.made) > 1 else 0.0,
        versions=attempt.versions,
    )


def thinned(samples: Sequence[Sample], most: int = _SAMPLES) -> tuple[Sample, ...]:
    """At most so many samples, the heaviest of each stretch."""
    stride = -(-len(samples) // most) if samples else 1
    stretches = [samples[at : at + stride] for at in range(0, len(samples), stride)]
    return tuple(max(each, key=lambda s: (s.ours_mib, s.ram_mib)) for each in stretches)


def _cold(ran: _Ran) -> float:
    """From the start of everything to the first picture, without what was done for the others
    meanwhile; 0 where it never came to one."""
    if not ran.attempt.made:
        return 0.0
    spent = sum(p.ended_s - p.began_s for p in ran.phases if p.picture in (0, 1))
    return round(max(spent, ran.attempt.made[0].seconds), 3)


def _explained(attempt: Attempt) -> tuple[str, ...]:
    """The checks that triage names for what the run left behind."""
    from klein_doctor.recipe_messages import load_known
    from klein_doctor.triage.rank import guesses
    from klein_doctor.triage.text import excerpt_of

    text = attempt.text or attempt.says
    if not text:
        return ()
    made = guesses(excerpt_of([text.encode("utf-8", "replace")]), load_known())
    return tuple(dict.fromkeys(g.check for g in made if g.certainty != "low"))[:_EXPLAINED]
