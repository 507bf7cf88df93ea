"""Completion: the scripts as the shells themselves read them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from command import doctor

from klein_doctor.completion import SHELLS

WANTED = {
    "klein-doctor --form": "--format",
    "klein-doctor --format mark": "markdown",
    "klein-doctor expl": "explain",
    "klein-doctor explain vae-w": "vae-wrong",
    "klein-doctor --select torch-lacks": "torch-lacks-arch",
}


def written(shell: str, folder: Path) -> Path:
    ran = doctor("completion", shell)
    assert ran.code == 0 and not ran.err
    path = folder / f"completion.{shell}"
    path.write_text(ran.out, encoding="utf-8")
    return path


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize(("line", "word"), WANTED.items())
def test_bash_offers_what_fits(line: str, word: str, tmp_path: Path) -> None:
    script = written("bash", tmp_path)
    words = line.split()
    asked = (
        f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
        "_klein_doctor; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    assert word in run("bash", "--norc", "-c", asked).split()


def test_bash_offers_files_after_output(tmp_path: Path) -> None:
    script = written("bash", tmp_path)
    asked = (
        f"cd {tmp_path}; source {script}; COMP_WORDS=(klein-doctor --output comp); COMP_CWORD=2; "
        "_klein_doctor; echo ${COMPREPLY[0]}"
    )
    assert run("bash", "--norc", "-c", asked).strip() == script.name


@pytest.mark.parametrize(("line", "word"), WANTED.items())
def test_fish_offers_what_fits(line: str, word: str, tmp_path: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("the shell fish is not installed")
    script = written("fish", tmp_path)
    said = run("fish", "--no-config", "-c", f"source {script}; complete -C '{line}'")
    assert word in {offer.split("\t")[0] for offer in said.splitlines()}


def test_zsh_reads_it(tmp_path: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("the shell zsh is not installed")
    script = written("zsh", tmp_path)
    asked = (
        f"autoload -Uz compinit; compinit -u -d {tmp_path}/dump; source {script}; "
        "echo $_comps[klein-doctor]"
    )
    assert run("zsh", "-f", "-c", asked).strip() == "_klein_doctor"


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_knows_every_command(shell: str, tmp_path: Path) -> None:
    text = written(shell, tmp_path).read_text(encoding="utf-8")
    for word in ("download", "history", "triage", "uninstall", "format", "markdown"):
        assert word in text


def test_a_shell_that_is_none_is_said() -> None:
    ran = doctor("completion", "tcsh")
    assert ran.code == 2 and "tcsh" in ran.err and "fish" in ran.err
