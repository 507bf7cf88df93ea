"""How a test generation is judged, as rows of ``recipes/images.toml``.

Loaded only where there is one to judge. Rows of another folder's images.toml add to those with an
id or override them.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from klein_doctor.generation import Texture
from klein_doctor.rows import RECIPES, RecipeError, overlaid, read, rows

FILE = "images.toml"
# A picture is the first of these that it is: what is blank is no noise.
FAULTS = ("blank", "noise", "washed-out")
_CERTAINTIES = ("high", "medium", "low")
_VERDICTS = ("fail", "warn", "note")


class Expectation(NamedTuple):
    """What two pictures of one seed, and of two, may and must differ by; on 0 to 255."""

    id: str
    most_repeated: float
    least_differed: float
    source: str
    as_of: str


class Bound(NamedTuple):
    """What a measure of a picture lies between; the file says what each field means."""

    id: str
    expectation: str
    measure: str
    least: float
    most: float
    fault: str
    says: str
    source: str
    as_of: str
    seen: tuple[float, ...] = ()
    certainty: str = "high"

    def holds(self, texture: Texture) -> bool:
        value: float = getattr(texture, self.measure)
        return self.least <= value <= self.most


class RemarkRow(NamedTuple):
    """A line of a log that says something of a run; the file says what each field means."""

    kind: str
    verdict: str
    says: str
    source: str
    as_of: str
    message: str = ""
    words: tuple[str, ...] = ()


class PlanTolerance(NamedTuple):
    """How much more than a plan's promise a run may hold of the card."""

    mib: int
    source: str
    as_of: str


class Cause(NamedTuple):
    """What a fault of a picture may come from, where something holds."""

    faults: tuple[str, ...]
    when: str
    check: str
    says: str
    source: str
    as_of: str


class RunFailure(NamedTuple):
    """What a run that failed comes from."""

    kind: str
    stages: tuple[str, ...]
    title: str
    why: str
    do: str
    checks: tuple[str, ...]
    source: str
    as_of: str


class ImageRules(NamedTuple):
    """The tables; expectations by id."""

    as_of: str
    expectations: dict[str, Expectation]
    bounds: tuple[Bound, ...]
    remarks: tuple[RemarkRow, ...]
    plan_tolerance: PlanTolerance
    causes: tuple[Cause, ...]
    failures: tuple[RunFailure, ...]

    def expectation(self, name: str) -> Expectation:
        """What is expected under a name; of one that nobody knows, what is of real weights."""
        return self.expectations.get(name) or self.expectations["picture"]

    def remark(self, kind: str) -> RemarkRow | None:
        """The row of a kind of remark."""
        return next((row for row in self.remarks if row.kind == kind), None)

    def failure(self, kind: str, stage: str) -> RunFailure | None:
        """The row of a failure of this kind at this stage."""
        return next(
            (
                row
                for row in self.failures
                if row.kind == kind and (not row.stages or stage in row.stages)
            ),
            None,
        )


@lru_cache(maxsize=4)
def load_images(extra: str = "") -> ImageRules:
    """Read the tables. extra: a folder whose images.toml adds to them or overrides them.

    Raises:
        RecipeError: naming the file and row that is not what it should be.
    """
    data = read(RECIPES / FILE)
    expectations = {row.id: row for row in rows(Expectation, data, "image_expectation")}
    bounds = rows(Bound, data, "image_bound")
    more = Path(extra) / FILE if extra else None
    if more is not None and more.exists():
        added = read(more)
        changed = _with(Expectation, tuple(expectations.values()), added, "image_expectation")
        expectations = {row.id: row for row in changed}
        bounds = _with(Bound, bounds, added, "image_bound")
    for bound in bounds:
        _sound(bound, expectations)
    remarks = rows(RemarkRow, data, "remark")
    for remark in remarks:
        if remark.verdict not in _VERDICTS or bool(remark.message) == bool(remark.words):
            raise RecipeError(f"recipe {FILE}: [[remark]] {remark.kind}: verdict, message or words")
    return ImageRules(
        as_of=str(data.get("as_of", "")),
        expectations=expectations,
        bounds=bounds,
        remarks=remarks,
        plan_tolerance=rows(PlanTolerance, data, "plan_tolerance")[0],
        causes=rows(Cause, data, "image_cause"),
        failures=rows(RunFailure, data, "run_failure"),
    )


def _with(
    kind: type[Any], current: tuple[Any, ...], data: dict[str, Any], table: str
) -> tuple[Any, ...]:
    """Rows with those of another file: what has a known id overrides it, the others are added."""
    known = {row.id for row in current}
    found = [row for row in data.get(table, ()) if isinstance(row, dict)]
    changed = {**data, table: [row for row in found if row.get("id") in known]}
    fresh = {**data, table: [row for row in found if row.get("id") not in known]}
    kept = overlaid(current, changed, table, "id")
    return (*kept, *rows(kind, fresh, table)) if fresh[table] else kept


def _sound(row: Bound, expectations: dict[str, Expectation]) -> None:
    """A bound of nothing, or for nobody, would never be missed."""
    where = f"recipe {FILE}: [[image_bound]] {row.id}"
    if row.expectation not in expectations:
        raise RecipeError(f"{where}: there is no expectation {row.expectation}")
    if row.measure not in Texture._fields or row.least > row.most:
        raise RecipeError(f"{where}: measure, least or most")
    if row.fault not in FAULTS or row.certainty not in _CERTAINTIES:
        raise RecipeError(f"{where}: fault or certainty")
