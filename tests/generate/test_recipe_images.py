"""The rows by which a test generation is judged, and those that a recipe's folder brings."""

from __future__ import annotations

from pathlib import Path

import pytest
import ran
from vocabulary import ANNOUNCED

from klein_doctor import recipe as recipes
from klein_doctor import suspicions
from klein_doctor.generate.remarks import remark_kind
from klein_doctor.generation import Texture
from klein_doctor.recipe_images import load_images
from klein_doctor.recipe_messages import load_known
from klein_doctor.registry import catalogue
from klein_doctor.rows import RECIPES, RecipeError
from klein_doctor.verdict_images import verdict, verified

RULES = load_images()
BOUND = """
[[image_bound]]
id = "{id}"
expectation = "reference"
measure = "mean"
least = 100.0
most = 120.0
fault = "washed-out"
says = "other than recorded"
source = "x"
as_of = "2026-11-28"
"""


def test_rows_name_checks_conditions_and_messages_there_are() -> None:
    names = {*catalogue(), *ANNOUNCED}
    for cause in RULES.causes:
        assert cause.check in names and cause.when in suspicions.CONDITIONS
    for failure in RULES.failures:
        assert failure.checks and set(failure.checks) <= names
    assert {row.message for row in RULES.remarks if row.message} <= {
        row.id for row in load_known().messages
    }
    used = {cause.when for cause in RULES.causes}
    assert used == set(suspicions.CONDITIONS)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("clip missing: ['model.norm.weight']", "clip-missing"),
        ("[WARNING] Missing VAE keys ['decoder.conv_in.weight']", "vae-keys-missing"),
        ("unet missing: ['single_blocks.3.linear1.weight']", "transformer-keys-missing"),
        ("nodes.py:1: RuntimeWarning: invalid value encountered in cast", "nan-cast"),
        ("Flash Attention failed, using default SDPA: CUDA error", "flash-fallback"),
        ("Error running sage attention: CUDA error, using pytorch attention", "sage-fallback"),
        ("UserWarning: 1Torch was not compiled with flash attention.", "no-flash-kernel"),
        ("Requested to load Flux2", ""),
        ("Prompt executed in 3.19 seconds", ""),
        ("", ""),
        ("x" * 100_000, ""),
    ],
)
def test_lines_of_a_log(line: str, kind: str) -> None:
    assert remark_kind(line) == kind
    assert not kind or RULES.remark(kind) is not None


def extra(tmp_path: Path, text: str) -> str:
    (tmp_path / "images.toml").write_text(text, "utf-8")
    return str(tmp_path)


def test_a_folder_adds_rows_and_overrides_them(tmp_path: Path) -> None:
    text = BOUND.format(id="mine") + '[[image_bound]]\nid = "reference-std"\nleast = 90.0\n'
    text += '[[image_expectation]]\nid = "reference"\nleast_differed = 50.0\n'
    found = recipes.load(extra=extra(tmp_path, text))
    rules = load_images(found.extra)
    assert len(rules.bounds) == len(RULES.bounds) + 1
    assert next(b for b in rules.bounds if b.id == "reference-std").least == 90.0
    assert rules.expectations["reference"].least_differed == 50.0
    assert rules.expectations["picture"] == RULES.expectations["picture"]
    by_chance = ran.run(expectation="reference", pictures=ran.pictures(texture=ran.CHANCE))
    assert verdict(by_chance, RULES) == "ran as recorded"
    assert verdict(by_chance, rules) == "not verified"


@pytest.mark.parametrize(
    "text",
    [
        BOUND.format(id="mine").replace('"reference"', '"nobody"'),
        BOUND.format(id="mine").replace('"mean"', '"beauty"'),
        BOUND.format(id="mine").replace('"washed-out"', '"ugly"'),
        BOUND.format(id="mine").replace("100.0", "130.0"),
        BOUND.format(id="mine").replace("100.0", "100"),
        BOUND.format(id="mine").replace('says = "other than recorded"\n', ""),
        '[[image_bound]]\nid = "picture-std"\nleast = "none"\n',
        "[[image_bound]\n",
    ],
)
def test_what_is_wrong_in_a_folder_is_told_at_the_start(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError, match=r"images\.toml"):
        recipes.load(extra=extra(tmp_path, text))


def test_no_recipe_makes_weights_by_chance_verified(tmp_path: Path) -> None:
    rows = "".join(
        f'[[image_bound]]\nid = "{b.id}"\nleast = -999.0\nmost = 999.0\n' for b in RULES.bounds
    )
    rules = load_images(extra(tmp_path, rows))
    found = ran.run(expectation="reference", pictures=ran.pictures(texture=ran.CHANCE))
    assert not verified(found, rules)


def test_the_miniatures_rows_know_its_pictures_from_others(tmp_path: Path) -> None:
    rules = load_images(extra(tmp_path, (RECIPES / "images_miniature.toml").read_text("utf-8")))
    found = ran.run(expectation="reference", differed=61.1)
    recorded = (
        Texture(91.34, 34.91, 156.0, 0.9696, 7.7, 1.42, 43.27, 0.535, 0.0),
        Texture(91.64, 36.09, 162.0, 0.8879, 26.5, 2.284, 42.8, 0.3477, 0.0),
        Texture(91.05, 34.81, 155.0, 0.7291, 51.89, 3.049, 38.24, 0.1996, 0.0),
    )
    for texture in recorded:
        made = found._replace(pictures=ran.pictures(texture=texture))
        assert verdict(made, rules) == "ran as recorded"
    for texture in (ran.BLACK, ran.NOISE, ran.PALE, ran.TEXTURE):
        made = found._replace(pictures=ran.pictures(texture=texture))
        assert verdict(made, rules) == "not verified"
