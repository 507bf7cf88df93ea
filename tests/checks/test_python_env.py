"""python-broken, python-too-old and probe-failed, with literal facts."""

from __future__ import annotations

import construct as c
import pytest
from judging import FAIL, PASS, SKIPPED, UNKNOWN, commands, judge_one, verdict_of

from klein_doctor.model import Facts, Fault, Interpreter, Known, Private, Unknown, Verdict

NOT_READ = Unknown("not read")


def python(**changes: object) -> Facts:
    facts = c.machine()
    assert isinstance(facts.interpreter, Known)
    changed: Interpreter = facts.interpreter.value._replace(**changes)
    return facts._replace(interpreter=Known(changed))


@pytest.mark.parametrize(
    ("version", "verdict", "shown"),
    [
        ((2, 7, 18), FAIL, "2.7.18"),
        ((3, 9), FAIL, "3.9"),
        ((3, 9, 99), FAIL, "3.9.99"),
        ((3, 10), PASS, "3.10"),
        ((3, 10, 0), PASS, "3.10.0"),
        ((3, 13, 1), PASS, "3.13.1"),
        ((3, 99), PASS, "3.99"),
        ((4, 0), PASS, "4.0"),
    ],
)
def test_python_floor(version: tuple[int, ...], verdict: Verdict, shown: str) -> None:
    found = judge_one("python-too-old", python(version=Known(version)))
    assert found.verdict is verdict and f"Python {shown}" in found.title


def test_an_old_python_is_replaced_by_hand() -> None:
    found = judge_one("python-too-old", python(version=Known((3, 8))))
    assert [repair.grade for repair in found.fixes] == ["manual"]
    assert "Python 3.10 or newer" in found.fixes[0].summary
    assert found.subject is not None and found.subject.public == "~/ComfyUI/.venv/bin/python"


def test_a_missing_torch_follows_from_an_old_python() -> None:
    facts = python(version=Known((3, 9)))._replace(torch=Known(c.absent("torch", "x")))
    assert verdict_of("torch-missing", facts).because == "python-too-old:1"


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("python-broken", c.machine()._replace(interpreter=NOT_READ)),
        ("python-too-old", c.machine()._replace(interpreter=NOT_READ)),
        ("python-too-old", python(version=NOT_READ)),
        ("probe-failed", c.machine()._replace(faults=NOT_READ)),
    ],
)
def test_what_was_not_read_is_neither_good_nor_bad(name: str, facts: Facts) -> None:
    found = judge_one(name, facts)
    assert (found.verdict, found.reason) == (UNKNOWN, "not read")


def test_a_python_that_cannot_start() -> None:
    fault = Private("/home/jane/py is gone", "~/py is gone", "~/py is gone")
    facts = python(fault=fault, version=NOT_READ)
    found = judge_one("python-broken", facts)
    assert found.verdict is FAIL and found.detail == "~/py is gone."
    assert "jane" not in found.title + found.detail
    assert commands(found) == ["klein-doctor --python <the python that starts ComfyUI>"]
    assert verdict_of("python-too-old", facts).verdict is SKIPPED
    assert judge_one("python-broken", python(version=NOT_READ)).verdict is PASS


def test_a_probe_that_failed_is_told_and_nothing_else_changes() -> None:
    faults = (Fault("nvml", "timeout", "no answer within 8 s"), Fault("torch", "OSError", "x:1"))
    facts = c.machine()._replace(faults=Known(faults))
    found = judge_one("probe-failed", facts)
    assert found.verdict is Verdict.CRASHED and "nvml" in found.title
    assert found.reason == "timeout: no answer within 8 s"
    assert judge_one("probe-failed", c.machine()).verdict is PASS
    assert verdict_of("torch-lacks-arch", facts).verdict is PASS
