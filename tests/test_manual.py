"""The manual page is the command line's."""

from __future__ import annotations

import shutil
import subprocess

import manual
import pytest


def test_the_page_is_up_to_date() -> None:
    assert manual.PAGE.read_text(encoding="utf-8") == manual.page(), "run python tests/manual.py"


def test_every_exit_code_is_in_it() -> None:
    for code in ("0", "1", "2", "3", "4", "5", "6", "7", "8", "70", "130"):
        assert f".B {code}\n" in manual.page()


def test_groff_has_nothing_to_say() -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-ww", "-z", str(manual.PAGE)],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert not done.stderr
