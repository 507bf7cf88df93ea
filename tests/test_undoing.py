"""What uninstall says of the way back that goes with it, and what it leaves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from acting import begun
from command import Ran, clean_environment, doctor
from terminal import DOWN, ENTER, Terminal

from klein_doctor.steps import Step

posix = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")


def changed(top: Path, fix: str = "place-workflow", *, sealed: bool = True) -> Path:
    """A run of a fix that wrote a file, in the state folder below."""
    made = top / f"{fix}.json"
    transaction = begun(Step(fix, "a file", "config", "safe", {}), top)
    transaction.create(made, b"{}")
    if sealed:
        transaction.journal.add("seal", step=transaction.number)
    return made


def uninstalled(top: Path, *arguments: str) -> Ran:
    return doctor("uninstall", "--state-dir", top / "state", *arguments)


def test_it_says_which_runs_cannot_be_undone_any_more(tmp_path: Path) -> None:
    made = changed(tmp_path)
    ran = uninstalled(tmp_path)
    assert ran.code == 0
    assert "1 run of fixes cannot be undone any more (run-1)" in ran.err
    assert "1 run of fixes cannot be undone any more (run-1)" in ran.out
    assert made.exists() and not (tmp_path / "state").exists()


def test_a_program_is_told_too(tmp_path: Path) -> None:
    changed(tmp_path)
    assert uninstalled(tmp_path, "--format", "json").document["not_undoable"] == ["run-1"]


def test_nothing_stays_behind_and_a_second_time_nothing_is_removed(tmp_path: Path) -> None:
    doctor("--state-dir", tmp_path / "state")
    ran = uninstalled(tmp_path)
    assert ran.code == 0 and "removed: " in ran.out and "undone" not in ran.out + ran.err
    assert not (tmp_path / "state").exists()
    ran = uninstalled(tmp_path)
    assert (ran.code, ran.out) == (0, "") and "there is nothing of the doctor's in" in ran.err
    assert not (tmp_path / "state").exists()


def test_what_somebody_else_put_there_stays(tmp_path: Path) -> None:
    doctor("--state-dir", tmp_path / "state")
    (tmp_path / "state" / "mine.txt").write_text("mine")
    assert uninstalled(tmp_path).code == 0
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["mine.txt"]
    assert "removed" not in uninstalled(tmp_path).out


def test_a_run_that_was_broken_off_is_ended_first(tmp_path: Path) -> None:
    made = changed(tmp_path, sealed=False)
    ran = uninstalled(tmp_path)
    assert ran.code == 2 and "klein-doctor undo run-1" in ran.err
    assert made.exists() and (tmp_path / "state" / "runs").exists()


@posix
@pytest.mark.parametrize(("keys", "stays"), [(ENTER, True), (DOWN + ENTER, False)])
def test_on_a_terminal_it_asks(tmp_path: Path, keys: str, stays: bool) -> None:
    changed(tmp_path)
    command = [sys.executable, "-m", "klein_doctor", "uninstall", "--state-dir"]
    env = {**clean_environment(), "TERM": "xterm-256color"}
    terminal = Terminal([*command, str(tmp_path / "state")], env)
    try:
        terminal.until("Remove it all the same?")
        terminal.until("Esc leaves")
        terminal.type(keys)
        assert terminal.end() == (130 if stays else 0)
        assert "1 run of fixes cannot be undone any more" in terminal.text
    finally:
        terminal.close()
    assert (tmp_path / "state").exists() is stays
