"""What changed since all was well: the command on a machine, two reports, and what is kept."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import recorded
from command import doctor

from klein_doctor.changes import SECTIONS, Change, Entry, State, changes, state_of
from klein_doctor.history import seen_of
from klein_doctor.installation import Installed, Packages
from klein_doctor.model import Facts, Known, Private, Report, Unknown
from klein_doctor.past import Seen, recall, recall_healthy, remember
from klein_doctor.report.history import SCHEMA

HEALTHY = "healthy-rtx5070-linux-cu130"


@pytest.fixture
def well() -> Report:
    return recorded.report(HEALTHY)


def with_torch(facts: Facts, version: str, cuda: str | None, *more: Installed) -> Facts:
    """The machine with another torch, and with packages beside those it has."""
    torch, packages = facts.torch, facts.packages
    assert isinstance(torch, Known) and isinstance(packages, Known)
    names = {item.name for item in more}
    kept = tuple(item for item in packages.value.listed if item.name not in names)
    return facts._replace(
        torch=Known(torch.value._replace(version=Known(version), cuda=Known(cuda))),
        packages=Known(Packages(packages.value.total, (*kept, *more))),
    )


XFORMERS = Installed("xformers", "0.0.28", ("torch==2.4.1",), 0)


def between(before: Facts, after: Facts) -> tuple[Change, ...]:
    return changes(state_of(before), state_of(after))


def test_nothing_changed_where_nothing_did(well: Report) -> None:
    assert between(well.facts, well.facts) == ()


def test_torch_comes_first_with_the_package_that_brought_it(well: Report) -> None:
    after = with_torch(well.facts, "2.4.1+cpu", None, XFORMERS)
    first, *rest = between(well.facts, after)
    assert (first.section, first.before, first.after) == ("torch", "2.14.1+cu130", "2.4.1+cpu")
    assert "xformers 0.0.28, new since then, asks for torch==2.4.1" in first.because
    assert ("packages", "xformers") in {(c.section, c.what.local) for c in rest}


def test_a_package_that_any_torch_pleases_is_not_blamed(well: Report) -> None:
    harmless = Installed("accelerate", "9.9", ("torch>=2.0",), 0)
    (first, *_) = between(well.facts, with_torch(well.facts, "2.4.1+cpu", None, harmless))
    assert not first.because


def test_a_package_that_was_there_all_along_is_not_blamed(well: Report) -> None:
    before = with_torch(well.facts, "2.14.1+cu130", "13.0", XFORMERS)
    (only,) = between(before, with_torch(well.facts, "2.4.1+cpu", None, XFORMERS))
    assert not only.because


def test_what_could_not_be_read_has_not_changed(well: Report) -> None:
    unread = well.facts._replace(torch=Unknown("x"), nvml=Unknown("x"), comfyui=Unknown("x"))
    assert not {c.section for c in between(well.facts, unread)} & {"torch", "driver", "comfyui"}


def seen(report: Report, minute: int, *, healthy: bool = True) -> Seen:
    created = f"2026-11-24T07:{minute:02}:00Z"
    return Seen(created, healthy, False, 0 if healthy else 1, state_of(report.facts))


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        (("flux2 VAE; digest not computed", "unchecked"), ("digest none we know", "mismatch"), 0),
        (("flux2 VAE; digest not computed", "unchecked"), ("flux2-vae", "verified"), 0),
        (("flux2-vae", "verified"), ("flux2 VAE; digest not computed", "unchecked"), 0),
        (("flux2-vae", "verified"), ("digest none we know", "mismatch"), 1),
        (("a", "unchecked"), ("b", "unchecked"), 1),
    ],
)
def test_to_compute_a_digest_changes_no_file(
    well: Report, was: tuple[str, str], now: tuple[str, str], told: int
) -> None:
    def with_file(says: str, digest: str, size: int = 336213556) -> State:
        name = Private.plain("vae/flux2-vae.safetensors")
        return State((Entry("files", name, f"{says}, {size} bytes, {digest}"),), ())

    assert len(changes(with_file(*was), with_file(*now))) == told
    assert len(changes(with_file(*was), with_file(*now, size=1))) == 1


def test_an_assumed_card_is_no_change(tmp_path: Path) -> None:
    state = tmp_path / "state"
    doctor("--state-dir", state)
    ran = doctor("history", "--state-dir", state, "--assume", "RTX 5070,driver=580")
    assert ran.code == 0 and "Nothing changed" in ran.out


def test_what_is_kept_comes_back_and_is_the_owners_alone(well: Report, tmp_path: Path) -> None:
    remember(tmp_path, well.target, seen(well, 1))
    (back,) = recall(tmp_path, well.target)
    assert changes(back.state, state_of(well.facts)) == ()
    (path,) = (tmp_path / "history").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    other = well.target._replace(comfyui=well.target.python)
    assert recall(tmp_path, other) == ()


def test_the_same_again_is_kept_once(well: Report, tmp_path: Path) -> None:
    for minute in range(5):
        remember(tmp_path, well.target, seen(well, minute))
    assert [each.created for each in recall(tmp_path, well.target)] == ["2026-11-24T07:04:00Z"]


def test_the_last_healthy_one_outlives_the_many(well: Report, tmp_path: Path) -> None:
    remember(tmp_path, well.target, seen(well, 0))
    for number in range(60):
        facts = with_torch(well.facts, f"2.4.{number}", None)
        worse = seen(well, 1, healthy=False)._replace(
            created=f"2026-11-25T07:{number:02}:00Z", state=state_of(facts)
        )
        remember(tmp_path, well.target, worse)
    assert len(list((tmp_path / "history").iterdir())) <= 42
    back = recall_healthy(tmp_path, well.target)
    assert back is not None and back.created == "2026-11-24T07:00:00Z"


def test_two_runs_in_the_same_second_leave_one_snapshot(well: Report, tmp_path: Path) -> None:
    for _ in range(2):
        remember(tmp_path, well.target, seen(well, 1))
    assert len(recall(tmp_path, well.target)) == 1
    assert recall_healthy(tmp_path, well.target) is not None


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "null", '{"schema": "klein-doctor/snapshot/1"}', "[" * 100_000]
)
def test_a_damaged_file_is_passed_over(well: Report, tmp_path: Path, damage: str) -> None:
    remember(tmp_path, well.target, seen(well, 1))
    (path,) = (tmp_path / "history").iterdir()
    path.write_text(damage, encoding="utf-8")
    assert recall(tmp_path, well.target) == () and recall_healthy(tmp_path, well.target) is None
    remember(tmp_path, well.target, seen(well, 2))
    assert len(recall(tmp_path, well.target)) == 1


def keeps_to_the_schema(data: dict[str, Any]) -> None:
    docs = Path(__file__).parent.parent / "docs"
    schema = json.loads((docs / "history.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(data, schema)
    assert list(data) == schema["required"] and data["schema"] == SCHEMA
    sections = schema["properties"]["changes"]["items"]["properties"]["section"]["enum"]
    assert sections == list(SECTIONS)


def saved(name: str, created: str, folder: Path) -> Path:
    data: dict[str, Any] = json.loads(recorded.golden(name, "json").read_text(encoding="utf-8"))
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**data, "created": created}), encoding="utf-8")
    return path


def test_two_reports_are_compared_whatever_their_order(tmp_path: Path) -> None:
    old = saved(HEALTHY, "2026-11-20T00:00:00Z", tmp_path)
    new = saved("cu126-wheel-on-sm120", "2026-11-21T00:00:00Z", tmp_path)
    ran = doctor("history", new, old)
    assert ran.code == 0 and "torch: 2.14.1+cu130 -> 2.6.0+cu126" in ran.out
    data = doctor("history", old, new, "--format", "json").document
    keeps_to_the_schema(data)
    assert data["since_healthy"] is True and data["now_healthy"] is False
    assert data["changes"][0]["after"] == "2.6.0+cu126"


def test_a_report_that_is_not_there_is_named(tmp_path: Path) -> None:
    ran = doctor("history", tmp_path / "gone.json", tmp_path / "lost.json")
    assert ran.code == 2 and f"{tmp_path}/gone.json: cannot be read" in ran.err
    assert "--from" not in ran.err


def test_one_report_is_wrong_usage(tmp_path: Path) -> None:
    ran = doctor("history", saved(HEALTHY, "2026-11-20T00:00:00Z", tmp_path))
    assert ran.code == 2 and "two reports" in ran.err


def test_a_machine_remembers_its_diagnoses(tmp_path: Path) -> None:
    state = tmp_path / "state"
    ran = doctor("history", "--state-dir", state)
    assert ran.code == 3 and "Nothing to compare with" in ran.out
    doctor("--state-dir", state)
    ran = doctor("history", "--state-dir", state)
    assert ran.code == 0 and "Nothing changed" in ran.out
    keeps_to_the_schema(doctor("history", "--state-dir", state, "--format", "json").document)
    assert all(len(line) <= 80 for line in ran.out.splitlines())


@pytest.mark.parametrize("verdict", ["verified", "ran as recorded", None])
def test_only_a_verified_picture_counts_as_one(well: Report, verdict: str | None) -> None:
    record = {"verdict": verdict} if verdict is not None else None
    assert seen_of(well._replace(record=record)).verified is (verdict == "verified")


def test_a_fix_of_a_selection_is_not_remembered(tmp_path: Path) -> None:
    doctor("--fix", "--select", "gpu-not-found", "--state-dir", tmp_path / "state")
    assert not (tmp_path / "state" / "history").exists()


@pytest.mark.parametrize(
    "options", [("--select", "gpu-not-found"), ("--assume", "RTX 5070,driver=580")]
)
def test_what_was_not_wholly_seen_is_not_remembered(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    doctor("--state-dir", tmp_path / "state", *options)
    assert not (tmp_path / "state" / "history").exists()


def test_a_state_folder_that_takes_nothing_spoils_no_diagnosis(tmp_path: Path) -> None:
    place = tmp_path / "state"
    place.write_text("a file where the folder should be", encoding="utf-8")
    ran = doctor("--state-dir", place, "--format", "json")
    assert ran.whole
