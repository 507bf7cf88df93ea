"""The table of the way to the Hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from klein_doctor.probes.settings import ALLOWED
from klein_doctor.recipe import RECIPES, RecipeError
from klein_doctor.recipe_hub import load_hub

TEXT = (RECIPES / "hub.toml").read_text("utf-8")
READ = {name for name, _ in ALLOWED}


def broken(folder: Path, right: str, wrong: str) -> str:
    assert right in TEXT
    (folder / "hub.toml").write_text(TEXT.replace(right, wrong, 1), "utf-8")
    with pytest.raises(RecipeError) as caught:
        load_hub(folder)
    return str(caught.value)


def test_every_setting_that_is_named_is_read() -> None:
    rules = load_hub()
    named = {name for row in rules.troubles.values() for name in row.names}
    named |= {row.name for row in rules.offline} | {row.name for row in rules.settings}
    named |= {row.unless for row in rules.releases if row.unless}
    assert named <= READ


def test_what_counts_as_yes() -> None:
    rules = load_hub()
    assert [word for word in ("1", "on", "Yes", "TRUE") if not rules.truthy(word)] == []
    assert [word for word in ("", "0", "2", "off", " 1", "enable") if rules.truthy(word)] == []


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ('cause = "connect"', 'cause = "dns"', "dns stands twice"),
        ('check = "hub-unreachable"', 'check = "hub-odd"', "dns stands twice or has an unknown"),
        ('when = "on"', 'when = "off"', "HF_HUB_ENABLE_HF_TRANSFER"),
        ('versions = ">=1"', 'versions = "new"', "HF_HUB_ENABLE_HF_TRANSFER"),
        ('versions = "<1.5.2"', 'versions = "old"', "hf-xet"),
        ('words = ["1", "ON", "YES", "TRUE"]', 'words = "1"', "words is not tuple"),
        ("always = false", "always = 0", "always is not bool"),
        ('open = ""', "", "[[trouble]] row 1"),
    ],
)
def test_a_row_that_does_not_fit_is_an_error(
    tmp_path: Path, right: str, wrong: str, said: str
) -> None:
    message = broken(tmp_path, right, wrong)
    assert message.startswith("recipe hub.toml") and said in message and "\n" not in message
