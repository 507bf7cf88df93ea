"""Reported cases of other people lead to the check that explains them."""

from __future__ import annotations

import subprocess
import sys

import cases
import pytest
from vocabulary import ANNOUNCED

from klein_doctor.registry import catalogue

LEAST = 95.0  # of a hundred, right at the first guess


@pytest.mark.parametrize("case", cases.load(), ids=lambda case: case.id)
def test_one_of_the_first_guesses_is_right(case: cases.Case) -> None:
    assert case.place is not None and case.place < cases.NEAR, cases.checks("\n".join(case.symptom))


def test_the_first_guess_is_nearly_always_right() -> None:
    total, wrong = len(cases.load()), cases.missed(1)
    share = 100 * (total - len(wrong)) / total
    assert share >= LEAST, f"right at the first guess: {share:.1f} % of {total}; not {wrong}"


def test_every_case_has_a_source_and_names_checks_there_are() -> None:
    found = cases.load()
    assert len({case.id for case in found}) == len(found) >= 50
    for case in found:
        assert case.source_url.startswith("https://") and case.symptom and case.accept
        assert set(case.accept) <= {*catalogue(), *ANNOUNCED}


def test_the_figures_can_be_printed() -> None:
    done = subprocess.run(
        [sys.executable, cases.__file__], capture_output=True, text=True, timeout=60, check=True
    )
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["top-1", "top-3"]
