"""One driver, one index and one Hub for all the scenes of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import package_index as p
import pytest
import scene as s
from standin import compiler

from klein_doctor.rehearse.hub import Hub


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    if not compiler():
        pytest.skip("no C compiler to build the stand-in driver with")
    return s.libraries(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def index() -> Iterator[p.PackageIndex]:
    with p.PackageIndex() as served:
        yield served


@pytest.fixture
def make_scene(
    tmp_path: Path, driver: tuple[Path, ...], index: p.PackageIndex
) -> Iterator[Callable[..., s.Scene]]:
    with Hub() as hub:
        s.serve(index, hub)

        def make(**options: bool) -> s.Scene:
            top = tmp_path / "machine"
            top.mkdir()
            return s.Scene(top, index, hub, driver, **options)

        yield make
