"""Fifty kills at random instants, by hand: ``python -m pytest tests/long``."""

from __future__ import annotations

from pathlib import Path

from faulty import Faulty
from miniature import Place, kill_at_random


def test_killed_fifty_times(tmp_path: Path) -> None:
    with Faulty() as hub:
        kill_at_random(Place(tmp_path, hub), 50)
