"""What is asked, decided without a terminal."""

from __future__ import annotations

import pytest
import recorded

from klein_doctor import recipe as recipes
from klein_doctor.chosen import chosen_by, table
from klein_doctor.exits import UsageError
from klein_doctor.installation import Install, Search
from klein_doctor.model import Known, Private, Verdict
from klein_doctor.recipe_messages import load_known
from klein_doctor.steps import Plan, Step
from klein_doctor.symptoms import checks_of, led
from klein_doctor.wizard import questions as q
from klein_doctor.wizard.offer import fixable
from klein_doctor.wizard.shown import plan_lines

REPORT = recorded.report("cu126-wheel-on-sm120")


def private(path: str) -> Private:
    return Private(path, path, "<p>")


def install(name: str, used: int | None = None, port: int | None = None) -> Install:
    place = private(name)
    return Install(place, "manual", "home folder", None, "", place, used, port)


def step(fix: str, kind: str = "config", grade: str = "ask", **more: object) -> Step:
    return Step(fix, f"do {fix}", kind, grade, {})._replace(**more)  # type: ignore[arg-type]


def test_a_running_install_comes_first_and_then_the_last_used() -> None:
    found = (install("/old", 10), install("/new", 20), install("/runs", 1, 8188))
    question = q.install_question(Search(found, 0, "", ()))
    assert question is not None
    assert [choice.value for choice in question.choices] == ["/runs", "/new", "/old"]
    assert "port 8188" in question.choices[0].label
    assert q.install_question(Search(found[:1], 0, "", ())) is None


def test_what_happened_leads_to_checks() -> None:
    rows = load_known().symptoms
    for choice in q.symptom_question().choices:
        checks = checks_of(choice.value, rows)
        assert bool(checks) is (choice.value not in ("nothing", "error"))


def test_what_explains_the_symptom_leads() -> None:
    red = [f for f in REPORT.findings if f.verdict is Verdict.FAIL]
    ordered = led(REPORT, [red[-1].check]).findings
    assert ordered[0].check == red[-1].check
    assert sorted(ordered) == sorted(REPORT.findings)


def test_steps_are_ticked_by_what_they_mend_and_touch() -> None:
    plan = Plan((step("a"), step("b", touches=("sage",)), step("c", grade="manual")))
    rows = table(plan, Plan((step("w"), step("a"))))
    assert [(row.step.fix, row.tick) for row in rows] == [
        ("a", True), ("b", False), ("c", None), ("w", False),
    ]  # fmt: skip
    chosen = {n: [s.fix for s in chosen_by(n, rows)] for n in ("all", "fails", "none", "w,a")}
    assert chosen == {"all": ["a", "b", "w"], "fails": ["a", "b"], "none": [], "w,a": ["a", "w"]}
    with pytest.raises(UsageError, match="steps = 'c'; there are all, fails, none, a, b, w"):
        chosen_by("c", rows)


def test_the_environment_is_asked_for_where_something_is_touched() -> None:
    assert q.environment_question(Plan((step("a"),)), Plan(()), private=False) is None
    question = q.environment_question(
        Plan((step("a", touches=("sageattention",)),)), Plan(()), private=False
    )
    assert question is not None
    assert question.default == "private"
    assert "sageattention" in question.text
    assert "by hand" in question.choices[0].label


def test_a_route_is_asked_for_where_two_fit() -> None:
    recipe = recipes.load()
    facts = recorded.report("healthy-rtx5070-linux-cu130").facts
    bare = facts._replace(comfyui=Known(None), route=Known("auto"))
    question = q.route_question(bare, recipe)
    assert question is not None
    assert question.choices[0].value == question.default == "comfyui"
    assert "recommended" in question.choices[0].label
    assert all("GiB" in choice.more for choice in question.choices)
    assert q.route_question(bare._replace(route=Known("diffusers")), recipe) is None


def test_a_download_says_size_and_place() -> None:
    fetch = step("f", "download", bytes=12_000_000_000, paths=(private("/m/vae/x"),))
    question = q.download_question([fetch, step("a")], REPORT.facts, "the VAE")
    assert question is not None
    assert question.text == "Download 12.00 GB to /m/vae (here already: the VAE)?"
    assert q.given(question, {"download": "false"}) == "false"
    assert q.download_question([step("a")], REPORT.facts, "") is None
    unknown = q.download_question([fetch._replace(bytes=None)], REPORT.facts, "")
    assert unknown is not None
    assert "told while it runs" in unknown.text


@pytest.mark.parametrize("width", [20, 29, 59, 60, 79, 99])
def test_the_table_keeps_to_its_width(width: int) -> None:
    one = step("a", bytes=12_345_678_901, title="word " * 40, touches=("x" * 30, "y" * 30))
    two = step("b", "packages", bytes=None, title="n" * 200)
    rows = table(Plan((one, two)), Plan(()))
    lines = list(plan_lines(rows, width))
    assert max(map(len, lines)) <= width
    assert "12.35 GB" in " ".join("".join(lines).split())


def test_the_offer_is_for_what_a_fix_mends() -> None:
    assert fixable(REPORT)
    assert not fixable(recorded.report("healthy-rtx5070-linux-cu130"))
