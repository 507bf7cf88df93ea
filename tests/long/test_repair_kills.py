"""A hundred kills of a run of fixes at random instants: ``python -m pytest tests/long``."""

from __future__ import annotations

from pathlib import Path

import package_index as p
import pytest
import scene as s
from kills import mended_after_kill

from klein_doctor.rehearse.hub import Hub

KILLS = 100


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return s.libraries(tmp_path_factory.mktemp("driver"))


@pytest.mark.parametrize("seed", range(1000, 1000 + KILLS))
def test_killed_a_hundred_times(tmp_path: Path, driver: tuple[Path, ...], seed: int) -> None:
    with p.PackageIndex() as index, Hub() as hub:
        s.serve(index, hub)
        mended_after_kill(s.Scene(tmp_path, index, hub, driver, small=True), seed)
