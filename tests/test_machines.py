"""Recorded and constructed machines against their golden reports."""

from __future__ import annotations

import json

import pytest
import recorded

from klein_doctor.model import Verdict
from klein_doctor.replay import parse_report
from klein_doctor.report.brief import LIMIT as BRIEF_LIMIT
from klein_doctor.report.markdown import LIMIT as MARKDOWN_LIMIT

NAMES = recorded.names()


def test_there_are_machines() -> None:
    assert len(NAMES) >= 15
    kinds = {recorded.load(name)["about"]["kind"] for name in NAMES}
    assert kinds == {"recorded", "constructed"}


@pytest.mark.parametrize("kind", recorded.SUFFIXES)
@pytest.mark.parametrize("name", NAMES)
def test_report_is_the_golden_one(name: str, kind: str) -> None:
    expected = recorded.golden(name, kind).read_text(encoding="utf-8")
    assert recorded.rendered(recorded.report(name), kind) == expected


@pytest.mark.parametrize("name", NAMES)
def test_first_and_exit_code(name: str) -> None:
    about, found = recorded.load(name)["about"], recorded.report(name)
    assert (found.first, int(found.exit_code)) == (about["first"], about["exit_code"])


@pytest.mark.parametrize("name", NAMES)
def test_replaying_either_pasted_form_gives_the_same_verdicts(name: str) -> None:
    found = recorded.report(name)
    for kind in ("json", "markdown"):
        again = parse_report(recorded.rendered(found, kind), name)
        assert again.intact
        assert again.facts == found.facts
        assert again.created == found.created


@pytest.mark.parametrize("name", NAMES)
def test_sizes_and_widths(name: str) -> None:
    found = recorded.report(name)
    assert len(recorded.rendered(found, "brief")) < BRIEF_LIMIT
    assert len(recorded.rendered(found, "markdown")) < MARKDOWN_LIMIT
    text = recorded.rendered(found, "text")
    assert text.isascii()
    commands = [line for line in text.splitlines() if line.startswith("    ")]
    # A path stays whole, so that it can be copied.
    paths = [line for line in text.splitlines() if len(line.rpartition(" ")[2]) > 68]
    others = [line for line in text.splitlines() if line not in (*commands, *paths)]
    assert max(map(len, others)) <= 80 and all("/" in line for line in paths)


@pytest.mark.parametrize("name", NAMES)
def test_every_fault_tells_what_where_why_and_what_to_do(name: str) -> None:
    for finding in recorded.report(name).findings:
        if finding.verdict is Verdict.FAIL:
            assert finding.title and finding.detail.endswith(".") and finding.fixes
            assert "!" not in finding.title + finding.detail


@pytest.mark.parametrize("name", [n for n in NAMES if not recorded.load(n)["about"]["first"]])
def test_healthy_machines_stay_silent(name: str) -> None:
    verdicts = [finding.verdict for finding in recorded.report(name).findings]
    assert Verdict.FAIL not in verdicts and verdicts.count(Verdict.WARN) <= 2


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(("healthy", "wsl2-healthy"))])
def test_a_healthy_machine_fits_ten_lines(name: str) -> None:
    assert len(recorded.rendered(recorded.report(name), "text").splitlines()) <= 10


@pytest.mark.parametrize(
    "name", [n for n in NAMES if recorded.load(n)["about"]["first"] == "gpu-not-found:1"]
)
def test_no_gpu_fits_a_screen(name: str) -> None:
    found = recorded.report(name)
    alone = [f for f in found.findings if f.verdict is Verdict.FAIL and f.because is None]
    if len(alone) == 1:
        assert len(recorded.rendered(found, "text").splitlines()) <= 12


def test_json_keys_are_the_contract() -> None:
    data = json.loads(recorded.rendered(recorded.report(NAMES[0]), "json"))
    assert list(data) == [
        "schema", "created", "doctor", "target", "facts", "findings", "first", "before", "plan",
        "steps", "generation", "ready", "changed", "reboot_needed", "retry", "exit_code", "seal",
    ]  # fmt: skip
