"""What is answered beforehand: read, checked, and obeyed without a terminal."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import recorded
from command import doctor, one_line

from klein_doctor.answers import OPTIONS, answers_of, source_of
from klein_doctor.arguments import SYMPTOMS
from klein_doctor.exits import UsageError
from klein_doctor.symptoms import WORDS


def options(path: Path | str = "", **given: str) -> argparse.Namespace:
    return argparse.Namespace(answers=str(path), symptom="", environment="", **given)


def written(folder: Path, text: str) -> Path:
    path = folder / "answers.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_question_has_a_key(tmp_path: Path) -> None:
    text = (
        'install = "/c"\nsymptom = "slow"\nenvironment = "here"\nroute = "comfyui"\n'
        'steps = ["a", "b"]\ndownload = false\ngenerate = false\n'
    )
    found = answers_of(options(written(tmp_path, text)))
    assert set(found) == set(OPTIONS)
    assert (found["steps"], found["download"]) == ("a,b", "false")


@pytest.mark.parametrize("text", ['"yes"', "true", "1", '"on"', '"True"'])
def test_yes_in_other_words(tmp_path: Path, text: str) -> None:
    assert answers_of(options(written(tmp_path, f"download = {text}\n")))["download"] == "true"


def test_an_option_beats_the_file(tmp_path: Path) -> None:
    given = options(written(tmp_path, 'symptom = "slow"\nenvironment = "here"\n'))
    given.symptom = "black"
    assert answers_of(given) == {"symptom": "black", "environment": "here"}
    assert source_of("symptom", given) == "--symptom"
    assert source_of("environment", given) == "--answers"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('colour = "red"\n', "nothing called 'colour' is asked; use install, symptom, environment"),
        ('symptom = "haunted"\n', "symptom = 'haunted'; use one of nothing, black, error"),
        ('environment = "mine"\n', "environment = 'mine'; use one of here, private"),
        ('route = "auto"\n', "route = 'auto'; use one of comfyui, diffusers"),
        ('download = "perhaps"\n', "download = 'perhaps'; use one of true, false"),
        ('[environment]\nx = 1\n', "environment is a table"),
        ("\x00", "--answers"),
        ('a = "' + "x" * 70000 + '"', "--answers"),
        ('"\\u001b[31m" = 1\n', "nothing called"),
    ],
)  # fmt: skip
def test_what_nobody_asks_is_one_line_that_names_it(tmp_path: Path, text: str, words: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        answers_of(options(path))
    assert words in str(caught.value)
    ran = doctor("--fix", "--dry-run", "--answers", path)
    assert ran.code == 2 and one_line(ran.err) and "\x1b" not in ran.err


def test_a_file_that_is_not_there() -> None:
    ran = doctor("--fix", "--answers", "/nowhere/answers.toml")
    assert ran.code == 2 and one_line(ran.err) and "No such file" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [("--fix", "--symptom", "haunted"), ("setup", "--environment", "mine")],
)
def test_an_option_names_the_right_values(arguments: tuple[str, ...]) -> None:
    ran = doctor(*arguments)
    assert ran.code == 2 and one_line(ran.err)
    assert "choose from" in ran.err


def test_a_variable_is_checked_as_its_option_is() -> None:
    ran = doctor("--fix", "--dry-run", env={"KLEIN_DOCTOR_ENVIRONMENT": "mine"})
    assert ran.code == 2 and one_line(ran.err)
    assert "KLEIN_DOCTOR_ENVIRONMENT=mine: use one of here, private" in ran.err


def test_they_go_with_fixing_alone() -> None:
    for option, value, *command in (
        ("--symptom", "slow", "identify", "x"), ("--environment", "here"),
    ):  # fmt: skip
        ran = doctor(*command, option, value)
        assert ran.code == 2 and one_line(ran.err)
        assert f"{option} goes with --fix" in ran.err


def test_a_diagnosis_is_put_in_the_order_of_the_symptom() -> None:
    machine = recorded.golden("cu126-wheel-on-sm120", "json")
    plain = doctor("--from", machine, "--format", "json")
    led = doctor("--from", machine, "--symptom", "slow", "--format", "json")
    assert led.code == plain.code == 1 and led.verdicts() == plain.verdicts()
    first, then = (next(iter(ran.verdicts())) for ran in (led, plain))
    assert first != then and led.verdicts()[first] in ("fail", "warn")
    assert led.document["first"] == plain.document["first"]


def test_every_symptom_has_words() -> None:
    assert tuple(WORDS) == SYMPTOMS
