"""secrets-exposed, with literal facts."""

from __future__ import annotations

import construct as c
import pytest
from judging import PASS, RECIPE, UNKNOWN, WARN, alone, commands, judge_one

from klein_doctor.installation import Secret
from klein_doctor.model import Facts, Known, Outcome, Private, Unknown
from klein_doctor.registry import catalogue

TOKEN = Private("/home/jane/.cache/huggingface/token", "~/.cache/huggingface/token",
                "~/.cache/huggingface/token")  # fmt: skip


def secrets(*found: Secret) -> Facts:
    return c.machine()._replace(secrets=Known(found))


def outcomes(facts: Facts) -> list[Outcome]:
    found = catalogue()["secrets-exposed"].judge(facts, RECIPE)
    return [found] if isinstance(found, Outcome) else list(found)


def test_nothing_open_is_a_pass_and_nothing_read_is_not() -> None:
    assert alone("secrets-exposed", secrets()) is PASS
    assert alone("secrets-exposed", c.machine()._replace(secrets=Unknown("not read"))) is UNKNOWN


@pytest.mark.parametrize(
    ("readers", "who"),
    [("everyone", "everyone on this machine"), ("group", "its group"), ("", "others")],
)
def test_a_token_others_can_read_is_closed_to_them(readers: str, who: str) -> None:
    found = judge_one("secrets-exposed", secrets(Secret("file", TOKEN, 0, readers)))
    assert found.verdict is WARN and who in found.title
    assert commands(found) == ["chmod 600 ~/.cache/huggingface/token"]
    assert "revoke" in found.fixes[0].summary and found.fixes[0].grade == "manual"
    assert "jane" not in found.title + found.detail + found.fixes[0].summary


@pytest.mark.parametrize("kind", ["launcher", "workflow"])
def test_a_token_in_a_file_that_is_passed_on_is_revoked(kind: str) -> None:
    found = judge_one("secrets-exposed", secrets(Secret(kind, TOKEN, 12, "")))
    assert found.verdict is WARN and kind in found.title and "line 12" in found.detail
    (fix,) = found.fixes
    assert fix.grade == "manual" and "https://huggingface.co/settings/tokens" in fix.summary
    assert found.subject == TOKEN


def test_many_are_told_in_a_few_findings_and_none_is_lost() -> None:
    many = tuple(Secret("workflow", Private.plain(f"~/{n}.json"), 1, "") for n in range(20))
    found = outcomes(secrets(*many))
    assert len(found) == 6 and found[-1].title.startswith("15 more files")
    told = [each.subject for each in found[:-1]] + list(found[-1].evidence["files"])
    assert told == [secret.path for secret in many]
