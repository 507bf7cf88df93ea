"""Fifty kills at random instants, by hand: ``python -m pytest tests/long``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import faulty as f
import pytest
from test_command import Place, kill_at_random


@pytest.fixture
def hub() -> Iterator[f.Faulty]:
    yield from f.serving()


def test_killed_fifty_times(tmp_path: Path, hub: f.Faulty) -> None:
    kill_at_random(Place(tmp_path, hub), 50)
