"""The workflow that is written for the files found here, judged by the project's own check."""

from __future__ import annotations

import json
from pathlib import Path

import around as a
import construct as c
import pytest
from acting import acted, tree, undone
from judging import RECIPE
from model_facts import healthy, model_file

from klein_doctor.checks.workflow import judge_workflow
from klein_doctor.fixes.place_workflow import FIXES
from klein_doctor.model import Facts, Finding, Harm, Known, Private, Repair, Verdict
from klein_doctor.modelfiles import Workflow
from klein_doctor.privacy import Redactor
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.workflows import read_workflows
from klein_doctor.steps import Case, Step, StepFailed

(FIX,) = FIXES
NAME = "klein-4b-text-to-image.json"


def facts(base: Path, **changes: object) -> Facts:
    found = a.comfyui(str(base))
    made = c.machine()._replace(comfyui=Known(found), models=Known(healthy(str(base))))
    return made._replace(workflows=Known(read(base)))._replace(**changes)


def read(base: Path) -> tuple[Workflow, ...]:
    outside = Outside(base, {}, "linux", Redactor((), (), ()))
    return read_workflows(outside, base, healthy(str(base)).files, lambda *_: False)


def planned(of: Facts, subject: Path | None = None) -> list[Step]:
    repair = Repair("place-workflow", "config", "ask", "")
    finding = Finding(
        "workflow-mismatch:1", "workflow-mismatch", "workflow", Verdict.WARN, "t", "",
        Private.plain(str(subject)) if subject else None, None, {}, None, (repair,),
        Harm.WRONG_IMAGE,
    )  # fmt: skip
    return list(FIX.plan(Case(((finding, repair),), of, RECIPE)))


def test_what_is_written_fits_and_is_written_once(tmp_path: Path) -> None:
    base = tmp_path / "ComfyUI"
    base.mkdir()
    (step,) = planned(facts(base))
    assert step.grade == "ask" and str(base) in step.title
    said, journal = acted(FIX, step, tmp_path)
    place = base / "user" / "default" / "workflows" / NAME
    assert str(place) in said
    (found,) = read(base)
    assert (found.form, found.steps, found.cfg_tenths) == ("ui", (4,), (10,))
    assert found.encoder_types == ("flux2",)
    assert [file.found for file in found.files] == [True] * 3
    outcome = judge_workflow(found, {})
    assert outcome.verdict is Verdict.PASS, outcome
    assert planned(facts(base)) == []
    before = tree(base)
    assert "already" in acted(FIX, step, tmp_path / "again")[0]
    assert tree(base) == before
    assert undone(journal) == []
    assert list(base.iterdir()) == []


def test_links_and_slots_agree(tmp_path: Path) -> None:
    base = tmp_path / "ComfyUI"
    base.mkdir()
    (step,) = planned(facts(base))
    acted(FIX, step, tmp_path)
    graph = json.loads(Path(step.arguments["path"]).read_text("utf-8"))
    nodes = {node["id"]: node for node in graph["nodes"]}
    for number, source, out, target, slot, kind in graph["links"]:
        given, taken = nodes[source]["outputs"][out], nodes[target]["inputs"][slot]
        assert number in given["links"] and taken["link"] == number
        assert given["type"] == taken["type"] == kind
    linked = [each["link"] for node in graph["nodes"] for each in node["inputs"]]
    assert sorted(linked) == [link[0] for link in graph["links"]]
    assert (graph["last_node_id"], graph["version"]) == (len(nodes), 0.4)


def test_another_of_that_name_is_kept(tmp_path: Path) -> None:
    base = tmp_path / "ComfyUI"
    place = base / "user" / "default" / "workflows" / NAME
    place.parent.mkdir(parents=True)
    place.write_text("{}")
    (step,) = planned(facts(base))
    said, journal = acted(FIX, step, tmp_path, sealed=False)
    assert place.read_text() == "{}" and "image-2.json" in said
    assert undone(journal) == []
    assert tree(base) == {f"user/default/workflows/{NAME}": b"{}"}


def test_one_that_the_user_changed_stays(tmp_path: Path) -> None:
    base = tmp_path / "ComfyUI"
    base.mkdir()
    (step,) = planned(facts(base))
    _, journal = acted(FIX, step, tmp_path)
    Path(step.arguments["path"]).write_text("mine")
    (problem,) = undone(journal)
    assert "changed since" in problem
    assert Path(step.arguments["path"]).read_text() == "mine"


def test_without_all_three_parts_nothing_is_planned(tmp_path: Path) -> None:
    models = healthy(str(tmp_path))
    for part in models.files:
        less = models._replace(files=tuple(f for f in models.files if f is not part))
        assert planned(facts(tmp_path, models=Known(less))) == []


def test_a_file_below_a_folder_keeps_its_relative_name(tmp_path: Path) -> None:
    models = healthy(str(tmp_path))
    files = tuple(
        f._replace(name=Private.plain("flux\\" + f.name.real)) if f.role == "vae" else f
        for f in models.files
    )
    (step,) = planned(facts(tmp_path, models=Known(models._replace(files=files))))
    assert step.arguments["files"][2].startswith("flux\\")
    acted(FIX, step, tmp_path)
    text = Path(step.arguments["path"]).read_text("utf-8")
    assert "flux\\\\" in text and model_file("qwen3-4b").name.real in text


def renamed(base: Path) -> Facts:
    """As it is when the VAE has another name by now than the workflow says."""
    models = healthy(str(base))
    files = tuple(
        f._replace(name=Private.plain("new.safetensors")) if f.role == "vae" else f
        for f in models.files
    )
    return facts(base, models=Known(models._replace(files=files)))


def test_the_doctors_own_is_written_anew_and_clears_its_finding(tmp_path: Path) -> None:
    base = tmp_path / "ComfyUI"
    base.mkdir()
    (step,) = planned(facts(base))
    acted(FIX, step, tmp_path)
    place = Path(step.arguments["path"])
    before = place.read_bytes()
    (again,) = planned(renamed(base), place)
    assert again.clears == ("workflow-mismatch:1",) and again.paths[0].real == str(place)
    _, journal = acted(FIX, again, tmp_path / "again")
    assert list(place.parent.iterdir()) == [place]
    assert "new.safetensors" in place.read_text("utf-8")
    assert undone(journal) == []
    assert place.read_bytes() == before


def test_one_of_the_users_own_stays_and_so_does_its_finding(tmp_path: Path) -> None:
    base = tmp_path / "ComfyUI"
    base.mkdir()
    (step,) = planned(facts(base), base / "user/default/workflows/mine.json")
    assert step.clears == () and "stay as they are" in step.title
    acted(FIX, step, tmp_path)
    place = Path(step.arguments["path"])
    place.write_bytes(place.read_bytes() + b"\n")  # saved by somebody
    (again,) = planned(renamed(base), place)
    with pytest.raises(StepFailed, match="is yours"):
        acted(FIX, again, tmp_path / "again")
    assert place.read_bytes().endswith(b"\n\n")
