"""The table of ComfyUI's launch arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

from klein_doctor.recipe import RecipeError
from klein_doctor.recipe_flags import load_flags

ROW = 'flag = [{{name="--x",values="{}",keep="{}",source="a",as_of="2026-11-22"}}]\n'


@pytest.mark.parametrize(
    ("name", "values", "keep"),
    [
        ("--listen", "optional", "value"),
        ("--port", "one", "value"),
        ("--lowvram", "none", "value"),
        ("--fast", "many", "value"),
        ("--cache-ram", "many", "value"),
        ("--base-directory", "one", "path"),
        ("--extra-model-paths-config", "many", "path"),
        ("--verbose", "many", "path"),
        ("--normalvram", "none", "value"),
        ("--disable-ipex-optimize", "none", "value"),
    ],
)
def test_what_arguments_take(name: str, values: str, keep: str) -> None:
    row = load_flags()[name]
    assert (row.values, row.keep) == (values, keep)


def test_values_that_can_hold_a_password_or_a_name_are_not_kept() -> None:
    hidden = {name for name, row in load_flags().items() if row.keep == "name"}
    assert {"--comfy-api-base", "--database-url", "--feature-flag", "--tls-keyfile",
            "--enable-cors-header", "--whitelist-custom-nodes"} <= hidden  # fmt: skip


def test_each_argument_has_one_row() -> None:
    rows = load_flags()
    assert len(rows) > 100  # ComfyUI 0.33.0 takes 105
    assert all(name.startswith("--") and name == row.name for name, row in rows.items())


@pytest.mark.parametrize("row", [("few", "value"), ("one", "all"), ("", ""), ("one", "Path")])
def test_a_word_the_code_does_not_know_is_an_error(tmp_path: Path, row: tuple[str, str]) -> None:
    (tmp_path / "flags.toml").write_text('as_of = "2026-11-22"\n' + ROW.format(*row))
    with pytest.raises(RecipeError, match="--x"):
        load_flags(tmp_path)


def test_a_row_given_twice_is_an_error(tmp_path: Path) -> None:
    row = ROW.format("one", "value")
    twice = row.replace("]", ',{name="--x",values="none",keep="name",source="a",as_of="b"}]')
    (tmp_path / "flags.toml").write_text(twice)
    with pytest.raises(RecipeError, match="--x"):
        load_flags(tmp_path)


def test_a_table_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"flags\.toml"):
        load_flags(tmp_path)
