"""What most tests of downloads begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import faulty as f
import pytest
from miniature import Place


@pytest.fixture
def hub() -> Iterator[f.Faulty]:
    """A Hub that runs as long as a test."""
    with f.Faulty() as hub:
        yield hub


@pytest.fixture
def world(tmp_path: Path, hub: f.Faulty) -> f.World:
    """A Hub with one file, to be fetched in this process."""
    return f.world(tmp_path, hub)


@pytest.fixture
def place(tmp_path: Path, hub: f.Faulty) -> Place:
    """A Hub with three files, to be fetched by the command."""
    return Place(tmp_path, hub)
