"""``klein-doctor generate`` to its end: a real diffusers on a miniature, on the processor."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from command import COMMAND, Ran, clean_environment, doctor, one_line

from klein_doctor.exits import Exit
from klein_doctor.rehearse.miniature import write_checkout

DOCS = Path(__file__).parents[2] / "docs"
STUB = Path(__file__).parents[1] / "diffusers_route" / "stub"
RECORD: dict[str, Any] = json.loads((DOCS / "record.schema.json").read_text("utf-8"))
REPORT: dict[str, Any] = json.loads((DOCS / "report.schema.json").read_text("utf-8"))
LIMIT_S = 240
REHEARSAL = (
    "generate", "--route", "diffusers", "--device", "cpu", "--expect", "reference", "--size",
    "64", "--python", sys.executable,
)  # fmt: skip


def put_miniature(home: Path) -> Path:
    """A miniature in the Hub's cache of a home; returns the home."""
    cache = home / ".cache/huggingface/hub/models--black-forest-labs--FLUX.2-klein-4B"
    write_checkout(cache / "snapshots" / ("1" * 40))
    return home


def generate(home: Path, *arguments: str, env: dict[str, str] | None = None) -> Ran:
    return doctor(
        *REHEARSAL, *arguments, env={"HOME": str(home), **(env or {})}, cwd=home, limit_s=LIMIT_S
    )


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Ran]]:
    home = put_miniature(tmp_path_factory.mktemp("home"))
    yield home, generate(home, "--format", "json")


def test_a_run_as_recorded(rehearsed: tuple[Path, Ran]) -> None:
    _, ran = rehearsed
    assert (ran.code, ran.document["exit_code"]) == (Exit.OK, Exit.OK), ran.err
    jsonschema.validate(ran.document, REPORT)
    record = ran.document["generation"]
    jsonschema.validate(record, RECORD)
    assert record["verdict"] == "ran as recorded"
    assert record["picture"]["seeds"][0] == record["picture"]["seeds"][2]
    assert record["picture"]["repeated"] == 0 and record["picture"]["differed"] > 0
    assert record["seconds"]["cold"] > record["seconds"]["warm"] > 0
    assert record["memory_mib"]["ram_peak"] > 0
    assert "diffusers" in record["software"]["packages"]
    assert not ran.document["ready"], "what was made of noise proves no picture"


def test_its_pictures_and_record_are_the_users_alone(rehearsed: tuple[Path, Ran]) -> None:
    home, ran = rehearsed
    state = home / ".local" / "state" / "klein-doctor"
    (kept,) = (state / "records").iterdir()
    assert json.loads(kept.read_text("utf-8")) == ran.document["generation"]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    (place,) = (state / "pictures").iterdir()
    assert len(list(place.glob("*.png"))) == 3
    assert (place / "flux_klein.py").exists()
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert not (state / "proven.json").exists()


def test_nothing_private_leaves_with_it(rehearsed: tuple[Path, Ran]) -> None:
    home, ran = rehearsed
    assert str(home) not in ran.out
    assert "/" not in json.dumps(ran.document["generation"]["files"])


def test_it_comes_back_from_its_report(rehearsed: tuple[Path, Ran], tmp_path: Path) -> None:
    _, ran = rehearsed
    file = tmp_path / "report.json"
    file.write_text(ran.out, encoding="utf-8")
    again = doctor("--from", file, "--format", "json")
    assert again.document["facts"]["generation"] == ran.document["facts"]["generation"]
    assert again.document["generation"] == ran.document["generation"]
    assert "changed after" not in again.err


def test_progress_for_programs(rehearsed: tuple[Path, Ran]) -> None:
    home, _ = rehearsed
    ran = generate(home, "--progress", "json", "--deadline", "1s")
    events = [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]
    assert events and events[0]["event"] == "phase"
    assert ran.code == Exit.TRY_AGAIN, "the time for it was over"


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_ends_it_in_good_order(tmp_path: Path) -> None:
    home = put_miniature(tmp_path)
    process = subprocess.Popen(
        [*COMMAND, *REHEARSAL, "--progress", "json", "--format", "json"],
        env={**clean_environment(), "HOME": str(home)}, cwd=home,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if b'"load"' in line:
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=60)
    assert process.returncode == Exit.INTERRUPTED, err
    document = json.loads(out)
    assert document["exit_code"] == Exit.INTERRUPTED
    assert document["generation"]["verdict"] == "interrupted"


def test_a_failure_is_explained(tmp_path: Path) -> None:
    home = put_miniature(tmp_path)
    env = {"PYTHONPATH": str(STUB), "KLEIN_FAULT": "denoise=oom"}
    ran = generate(home, "--format", "json", env=env)
    record = ran.document["generation"]
    jsonschema.validate(record, RECORD)
    assert ran.code == Exit.GENERATION_FAILED
    assert record["verdict"] == "failed" and record["failure"]["kind"] == "out-of-memory"
    assert "vram-busy" in record["failure"]["explained"]


def test_no_card_no_run(tmp_path: Path) -> None:
    ran = doctor("generate", "--route", "diffusers", env={"HOME": str(tmp_path)}, cwd=tmp_path)
    assert ran.code in (Exit.PROBLEMS, Exit.UNDECIDED)
    assert "no test generation: mend first" in ran.err
    assert not list(tmp_path.rglob("pictures"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "--size", "huge"), ("generate", "--size", "100"),
        ("generate", "--size", "9" * 9), ("generate", "--deadline", "soon"),
        ("generate", "--from", "x.json"), ("generate", "--assume", "RTX 5070,driver=580"),
        ("--size", "512"), ("--generate",), ("--fix", "--max-age", "1d"),
        ("--prove", "--from", "x.json"), ("download", "--pictures", "x"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line(arguments: tuple[str, ...]) -> None:
    ran = doctor(*arguments)
    assert ran.code == Exit.USAGE and ran.out == ""
    assert one_line(ran.err)


def test_a_place_that_cannot_be_written_is_wrong_usage(tmp_path: Path) -> None:
    home = put_miniature(tmp_path)
    (home / "file").write_text("")
    ran = generate(home, "--pictures", str(home / "file" / "below"))
    assert ran.code == Exit.USAGE
    assert one_line(ran.err) and "--pictures" in ran.err


def test_without_a_state_folder_the_place_is_named(tmp_path: Path) -> None:
    home = put_miniature(tmp_path)
    hub = home / ".cache" / "huggingface"
    scratch = home / "tmp"
    scratch.mkdir()
    ran = doctor(
        *REHEARSAL, "--deadline", "1s", drop=("HOME", "USERPROFILE"),
        env={"HF_HOME": str(hub), "TMPDIR": str(scratch)}, cwd=home, limit_s=LIMIT_S,
    )  # fmt: skip
    assert "there is no state folder: the pictures go to" in ran.err
    assert ran.code == Exit.TRY_AGAIN
