"""torch-replaced: another PyTorch than the one that worked, and who brought it."""

from __future__ import annotations

import recorded
from judging import FAIL, PASS, WARN, judge_one, silent, verdict_of

from klein_doctor.installation import Installed, Packages, Past
from klein_doctor.model import Facts, Known

PAST = Past("2026-11-20T07:00:00Z", "2.14.1+cu130", (("diffusers", "0.42.1"),))
NAME = "torch-replaced"


def facts(version: str = "2.14.1+cu130", cuda: str | None = "13.0") -> Facts:
    found = recorded.report("healthy-rtx5070-linux-cu130").facts
    assert isinstance(found.torch, Known)
    torch = found.torch.value._replace(version=Known(version), cuda=Known(cuda))
    return found._replace(past=Known(PAST), torch=Known(torch))


def with_package(found: Facts, item: Installed) -> Facts:
    return found._replace(packages=Known(Packages(9, (item,))))


def test_nothing_is_said_without_a_past_or_a_change() -> None:
    assert silent(NAME, facts()._replace(past=Known(None)))
    assert silent(NAME, facts())


def test_a_newer_one_that_serves_the_card_is_fine() -> None:
    assert judge_one(NAME, facts("2.15.0+cu130")).verdict is PASS


def test_an_older_one_that_serves_the_card_is_a_remark() -> None:
    assert judge_one(NAME, facts("2.11.0+cu128", "12.8")).verdict is WARN


def test_one_that_cannot_serve_the_card_comes_before_what_follows_from_it() -> None:
    found = with_package(
        facts("2.4.1+cpu", None), Installed("xformers", "0.0.28", ("torch==2.4.1",), 0)
    )
    outcome = judge_one(NAME, found)
    assert outcome.verdict is FAIL
    assert "2.14.1+cu130 worked on 2026-11-20" in outcome.title
    assert "xformers 0.0.28, new since then, asks for torch==2.4.1." in outcome.detail
    assert outcome.fixes[0].id == "install-torch"
    assert verdict_of("torch-cpu-only", found).because == f"{NAME}:1"


def test_where_nobody_is_to_blame_it_says_where_to_look() -> None:
    assert "klein-doctor history" in judge_one(NAME, facts("2.4.1+cpu", None)).detail
