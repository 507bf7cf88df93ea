"""The wizard on a machine without a ComfyUI: from nothing to the files in one go."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import terminal as t
from command import COMMAND, doctor
from repositories import NEW, git, put_remote

from klein_doctor.rehearse.hub import Hub
from klein_doctor.rehearse.index import PackageIndex
from klein_doctor.rehearse.stage import CARD, Stage

pytestmark = pytest.mark.skipif(
    shutil.which("git") is None or sys.platform == "win32", reason="needs git, paths as on Linux"
)


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Stage]:
    """The machine of a rehearsal before anybody installed something on it."""
    remote = put_remote(tmp_path / "remote")
    (remote / "requirements.txt").write_text("torch\ntorchvision\ntorchaudio\n")
    git(remote, "commit", "-q", "-am", "requirements")
    git(remote, "tag", "-f", "-a", "-m", NEW, NEW)
    with Hub() as hub, PackageIndex() as index:
        stage = Stage(tmp_path / "machine", hub, index)
        stage.build()
        shutil.rmtree(stage.comfyui)
        shutil.rmtree(stage.home / ".cache")
        row = f'[[install]]\ntag = "{NEW}"\nurl = "{remote.as_uri()}"\n'
        (stage.recipe / "comfyui.toml").write_text(row)
        yield stage


def setup(stage: Stage) -> t.Terminal:
    command = [*COMMAND, "setup", *options(stage), "--progress", "plain", "--symptom", "nothing"]
    env = {**stage.environment(), "TERM": "xterm-256color", "KLEIN_DOCTOR_PORTS": ""}
    return t.Terminal([str(part) for part in command], env)


def options(stage: Stage) -> tuple[str | Path, ...]:
    return (
        "--route", "comfyui", "--assume", CARD, "--recipe", stage.recipe,
        "--state-dir", stage.state,
    )  # fmt: skip


def test_it_goes_on_to_the_files_and_undo_takes_back_all_of_it(bare: Stage) -> None:
    seen = setup(bare)
    try:
        seen.until("install ComfyUI")
        seen.until("Space ticks")
        seen.type(t.ENTER)
        said = seen.until("With that done, there is more to see.")
        assert "done: ComfyUI" in said and (bare.comfyui / "main.py").is_file()
        seen.until("fetch")
        seen.until("Space ticks")
        seen.type(t.ENTER)
        seen.until("Esc leaves")
        seen.until("MB")
        seen.type(t.ENTER)
        seen.until("three test pictures")  # the ComfyUI of this machine is none that could draw
        seen.until("Esc leaves")
        seen.type(t.DOWN + t.ENTER)
        seen.until("To take it back: klein-doctor undo")
        seen.end()
    finally:
        seen.close()
    ran = doctor("--format", "json", *options(bare), env=bare.environment())
    assert "fail" not in ran.verdicts().values(), ran.verdicts()
    assert doctor("undo", "--state-dir", bare.state, env=bare.environment()).code == 0
    assert not (bare.comfyui / "main.py").exists()
    again = doctor("undo", "--state-dir", bare.state, env=bare.environment())
    assert "no run of fixes" in again.err


def test_who_leaves_then_keeps_what_was_done(bare: Stage) -> None:
    seen = setup(bare)
    try:
        seen.until("Space ticks")
        seen.type(t.ENTER)
        seen.until("With that done, there is more to see.")
        seen.until("Space ticks")
        seen.type(t.ESC)
        said = seen.until("To take it back: klein-doctor undo")
        assert seen.end() == 1
    finally:
        seen.close()
    assert "nothing was changed" not in said
    assert (bare.comfyui / "main.py").is_file()
    assert not list((bare.comfyui / "models").rglob("*.safetensors"))
    assert os.listdir(bare.comfyui / ".venv" / "bin")
