"""Limits and names of errors are rows, each with a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from klein_doctor.generate.faults import kind_of
from klein_doctor.recipe_comfyui_run import load_comfyui_run
from klein_doctor.rows import RECIPES, RecipeError, read

RULES = load_comfyui_run()


def test_every_row_says_where_it_comes_from() -> None:
    data = read(RECIPES / "comfyui_run.toml")
    found = [row for table in ("limit", "fault") for row in data[table]]
    assert found and all(row["source"] in data["sources"] and row["as_of"] for row in found)
    used = {row["source"] for row in found}
    assert used == set(data["sources"])


def test_words_are_in_lower_case_as_they_are_looked_for() -> None:
    assert all(word == word.lower() for row in RULES.faults for word in row.words)


def test_limits_stand_once_each(tmp_path: Path) -> None:
    text = (RECIPES / "comfyui_run.toml").read_text("utf-8").replace('id = "quiet"', 'id = "start"')
    (tmp_path / "comfyui_run.toml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match="quiet"):
        load_comfyui_run(tmp_path)


@pytest.mark.parametrize(
    ("exception", "message", "kind"),
    [
        ("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB", "out-of-memory"),
        ("torch.AcceleratorError", "CUDA error: out of memory", "out-of-memory"),
        ("MemoryError", "", "out-of-memory"),
        ("OSError", "[Errno 28] No space left on device", "disk-full"),
        ("RuntimeError", "CUDA error: unknown error", "gpu-lost"),
        ("RuntimeError", "mat1 and mat2 shapes cannot be multiplied", "RuntimeError"),
        ("safetensors_rust.SafetensorError", "header too large", "SafetensorError"),
        ("", "", "error"),
    ],
)
def test_names_of_errors(exception: str, message: str, kind: str) -> None:
    assert kind_of(exception, message, RULES.faults) == kind
