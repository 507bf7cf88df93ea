"""Any fact, at any depth, may be unread: nothing crashes, and nothing turns bad for it."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import recorded
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import RECIPE

from klein_doctor import engine
from klein_doctor.engine import exit_code, first_of, judge
from klein_doctor.exits import Exit
from klein_doctor.model import Facts, Finding, Known, Unknown, Verdict
from klein_doctor.registry import catalogue

GONE = Unknown("not read")


@pytest.fixture(autouse=True, scope="module")
def unboxed() -> Iterator[None]:
    """Thousands of judgements: without a thread, and a crash shows where it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.InTurn, "run", lambda boxes, where, call, limit_s: call())
        yield


BAD = (Verdict.FAIL, Verdict.CRASHED)
Path = tuple[str | int, ...]


@cache
def may_be_unread(kind: type) -> tuple[str, ...]:
    """The fields of a value whose type says that they can be Unknown."""
    hints = typing.get_type_hints(kind)
    return tuple(name for name in kind._fields if Unknown in typing.get_args(hints[name]))  # type: ignore[attr-defined]


def paths(value: Any, here: Path = ()) -> list[Path]:
    """Where in a value a fact stands that may be unread, at any depth."""
    found: list[Path] = []
    if isinstance(value, Known):
        return paths(value.value, here)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        found += [(*here, name) for name in may_be_unread(type(value))]
        for name in value._fields:
            found += paths(getattr(value, name), (*here, name))
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            found += paths(item, (*here, number))
    return found


def without(value: Any, path: Path) -> Any:
    """The value with Unknown at a path; unchanged where the path leads nowhere any more."""
    if not path:
        return GONE
    if isinstance(value, Unknown):
        return value
    if isinstance(value, Known):
        return Known(without(value.value, path))
    step, rest = path[0], path[1:]
    if isinstance(step, str):
        return value._replace(**{step: without(getattr(value, step), rest)})
    return (*value[:step], without(value[step], rest), *value[step + 1 :])


@cache
def places(name: str) -> list[Path]:
    """Where in a recorded machine a fact stands."""
    return [path for path in paths(recorded.facts_of(name)) if path != ("faults",)]


@cache
def before_of(name: str) -> dict[str, Verdict]:
    """The verdicts of a machine of which all is read."""
    return {f.id: f.verdict for f in judge(recorded.facts_of(name), RECIPE, catalogue())}


def blanked() -> st.SearchStrategy[tuple[str, tuple[Path, ...]]]:
    """A machine and a few of its facts."""

    def some(name: str) -> st.SearchStrategy[tuple[str, tuple[Path, ...]]]:
        chosen = st.sets(st.sampled_from(places(name)), min_size=1, max_size=6)
        return st.tuples(st.just(name), chosen.map(lambda each: tuple(sorted(each, key=str))))

    return st.sampled_from(recorded.names()).flatmap(some)


def judged(name: str, gone: tuple[Path, ...]) -> tuple[Finding, ...]:
    facts = recorded.facts_of(name)
    for path in gone:
        facts = without(facts, path)
    return judge(facts, RECIPE, catalogue())


def hold(name: str, findings: tuple[Finding, ...]) -> None:
    before = before_of(name)
    ids = {finding.id for finding in findings}
    for finding in findings:
        said = (finding.id, finding.title, finding.reason)
        assert finding.verdict is not Verdict.CRASHED, said
        if finding.verdict is Verdict.UNKNOWN:
            assert finding.reason, said
        if finding.verdict is Verdict.SKIPPED:
            assert finding.because in ids, said
        # What was silent because it did not apply may now be undecided.
        if before.get(finding.id, Verdict.PASS) is Verdict.PASS:
            assert finding.verdict not in (Verdict.FAIL, Verdict.WARN), said
        if before.get(finding.id) is Verdict.FAIL:
            assert finding.verdict is not Verdict.PASS, said


def test_there_are_places_at_every_depth() -> None:
    found = places("healthy-rtx5070-linux-cu130")
    assert {path[0] for path in found} == set(Facts._fields) - {"faults"}
    for path in (("nvml", "driver"), ("nvml", "gpus", 0, "name"), ("torch", "cuda"),
                 ("torch_binary", "archs"), ("interpreter", "version")):  # fmt: skip
        assert path in found
    gone = without(recorded.facts_of("wsl2-healthy"), ("nvml", "gpus", 0, "name"))
    assert gone.nvml.value.gpus[0].name is GONE


@settings(max_examples=300, deadline=None)
@given(blanked())
def test_ignorance_is_never_a_fault(case: tuple[str, tuple[Path, ...]]) -> None:
    name, gone = case
    hold(name, judged(name, gone))


@pytest.mark.parametrize("name", recorded.names())
def test_every_single_fact_may_be_unread(name: str) -> None:
    for path in places(name):
        hold(name, judged(name, (path,)))


def test_a_machine_of_which_nothing_is_known_is_undecided() -> None:
    found = judge(Facts(*[GONE] * len(Facts._fields)), RECIPE, catalogue())
    assert {finding.verdict for finding in found} == {Verdict.UNKNOWN}
    assert all(finding.reason for finding in found)
    assert exit_code(found) is Exit.UNDECIDED
    assert first_of(found, catalogue()) is None
    # With the doctor's own account there, only that is decided.
    own = Facts(*[GONE] * len(Facts._fields))._replace(faults=Known(()))
    decided = [f.check for f in judge(own, RECIPE, catalogue()) if f.verdict is Verdict.PASS]
    assert decided == ["probe-failed"]
