"""The rehearsal: the whole chain, in a folder that is gone afterwards whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import jsonschema
import pytest
from command import COMMAND, Ran, clean_environment, fresh

from klein_doctor.rehearse.stage import FAULTS

LIMIT_S = 400


def environment(scratch: Path) -> dict[str, str]:
    home = scratch / "home"
    home.mkdir(exist_ok=True)
    (scratch / "tmp").mkdir(exist_ok=True)
    return {**clean_environment(), "HOME": str(home), "TMPDIR": str(scratch / "tmp")}


def run(scratch: Path, *arguments: str) -> Ran:
    return fresh([*COMMAND, "rehearse", *arguments], environment(scratch), limit_s=LIMIT_S)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    scratch = tmp_path_factory.mktemp("rehearsal")
    return run(scratch, "--format", "json"), scratch


def test_the_whole_chain_works(document: tuple[Ran, Path]) -> None:
    ran, _ = document
    acts = {act["name"]: act for act in ran.document["acts"]}
    assert ran.code == 0, acts
    assert list(acts) == ["stage", "diagnose", "plan", "fix", "prove", "generate", "undo"]
    assert all(act["ok"] for act in acts.values()), acts
    assert ran.document["rehearsal"] is True and ran.document["exit_code"] == 0


def test_the_document_keeps_to_its_schema(document: tuple[Ran, Path]) -> None:
    docs = Path(__file__).parents[2] / "docs"
    schema = json.loads((docs / "rehearsal.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document[0].document, schema)
    assert list(document[0].document) == schema["required"]


def test_every_planted_fault_is_named(document: tuple[Ran, Path]) -> None:
    acts = {act["name"]: act for act in document[0].document["acts"]}
    lines = " ".join(acts["diagnose"]["lines"])
    assert all(f"named {fault.check}" in lines for fault in FAULTS)


def test_files_are_fetched_and_pictures_made(document: tuple[Ran, Path]) -> None:
    acts = {act["name"]: act for act in document[0].document["acts"]}
    assert "3 files fetched from the embedded Hub" in acts["fix"]["says"]
    assert "ran as recorded" in acts["generate"]["says"]


def test_nothing_is_left_behind(document: tuple[Ran, Path]) -> None:
    _, scratch = document
    assert not list((scratch / "tmp").iterdir())
    assert not list((scratch / "home").rglob("*.safetensors"))


def begun(scratch: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """A rehearsal that has laid out its stage and goes on."""
    process = subprocess.Popen(
        [*COMMAND, "rehearse"], env=environment(scratch), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(b"2. "):
            break
    (folder,) = (scratch / "tmp").glob("klein-doctor-rehearsal-*")
    return process, folder


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_ended_in_the_middle_it_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    process, folder = begun(tmp_path)
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    until = time.monotonic() + 60
    while folder.exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not folder.exists()


def test_only_its_own_folder_is_ever_removed(tmp_path: Path) -> None:
    from klein_doctor.rehearse.run import janitor

    stranger = tmp_path / "precious"
    stranger.mkdir()
    keeper = janitor(stranger)
    keeper.communicate(timeout=30)
    assert stranger.is_dir()


def test_a_format_it_does_not_write_is_said(tmp_path: Path) -> None:
    ran = run(tmp_path, "--format", "brief")
    assert ran.code == 2 and "text and json" in ran.err


def test_kept_on_request(tmp_path: Path) -> None:
    keeping = subprocess.Popen(
        [*COMMAND, "rehearse", "--keep"], env=environment(tmp_path), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert keeping.stdout is not None
    for line in keeping.stdout:
        if line.startswith(b"2. "):
            break
    keeping.kill()
    keeping.communicate()
    (kept,) = (tmp_path / "tmp").glob("klein-doctor-rehearsal-*")
    assert (kept / "home" / "ComfyUI" / "main.py").exists()
