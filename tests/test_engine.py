"""What follows from what, what comes first, and what a crashing check does to the others."""

from __future__ import annotations

import time

import construct
import pytest
import recorded
from judging import RECIPE, verdict_of

from klein_doctor import engine
from klein_doctor.boxed import Boxed, boxed
from klein_doctor.engine import Choice, exit_code, first_of, judge
from klein_doctor.exits import Exit, UsageError
from klein_doctor.model import Facts, Fault, Finding, Harm, Known, Outcome, Unknown, Verdict
from klein_doctor.recipe import Recipe
from klein_doctor.registry import Check, RegistryError, catalogue, ordered
from klein_doctor.report.words import FAMILIES

FACTS = construct.machine()


def says(verdict: Verdict, **more: object):  # type: ignore[no-untyped-def]
    def judge_(facts: Facts, recipe: Recipe) -> Outcome:
        return Outcome(verdict, "title", **more)  # type: ignore[arg-type]

    return judge_


def declared(*checks: Check) -> dict[str, Check]:
    return ordered({check.name: check for check in checks})


def a_check(name: str, judge_=says(Verdict.PASS), **more: object) -> Check:  # type: ignore[no-untyped-def]  # noqa: B008
    base = Check(name, "torch", f"{name} is fine", Harm.STOPS, judge_, "reads", "why", "by hand")
    return base._replace(**more)


def by_name(found: tuple[Finding, ...]) -> dict[str, Finding]:
    return {finding.check: finding for finding in found}


def test_a_failed_requirement_skips_whatever_hangs_on_it() -> None:
    checks = declared(
        a_check("c", requires=("b",)),
        a_check("b", requires=("a",)),
        a_check("a", says(Verdict.FAIL)),
    )
    found = by_name(judge(FACTS, RECIPE, checks))
    assert list(checks) == ["a", "b", "c"]
    for name in "bc":
        assert found[name].verdict is Verdict.SKIPPED and found[name].because == "a:1"


def test_a_warning_skips_nothing_and_explains_no_failure() -> None:
    checks = declared(
        a_check("a", says(Verdict.WARN)),
        a_check("b", says(Verdict.FAIL), follows=("a",)),
        a_check("c", says(Verdict.WARN), follows=("a",)),
        a_check("d", requires=("a",)),
    )
    found = by_name(judge(FACTS, RECIPE, checks))
    assert found["b"].because is None
    assert found["c"].because == "a:1"
    assert found["d"].verdict is Verdict.PASS


def test_followers_point_at_the_root() -> None:
    checks = declared(
        a_check("a", says(Verdict.FAIL)),
        a_check("b", says(Verdict.FAIL), follows=("a",)),
        a_check("c", says(Verdict.WARN), follows=("b",)),
    )
    assert by_name(judge(FACTS, RECIPE, checks))["c"].because == "a:1"


def test_what_comes_first() -> None:
    checks = declared(
        a_check("warned", says(Verdict.WARN)),
        a_check("slow", says(Verdict.FAIL), harm=Harm.SLOW),
        a_check("root", says(Verdict.FAIL), harm=Harm.WRONG_IMAGE),
        a_check("effect", says(Verdict.FAIL), harm=Harm.STOPS, follows=("root",)),
        a_check("later", says(Verdict.FAIL), harm=Harm.WRONG_IMAGE),
    )
    found = judge(FACTS, RECIPE, checks)
    assert first_of(found, checks) == "root:1"
    assert first_of([f for f in found if f.check == "warned"], checks) == "warned:1"
    assert first_of([], checks) is None


def test_a_check_that_crashes_or_hangs_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHECK_LIMIT_S", 0.2)

    def crash(facts: Facts, recipe: Recipe) -> Outcome:
        raise ZeroDivisionError("with /home/jane in it")

    def hang(facts: Facts, recipe: Recipe) -> Outcome:
        time.sleep(3)
        return Outcome(Verdict.PASS, "late")

    checks = declared(
        a_check("crash", crash), a_check("hang", hang), a_check("waits", requires=("hang",)),
        a_check("fine"),
    )  # fmt: skip
    found = by_name(judge(FACTS, RECIPE, checks))
    assert found["crash"].verdict is found["hang"].verdict is Verdict.CRASHED
    assert "ZeroDivisionError at test_engine.py" in str(found["crash"].reason)
    assert "jane" not in str(found["crash"])
    assert "timeout" in str(found["hang"].reason)
    assert found["waits"].because == "hang:1" and found["fine"].verdict is Verdict.PASS
    assert exit_code(found.values()) is Exit.UNDECIDED


