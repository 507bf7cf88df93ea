"""The wizard in a real terminal: what is asked, what is done, and leaving at every question."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import clean_environment, doctor
from terminal import CTRL_C, DOWN, ENTER, ESC, Terminal

HERE = Path(__file__).parent
Start = Callable[..., Terminal]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[Terminal] = []

    def begin(*arguments: str, **env: str) -> Terminal:
        path = os.pathsep.join((str(HERE), str(HERE.parent)))
        full = {**clean_environment(), "TERM": "xterm-256color", "PYTHONPATH": path, **env}
        command = [sys.executable, str(HERE / "staged.py"), "setup", *arguments]
        running.append(Terminal(command, full))
        return running[-1]

    yield begin
    for terminal in running:
        terminal.close()


def answers(folder: Path, text: str) -> str:
    path = folder / "answers.toml"
    path.write_text(text)
    return str(path)


def test_enter_all_the_way_does_what_mends_the_fails_and_leaves_torch(start: Start) -> None:
    terminal = start()
    terminal.until("error message")
    terminal.type(ENTER)
    said = terminal.until("Which is it?")
    assert "sageattention" in said
    terminal.until("need a rebuild")
    terminal.type(ENTER)
    said = terminal.until("Space ticks")
    assert "by hand" in said
    assert "pip install torch==2.14.1" in said
    terminal.until("[ ]")
    terminal.type(ENTER)
    terminal.until("Download 0.34 GB")
    said = terminal.until("Esc leaves")
    assert "~/models/vae" in said
    terminal.type(ENTER)
    terminal.until('carried out: ["fetch-assets", "release-flags"]')
    assert terminal.end() == 0
    assert "klein-doctor undo r1" in terminal.text
    assert max(map(len, terminal.text.split("\n"))) < 400


@pytest.mark.parametrize("key", [ESC, CTRL_C])
@pytest.mark.parametrize("question", [0, 1, 2, 3])
def test_leaving_at_any_question_changes_nothing(start: Start, question: int, key: str) -> None:
    terminal = start()
    for number in range(question + 1):
        terminal.until("Esc leaves")
        terminal.type(key if number == question else ENTER)
    assert terminal.end() == 130
    assert "nothing was changed" in terminal.text
    assert "carried out" not in terminal.text
    assert "Traceback" not in terminal.text


def test_what_is_answered_is_not_asked(start: Start, tmp_path: Path) -> None:
    text = "symptom='nothing'\nenvironment='here'\nsteps='all'\ndownload=false\n"
    terminal = start("--answers", answers(tmp_path, text))
    terminal.until('carried out: ["install-torch", "release-flags", "loopback-only"]')
    assert terminal.end() == 0
    for line in ("symptom: nothing (from --answers)", "environment: here", "download: false"):
        assert line in terminal.text
    assert "Your choice" not in terminal.text


def test_a_torch_change_takes_a_tick_even_where_it_may_be_made(
    start: Start, tmp_path: Path
) -> None:
    terminal = start("--answers", answers(tmp_path, "symptom='slow'\nenvironment='here'\n"))
    terminal.until("Space ticks")
    terminal.type(" " + DOWN + " " + ENTER)  # torch ticked, the download not
    terminal.until('carried out: ["install-torch", "release-flags"]')
    assert terminal.end() == 0


def test_a_wrong_answer_is_named(start: Start, tmp_path: Path) -> None:
    terminal = start("--answers", answers(tmp_path, "symptom='haunted'\n"))
    assert terminal.end() == 2
    assert "symptom = 'haunted'; use one of nothing, black" in " ".join(terminal.text.split())


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"TERM": "dumb", "NO_COLOR": "1"}])
def test_a_dumb_terminal_is_asked_by_numbers(start: Start, env: dict[str, str]) -> None:
    terminal = start(**env)
    terminal.until("Number [1]")
    terminal.type("9\n")
    terminal.until("a number from 1 to 6")
    terminal.type("\n")
    terminal.until("Number [1]")
    terminal.type("2\n")
    terminal.until("Numbers, 0 for none")
    terminal.type("3 4\n")
    terminal.until('carried out: ["release-flags", "loopback-only"]')
    assert terminal.end() == 0
    assert "\x1b" not in terminal.raw
    assert terminal.raw.isascii()


def test_no_colour_where_none_is_wanted(start: Start) -> None:
    terminal = start(NO_COLOR="1")
    terminal.until("Esc leaves")
    terminal.type(ESC)
    assert terminal.end() == 130
    assert "38;5" not in terminal.raw
    assert "\x1b[3" not in terminal.raw


def test_nobody_to_ask_is_an_error_that_names_fix() -> None:
    ran = doctor("setup")
    assert ran.code == 2
    assert "--fix" in ran.err
    assert len(ran.err.splitlines()) == 1
