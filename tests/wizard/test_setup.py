"""The wizard in a real terminal: what is asked, what is done, and leaving at every question."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import clean_environment, doctor
from terminal import CTRL_C, CTRL_D, DOWN, ENTER, ESC, Terminal

HERE = Path(__file__).parent
Start = Callable[..., Terminal]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[Terminal] = []

    def begin(*arguments: str, command: str = "setup", columns: int = 80, **env: str) -> Terminal:
        path = os.pathsep.join((str(HERE), str(HERE.parent)))
        full = {**clean_environment(), "TERM": "xterm-256color", "PYTHONPATH": path, **env}
        words = [command] if command else []
        started = [sys.executable, str(HERE / "staged.py"), *words, *arguments]
        running.append(Terminal(started, full, columns))
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


# In the order in which they are asked.
QUESTIONS = (
    "Which ComfyUI is it about?", "What happened?", "Which is it?",
    "Which way of running the model?", "What is to be done?", "Download 0.34 GB",
)  # fmt: skip


def test_everything_is_asked_in_its_order(start: Start) -> None:
    terminal = start(STAGED="all")
    for question in QUESTIONS:
        terminal.until(question)
        terminal.until("Esc leaves")
        terminal.type(ENTER)
    terminal.until('carried out: ["fetch-assets", "release-flags"]')
    assert terminal.end() == 0
    words = " ".join(terminal.text.split())
    assert "> /home/jane/Other (manual, running on port 8188)" in words  # what runs comes first
    assert "> comfyui (the usual way, recommended)" in words
    assert "comfyui: FP8, 3.0 of 10.6 GiB" in words
    assert "diffusers: groups of layers" in words
    for never in ("CUDA version", "token"):
        assert never not in words


def test_a_torch_change_is_asked_for_once_more(start: Start) -> None:
    for answer, wanted in ((ENTER, []), (DOWN + ENTER, ["install-torch"])):
        terminal = start(STAGED="torch")
        terminal.until("Esc leaves")
        terminal.type(ENTER)
        terminal.until("[x]  1. install torch==2.14.1")
        terminal.until("Space ticks")
        terminal.type(ENTER)
        terminal.until("Do it?")
        terminal.until("Esc leaves")
        terminal.type(answer)
        terminal.until("Download 0.34 GB")
        terminal.until("Esc leaves")
        terminal.type(ENTER)
        terminal.until(f"carried out: {json.dumps([*wanted, 'fetch-assets', 'release-flags'])}")
        assert terminal.end() == 0


@pytest.mark.parametrize("term, key", [
    ("xterm", ESC), ("xterm", CTRL_C), ("dumb", "q\n"), ("dumb", CTRL_C), ("dumb", CTRL_D),
])  # fmt: skip
@pytest.mark.parametrize("question", range(len(QUESTIONS)))
def test_leaving_at_any_question_changes_nothing(
    start: Start, question: int, term: str, key: str
) -> None:
    terminal = start(STAGED="all", TERM=term)
    for number in range(question + 1):
        terminal.until(QUESTIONS[number])
        terminal.until("leaves")
        terminal.type(key if number == question else ENTER if term == "xterm" else "\n")
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


def test_an_option_says_what_an_answer_says_and_beats_it(start: Start, tmp_path: Path) -> None:
    terminal = start(
        "--symptom", "slow", "--environment", "here", "--only", "install-torch,fetch-assets",
        "--comfyui", "/c", "--route", "comfyui",
        "--answers", answers(tmp_path, "symptom='black'\n"), STAGED="all",
    )  # fmt: skip
    terminal.until("carried out")
    assert terminal.end() == 0
    said = " ".join(terminal.text.split())
    assert "symptom: slow (from --symptom)" in said
    assert "environment: here (from --environment)" in said
    assert "ComfyUI: /c (from --comfyui)" in said and "route: comfyui (from --route)" in said
    assert "Your choice" not in said


def test_a_variable_answers_as_its_option_does(start: Start) -> None:
    terminal = start(KLEIN_DOCTOR_SYMPTOM="memory")
    terminal.until("symptom: memory (from --symptom)")
    terminal.until("Esc leaves")
    terminal.type(ESC)
    assert terminal.end() == 130


# --- the offer after a diagnosis -------------------------------------------------------------


def test_the_offer_goes_on_to_the_wizard(start: Start) -> None:
    terminal = start(command="")
    said = terminal.until("Repair now?")
    assert "FIX FIRST" in said  # the report comes first
    terminal.until("> no")
    terminal.until("yes, show me the plan")
    terminal.type(DOWN + ENTER)
    terminal.until("What happened?")
    for question in QUESTIONS[2:3] + QUESTIONS[4:]:
        terminal.until("Esc leaves")
        terminal.type(ENTER)
        terminal.until(question)
    terminal.until("Esc leaves")
    terminal.type(ENTER)
    terminal.until("carried out")
    assert terminal.end() == 0


@pytest.mark.parametrize("term, key", [
    ("xterm", ENTER), ("xterm", ESC), ("xterm", CTRL_C), ("dumb", "\n"), ("dumb", "q\n"),
    ("dumb", CTRL_C),
])  # fmt: skip
def test_who_declines_has_the_exit_code_of_the_report(start: Start, term: str, key: str) -> None:
    terminal = start(command="", TERM=term)
    terminal.until("Repair now?")
    terminal.until("leaves")
    terminal.type(key)
    assert terminal.end() == 1
    assert "carried out" not in terminal.text and "What happened?" not in terminal.text
    assert "Traceback" not in terminal.text


def test_leaving_the_wizard_that_was_offered_changes_nothing(start: Start) -> None:
    terminal = start(command="")
    terminal.until("Repair now?")
    terminal.until("Esc leaves")
    terminal.type(DOWN + ENTER)
    terminal.until("What happened?")
    terminal.until("Esc leaves")
    terminal.type(ESC)
    assert terminal.end() == 130
    assert "nothing was changed" in terminal.text


@pytest.mark.parametrize("arguments", [("--format", "json"), ("--output", "-x-")])
def test_nothing_is_offered_where_a_report_is_for_a_program(
    start: Start, arguments: tuple[str, str], tmp_path: Path
) -> None:
    named = [str(tmp_path / "report") if a == "-x-" else a for a in arguments]
    terminal = start(*named, command="")
    assert terminal.end() == 1
    assert "Repair now?" not in terminal.text


# --- terminals -------------------------------------------------------------------------------


def test_over_ssh_an_arrow_may_come_in_pieces(start: Start) -> None:
    over = {"SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22", "SSH_TTY": "/dev/pts/0"}
    terminal = start(TERM="screen-256color", **over)
    terminal.until("Esc leaves")
    for piece in (ESC, "[B", ENTER):
        terminal.type(piece)
    terminal.until("causes this")
    terminal.until("Esc leaves")
    terminal.type(ESC)
    assert terminal.end() == 130


@pytest.mark.parametrize("term", ["xterm", "dumb"])
@pytest.mark.parametrize("columns, told", [(30, {}), (80, {"COLUMNS": "44"})])
def test_a_narrow_terminal_is_kept_to(
    start: Start, columns: int, told: dict[str, str], term: str
) -> None:
    terminal = start(columns=columns, TERM=term, **told)
    for _ in range(2):
        terminal.until("leaves")
        terminal.type(ENTER if term == "xterm" else "\n")
    terminal.until("The plan;")
    lines = terminal.until("What is to be done?").split("\n")
    width = int(told.get("COLUMNS", columns))
    assert max(len(line.rstrip()) for line in lines) < width
    assert any("fetch the VAE" in " ".join(line.split()) for line in lines)
    terminal.until("leaves")
    terminal.type(ESC if term == "xterm" else "q\n")
    assert terminal.end() == 130


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
