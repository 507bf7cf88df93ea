"""The page of all checks is what the declarations say."""

from __future__ import annotations

import check_pages

from klein_doctor.registry import catalogue


def test_the_page_is_up_to_date() -> None:
    text = check_pages.PAGE.read_text(encoding="utf-8")
    assert text == check_pages.page(), "run python tests/check_pages.py"


def test_every_check_has_a_section() -> None:
    lines = check_pages.page().splitlines()
    for name in catalogue():
        assert lines.count(f"### {name}") == 1
