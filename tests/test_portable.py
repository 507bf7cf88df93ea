"""The portable folder for Windows: its starter, run with this Python, and its .bat as text."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import Ran, clean_environment
from model_files import put_real

SOURCE = Path(__file__).parent.parent / ".ci" / "portable"


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """As it is unpacked; the packages are this environment's."""
    folder = tmp_path / "klein-doctor"
    for name in ("any", "cp{}{}".format(*sys.version_info[:2])):
        (folder / "lib" / name).mkdir(parents=True)
    shutil.copy(SOURCE / "start.py", folder)
    return folder


def start(folder: Path, *arguments: str | Path, path: str = "") -> Ran:
    env = clean_environment()
    env["PATH"] = f"{path}{os.pathsep}{env['PATH']}"
    done = subprocess.run(
        [sys.executable, "-s", folder / "start.py", *arguments],
        env=env, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


def test_the_report_is_shown_and_put_into_the_clipboard(unpacked: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    clip = tools / "clip"
    clip.write_text(f"#!/bin/sh\ncat > {tmp_path}/clipboard\n", encoding="utf-8")
    clip.chmod(0o755)
    ran = start(unpacked, path=str(tools))
    assert "FIX FIRST" in ran.out and "is in the clipboard" in ran.out
    pasted = (tmp_path / "clipboard").read_bytes().decode("utf-16")
    assert pasted.startswith("**") or "klein-doctor" in pasted.splitlines()[0]
    assert '"schema"' in pasted
    assert not list(unpacked.rglob("__pycache__"))


def test_without_a_clipboard_it_says_how_to_paste(unpacked: Path, tmp_path: Path) -> None:
    if shutil.which("clip"):
        pytest.skip("this machine has a program called clip")
    assert "--format markdown --output" in start(unpacked).out


def test_model_files_that_are_dropped_are_identified(unpacked: Path, tmp_path: Path) -> None:
    model = tmp_path / "my vae.safetensors"
    put_real(model, "flux1-ae")
    ran = start(unpacked, model)
    assert "other" in ran.out and "FLUX.1" in ran.out


def test_a_log_that_is_dropped_is_explained(unpacked: Path, tmp_path: Path) -> None:
    log = tmp_path / "comfyui.log"
    log.write_text("AssertionError: Torch not compiled with CUDA enabled\n", encoding="utf-8")
    assert "torch-cpu-only" in start(unpacked, log).out


def test_commands_go_through(unpacked: Path) -> None:
    ran = start(unpacked, "explain", "vae-wrong")
    assert ran.code == 0 and ran.out.startswith("vae-wrong")


def test_another_python_is_told(unpacked: Path) -> None:
    shutil.rmtree(unpacked / "lib" / "cp{}{}".format(*sys.version_info[:2]))
    (unpacked / "lib" / "cp399").mkdir()
    ran = start(unpacked)
    assert ran.code == 2 and "cp399" in ran.out and "Traceback" not in ran.err


def test_the_bat_runs_comfyuis_own_python_and_waits() -> None:
    raw = (SOURCE / "klein-doctor.bat").read_bytes()
    assert raw.count(b"\n") == raw.count(b"\r\n") > 10
    text = raw.decode("ascii")
    assert '"%PY%" -s "%~dp0start.py" %*' in text
    assert r"..\python_embeded\python.exe" in text
    assert "pause" in text.splitlines()[-2] and "pip" not in text


def test_what_is_packed_is_pinned() -> None:
    lines = (SOURCE / "lock.txt").read_text(encoding="utf-8").splitlines()
    assert lines and all("==" in line for line in lines)
    names = {line.partition("==")[0] for line in lines}
    assert {"colorama", "pillow", "psutil", "rich", "websocket-client"} <= names
    assert not {"torch", "numpy", "klein-doctor"} & names
