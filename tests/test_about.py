"""--version --verbose: what a bug report needs."""

from __future__ import annotations

import pytest
from command import doctor

import klein_doctor


@pytest.mark.parametrize("order", [("--version", "--verbose"), ("--verbose", "--version")])
def test_versions_in_full(order: tuple[str, str]) -> None:
    ran = doctor(*order)
    rows = dict(line.split(maxsplit=1) for line in ran.out.splitlines())
    assert ran.code == 0 and rows["klein-doctor"] == klein_doctor.__version__
    assert rows["tables"].startswith("20") and "3." in rows["python"]
    assert rows["rich"][0].isdigit() and "torch" not in rows


def test_the_version_alone_is_one_line() -> None:
    assert doctor("--version").out == f"klein-doctor {klein_doctor.__version__}\n"


def test_verbose_alone_is_told_what_it_goes_with() -> None:
    ran = doctor("--verbose")
    assert ran.code == 2 and "--version" in ran.err


def test_without_a_home_it_says_so() -> None:
    ran = doctor("--version", "--verbose", drop=("HOME", "USERPROFILE", "LOCALAPPDATA"))
    assert "no home" in ran.out
