"""The full count of files on disk, by hand: ``python -m pytest tests/long``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from disk_strategies import ENDINGS, FILES, SIZES, hold
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = 100_000


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(FILES, SIZES, st.sampled_from(ENDINGS), st.sampled_from(["", "0" * 64]))
def test_any_file_gets_a_verdict(
    folder: Path, data: bytes, more: int, ending: str, digest: str
) -> None:
    hold(folder / f"m{ending}", data, more, digest)