def test_several_subjects_are_numbered() -> None:
    def two(facts: Facts, recipe: Recipe) -> list[Outcome]:
        return [Outcome(Verdict.PASS, "one"), Outcome(Verdict.FAIL, "two")]

    found = judge(FACTS, RECIPE, declared(a_check("both", two), a_check("c", requires=("both",))))
    assert [f.id for f in found] == ["both:1", "both:2", "c:1"]
    assert found[2].because == "both:2"


@pytest.mark.parametrize(
    ("verdicts", "code", "strict"),
    [
        ((Verdict.PASS,), 0, 0),
        ((Verdict.PASS, Verdict.SKIPPED), 0, 0),
        ((Verdict.SKIPPED,), 3, 1),
        ((Verdict.WARN,), 0, 1),
        ((Verdict.UNKNOWN,), 3, 1),
        ((Verdict.CRASHED, Verdict.WARN), 3, 1),
        ((Verdict.FAIL, Verdict.UNKNOWN), 1, 1),
    ],
)
def test_exit_codes(verdicts: tuple[Verdict, ...], code: int, strict: int) -> None:
    checks = declared(*(a_check(f"c{n}", says(v)) for n, v in enumerate(verdicts)))
    found = judge(FACTS, RECIPE, checks)
    assert (exit_code(found), exit_code(found, strict=True)) == (code, strict)


@pytest.mark.parametrize("name", recorded.names())
def test_selecting_never_changes_a_verdict(name: str) -> None:
    facts = recorded.report(name).facts
    whole = {f.id: f.verdict for f in judge(facts, RECIPE, catalogue())}
    # Each check on every eighth machine: all of them on all would take a minute and tell no more.
    for check in list(catalogue())[recorded.names().index(name) % 8 :: 8]:
        alone = judge(facts, RECIPE, catalogue(), Choice((check,)))
        group = {name: v for name, v in whole.items() if name.startswith(check + ":")}
        assert {f.id: f.verdict for f in alone} == (group or {check + ":1": Verdict.SKIPPED})
        # What was not judged says why, as nothing else in this report does.
        assert all(f.reason for f in alone if f.verdict in (Verdict.SKIPPED, Verdict.UNKNOWN))
    with pytest.raises(UsageError, match="did you mean gpu-hidden"):
        judge(facts, RECIPE, catalogue(), Choice(("gpu-hiden",)))


def test_a_probe_that_failed_is_reported() -> None:
    facts = FACTS._replace(faults=Known((Fault("nvml", "timeout", "no answer within 8 s"),)))
    found = verdict_of("probe-failed", facts)
    assert found.verdict is Verdict.CRASHED and found.subject is not None
    assert found.subject.real == "nvml"
    assert (
        verdict_of("probe-failed", FACTS._replace(faults=Unknown("x"))).verdict is Verdict.UNKNOWN
    )


def test_boxes() -> None:
    def fail() -> int:
        raise ValueError("secret")

    assert boxed("a", lambda: 7, 5) == 7
    fault = boxed("b", fail, 5)
    assert isinstance(fault, Fault) and fault.kind == "ValueError" and "secret" not in fault.detail
    slow = Boxed("c", lambda: time.sleep(3), 0.1).result()
    assert isinstance(slow, Fault) and slow.kind == "timeout"


def test_declarations_are_checked_at_start_up() -> None:
    with pytest.raises(RegistryError, match="unknown check: nowhere"):
        declared(a_check("a", requires=("nowhere",)))
    with pytest.raises(RegistryError, match="circle"):
        declared(a_check("a", requires=("b",)), a_check("b", follows=("a",)))


@pytest.mark.parametrize("name", list(catalogue()))
def test_every_check_can_be_explained(name: str) -> None:
    check = catalogue()[name]
    for text in (check.title, check.reads, check.why, check.by_hand):
        assert text and "!" not in text and "  " not in text
    assert check.family in FAMILIES


