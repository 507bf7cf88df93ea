"""An attention implementation that is asked for where PyTorch's own would do: taken back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from klein_doctor.attention import Override, Scan
from klein_doctor.editing.literals import NotThere, Place, in_json
from klein_doctor.fixing import Fix
from klein_doctor.model import Finding, Private, known
from klein_doctor.steps import Case, Step, StepFailed
from klein_doctor.transaction.transaction import Transaction

ID = "release-attention"
# What asks for nothing, in transformers and in diffusers.
_TRANSFORMERS, _DIFFUSERS = "sdpa", "native"
# A value that cannot be replaced by another: what it does must be read by a person.
_BY_HAND = ("override",)


def plan(case: Case) -> list[Step]:
    """One step per file; a variable of the environment is its owner's to unset."""
    scan: Scan | None = known(case.facts.overrides)
    by_file: dict[str, list[Override]] = {}
    clears: dict[str, list[str]] = {}
    steps = []
    asked: dict[str, list[Finding]] = {}
    for finding, _ in case.asked:
        asked.setdefault(_at(finding), []).append(finding)
    found = set()
    for place in scan.overrides if scan is not None else ():
        if _real(place) in asked:  # a line may hold several
            found.add(_real(place))
            by_file.setdefault(place.path.real, []).append(place)
            ids = [each.id for each in asked[_real(place)]]
            clears.setdefault(place.path.real, []).extend(ids)
    for path, places in by_file.items():
        steps.append(_file(places, tuple(dict.fromkeys(clears[path]))))
    # What replaces attention itself is in no such place: a person reads and disables it.
    steps += [_by_hand(each) for at, those in asked.items() if at not in found for each in those]
    return steps


def _real(place: Override) -> str:
    return f"{place.path.real}:{place.line}" if place.line else place.path.real


def _at(finding: Finding) -> str:
    return finding.subject.real if finding.subject is not None else finding.id


def _file(places: list[Override], clears: tuple[str, ...]) -> Step:
    path: Private = places[0].path
    values = ", ".join(dict.fromkeys(repr(place.asks) for place in places))
    title = f"{path.local}: {values} becomes PyTorch's own attention"
    grade = "manual" if any(place.how in _BY_HAND for place in places) else "ask"
    found = [{"line": p.line, "how": p.how, "asks": p.asks, "instead": _instead(p)} for p in places]
    arguments = {"path": path.real, "kind": places[0].kind, "places": found}
    return Step(
        ID, title, "config", grade, arguments, paths=(path,), undo="puts the file back as it was",
        clears=clears,
    )  # fmt: skip


def _instead(place: Override) -> str:
    return _DIFFUSERS if "backend" in place.how or place.how == "environ" else _TRANSFORMERS


def _by_hand(finding: Finding) -> Step:
    summary = finding.fixes[0].summary if finding.fixes else finding.title
    return Step(ID, summary, "config", "manual", {}, clears=(finding.id,))


def act(step: Step, transaction: Transaction) -> str:
    """Replace the values in the file."""
    path = Path(step.arguments["path"])
    places = list(_places(step))
    try:
        data = path.read_bytes()
        if step.arguments["kind"] == "config":
            changed = in_json(data, places)
        else:
            from klein_doctor.editing.python_source import in_python

            changed = in_python(data, places)
    except NotThere as error:
        raise StepFailed(f"{path} changed meanwhile: {error}; run this again") from error
    except (ValueError, RecursionError) as error:
        raise StepFailed(f"{path}: {error}; change the value there by hand") from error
    transaction.edit(path, changed)
    many = f"{len(places)} values" if len(places) > 1 else "the value"
    return f"{many} in {path} replaced"


def _places(step: Step) -> Iterator[Place]:
    for each in step.arguments["places"]:
        yield Place(each["line"], each["how"], each["asks"], each["instead"])


FIXES = (
    Fix(ID, "Take back what asks for another attention implementation", plan, act,
        after=("install-torch", "update-comfyui")),
)  # fmt: skip
