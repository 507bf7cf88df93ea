"""What is kept of a run: phases, samples, records, pictures of the last runs."""

from __future__ import annotations

import itertools
import json
import os
import threading
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import recorded
from generations import failed, generation, samples

from klein_doctor import recipe as recipes
from klein_doctor.codec import decode
from klein_doctor.console import Lines
from klein_doctor.diagnose import Request, build
from klein_doctor.duration import seconds
from klein_doctor.exits import Exit, UsageError, leading
from klein_doctor.generate import kept
from klein_doctor.generate.run import thinned
from klein_doctor.generate.watching import Watcher
from klein_doctor.generation import Generation
from klein_doctor.model import Facts, Known, Report, Target
from klein_doctor.probes.proven import read_entries
from klein_doctor.repair import Limits

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "record.schema.json").read_text("utf-8"))


def report(ran: Generation, name: str = "healthy-rtx5070-linux-cu130") -> Report:
    data = recorded.load(name)
    facts: Any = decode(Facts, data["facts"], "facts")._replace(generation=Known(ran))
    target = decode(Target, data["target"], "target")
    return build(facts, target, data["created"], recipes.load(), Request())


@pytest.mark.parametrize(
    "ran", [generation(), failed(), generation(plan=""), generation(samples=(), phases=())]
)
def test_a_record_keeps_to_its_schema(ran: Generation) -> None:
    record = report(ran).record
    jsonschema.validate(record, SCHEMA)
    assert record is not None and len(json.dumps(record)) < 20_000


@pytest.mark.parametrize("name", recorded.names())
def test_so_does_one_of_every_machine(name: str) -> None:
    jsonschema.validate(report(failed(), name).record, SCHEMA)


def test_what_nobody_could_tell_is_null() -> None:
    ran = generation(peak_mib=-1, ram_mib=-1, free_mib=-1, predicted_mib=0, warm_s=0.0)
    record = report(ran).record
    assert record is not None
    assert set(record["memory_mib"].values()) == {None} and record["seconds"]["warm"] is None


@pytest.mark.parametrize(
    ("ran", "code", "ready"),
    [
        (generation(), Exit.OK, True),
        (generation(expectation="picture", pictures=()), Exit.GENERATION_FAILED, False),
        (failed(), Exit.GENERATION_FAILED, False),
        (failed(outcome="refused", kind="queue-busy"), Exit.TRY_AGAIN, False),
        (failed(outcome="interrupted", kind="deadline"), Exit.TRY_AGAIN, False),
        (failed(outcome="interrupted", kind="stopped"), Exit.INTERRUPTED, False),
    ],
)
def test_the_exit_code_of_a_run(ran: Generation, code: Exit, ready: bool) -> None:
    found = report(ran)
    assert (found.exit_code, found.ready) == (code, ready)


def test_the_worst_of_several_codes_is_told() -> None:
    order = [70, 6, 130, 4, 5, 8, 7, 2, 1, 3, 0]
    assert sorted(Exit) == sorted(order)
    for worse, better in itertools.pairwise(order):
        assert leading(Exit(better), Exit(worse), Exit.OK) == worse


def test_samples_are_thinned_and_keep_their_peaks() -> None:
    many = samples(5000)
    few = thinned(many)
    assert len(few) <= 160
    assert max(s.ours_mib for s in few) == max(s.ours_mib for s in many)
    assert [s.at_s for s in few] == sorted(s.at_s for s in few)
    assert thinned(()) == () and thinned(many[:3]) == many[:3]


def test_phases_follow_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watcher(Lines("json"), Limits(threading.Event()), 3)
    for phase, picture in (("start", 0), ("load", 1), ("load", 1), ("denoise", 1)):
        watch.began(phase, picture)
    watch.progress(1, 4)
    phases = watch.close()
    assert [(p.name, p.picture) for p in phases] == [("start", 0), ("load", 1), ("denoise", 1)]
    for earlier, later in itertools.pairwise(phases):
        assert earlier.ended_s == later.began_s
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert events[-1] == {
        "event": "progress", "phase": "denoise", "picture": 1, "done": 1, "total": 4,
    }  # fmt: skip


def test_the_last_runs_are_kept(tmp_path: Path) -> None:
    old = [tmp_path / "pictures" / f"20260101-0000{number:02}" for number in range(12)]
    for place in old:
        place.mkdir(parents=True)
    new = kept.folder("", str(tmp_path), os.environ).path
    assert sorted((tmp_path / "pictures").iterdir()) == [*old[3:], new]


def test_a_folder_of_the_users_own_loses_nothing(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"mine-{number:02}").mkdir()
    place = kept.folder(str(tmp_path), "", os.environ)
    assert place.path.parent == tmp_path and len(list(tmp_path.iterdir())) == 13


def test_a_verified_run_is_remembered_and_a_failed_one_is_not(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"x")
    state = str(tmp_path / "state")
    bad = report(failed())
    assert kept.keep(bad, "comfyui", (str(weights),), state, os.environ) == ""
    assert read_entries(tmp_path / "state") == ()
    good = report(generation())
    assert kept.keep(good, "comfyui", (str(weights),), state, os.environ) == ""
    (entry,) = read_entries(tmp_path / "state")
    assert entry.when == good.created and entry.setup.files is not None
    assert [file.path for file in entry.setup.files] == [str(weights)]


def test_a_full_disk_is_told_and_costs_no_report(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    said = kept.keep(report(generation()), "comfyui", (), str(tmp_path / "state"), os.environ)
    assert "state" in said


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("1.5h", 5400), ("2d", 172800), ("", 0)])
def test_lengths_of_time(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["0", "soon", "-3", "1w", "9" * 12])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(UsageError, match="--max-age"):
        seconds(text, "--max-age")