def test_the_first_failed_requirement_in_the_declared_order_is_the_reason() -> None:
    checks = declared(
        a_check("a", says(Verdict.FAIL)),
        a_check("b", says(Verdict.FAIL)),
        a_check("c", requires=("b", "a")),
    )
    assert by_name(judge(FACTS, RECIPE, checks))["c"].because == "b:1"


@pytest.mark.parametrize(
    "verdict", [v for v in Verdict if v not in (Verdict.FAIL, Verdict.CRASHED, Verdict.SKIPPED)]
)
def test_only_a_broken_requirement_skips(verdict: Verdict) -> None:
    checks = declared(a_check("a", says(verdict)), a_check("b", requires=("a",)))
    assert by_name(judge(FACTS, RECIPE, checks))["b"].verdict is Verdict.PASS


def test_a_check_that_skips_itself_passes_its_reason_on() -> None:
    checks = declared(
        a_check("root", says(Verdict.FAIL)),
        a_check("a", says(Verdict.SKIPPED, because="root:1")),
        a_check("b", requires=("a",)),
        a_check("c", requires=("b",)),
    )
    found = by_name(judge(FACTS, RECIPE, checks))
    assert {found[name].because for name in "abc"} == {"root:1"}


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.UNKNOWN, Verdict.CRASHED])
def test_only_troubles_follow_from_something(verdict: Verdict) -> None:
    checks = declared(a_check("a", says(Verdict.FAIL)), a_check("b", says(verdict), follows=("a",)))
    assert by_name(judge(FACTS, RECIPE, checks))["b"].because is None


def test_nothing_follows_from_a_check_that_was_not_asked_for() -> None:
    checks = declared(
        a_check("a", says(Verdict.FAIL)),
        a_check("b", says(Verdict.FAIL), follows=("a",)),
        a_check("c", requires=("a",)),
    )
    found = judge(FACTS, RECIPE, checks, Choice(ignore=("a",)))
    assert [(f.id, f.verdict, f.because) for f in found] == [
        ("b:1", Verdict.FAIL, None),
        ("c:1", Verdict.SKIPPED, None),
    ]
    assert first_of(found, checks) == "b:1"


def test_first_by_verdict_then_root_then_harm_then_declaration() -> None:
    def first(*checks: Check) -> str | None:
        known = declared(*checks)
        return first_of(judge(FACTS, RECIPE, known), known)

    fail, warn = says(Verdict.FAIL), says(Verdict.WARN)
    assert first(a_check("w", warn), a_check("f", fail, harm=Harm.NOTE)) == "f:1"
    assert first(a_check("b", fail), a_check("a", fail)) == "b:1"
    assert first(a_check("b", fail, harm=Harm.SLOW), a_check("a", fail)) == "a:1"
    assert first(a_check("b", warn), a_check("a", warn, follows=("b",))) == "b:1"
    assert first(a_check("p"), a_check("u", says(Verdict.UNKNOWN))) is None
    # Where every trouble follows from another that was left out, one of them is still first.
    lone = [Finding("x:1", "x", "torch", Verdict.FAIL, "t", "", None, None, {}, "y:1", (),
                    Harm.STOPS)]  # fmt: skip
    assert first_of(lone, {}) == "x:1"


def test_a_warning_never_does_the_harm_of_a_failure() -> None:
    for harm in Harm:
        checks = declared(a_check("a", says(Verdict.WARN), harm=harm))
        assert judge(FACTS, RECIPE, checks)[0].harm >= Harm.SLOW


def test_a_choice_of_unknown_names_is_an_error_in_one_line() -> None:
    checks = declared(a_check("gpu-hidden"))
    for choice in (Choice(select=("gpu-hiden",)), Choice(ignore=("x" * 500,))):
        with pytest.raises(UsageError) as caught:
            judge(FACTS, RECIPE, checks, choice)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
    with pytest.raises(UsageError, match="--ignore leaves nothing"):
        judge(FACTS, RECIPE, checks, Choice(("gpu-hidden",), ("gpu-hidden",)))
