"""Saved workflows in the shapes the editor and the API give them, and in no shape at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_facts import model_file

from klein_doctor.modelfiles import ModelFile, Workflow
from klein_doctor.privacy import Redactor
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.workflows import read_workflows

FP8 = "flux-2-klein-4b-fp8.safetensors"
BASE = "flux-2-klein-base-4b.safetensors"
FILES = (model_file("flux-2-klein-4b-fp8"), model_file("qwen3-4b"))
TOKEN = "hf_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAbC"


def saved(base: Path, data: object, place: str = "default/workflows/mine.json") -> Path:
    path = base / "user" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), "utf-8")
    return path


def read(
    base: Path, files: tuple[ModelFile, ...] = FILES, on_disk: tuple[str, ...] = ()
) -> tuple[Workflow, ...]:
    outside = Outside(base, {}, "linux", Redactor(("jane",), ("/home/jane",), ()))
    return read_workflows(outside, base, files, lambda category, name: name in on_disk)


def one(base: Path, data: object, **more: Any) -> Workflow:
    saved(base, data)
    (found,) = read(base, **more)
    return found


def node(number: int, kind: str, *values: object, mode: int = 0, **more: object) -> dict[str, Any]:
    return {"id": number, "type": kind, "mode": mode, "widgets_values": list(values), **more}


def linked(name: str, link: int) -> dict[str, Any]:
    return {"name": name, "type": "COMBO", "widget": {"name": name}, "link": link}


def part(transformer: str = FP8, steps: int = 4, cfg: float = 1) -> list[dict[str, Any]]:
    """The nodes of one text-to-image part, its transformer set from outside by link 9."""
    return [
        node(1, "UNETLoader", transformer, "default", inputs=[linked("unet_name", 9)]),
        node(2, "CLIPLoader", "qwen_3_4b.safetensors", "flux2", "default"),
        node(3, "VAELoader", "flux2-vae.safetensors"),
        node(4, "Flux2Scheduler", steps, 1024, 1024),
        node(5, "CFGGuider", cfg),
    ]


def subgraph(name: str, nodes: list[dict[str, Any]]) -> dict[str, Any]:
    entry = {"name": "unet_name", "type": "COMBO", "linkIds": [9]}
    return {"id": name, "name": name, "nodes": nodes, "inputs": [entry]}


def with_subgraphs(nodes: list[Any], *subgraphs: object) -> dict[str, Any]:
    return {"nodes": nodes, "definitions": {"subgraphs": list(subgraphs)}}


def transformers(found: Workflow) -> list[tuple[str, bool]]:
    return [(f.name.real, f.active) for f in found.files if f.category == "diffusion_models"]


# --- the editor's form -----------------------------------------------------------------------


def test_a_flat_workflow(tmp_path: Path) -> None:
    nodes = part()
    nodes[0]["inputs"] = []
    found = one(tmp_path, {"nodes": nodes}, on_disk=("flux2-vae.safetensors",))
    assert (found.form, found.encoder_types) == ("ui", ("flux2",))
    assert (found.steps, found.cfg_tenths) == ((4,), (10,))
    assert [f.found for f in found.files] == [True, True, True]
    assert [f.category for f in found.files] == ["diffusion_models", "text_encoders", "vae"]
    assert found.files[0][-2:] == ("flux2-klein-4b", "distilled")
    assert found.files[0].node == "UNETLoader #1"
    assert found.path.real.endswith("mine.json")


def test_muted_and_bypassed_nodes_are_not_active(tmp_path: Path) -> None:
    nodes = [
        node(1, "UNETLoader", FP8), node(2, "UNETLoader", BASE, mode=4),
        node(3, "CLIPLoader", "a", "sd3", mode=2), node(4, "Flux2Scheduler", 20, mode=4),
        node(5, "KSampler", 0, "fixed", 7, 3.5), node(6, "BasicScheduler", "simple", 9),
    ]  # fmt: skip
    found = one(tmp_path, {"nodes": nodes})
    assert transformers(found) == [(FP8, True), (BASE, False)]
    assert (found.encoder_types, found.steps, found.cfg_tenths) == ((), (7, 9), (35,))
    assert not found.files[1].found


def test_a_bypassed_subgraph_is_not_active(tmp_path: Path) -> None:
    data = with_subgraphs(
        [node(75, "id-base"), node(77, "id-distilled", mode=4)],
        subgraph("id-base", part(BASE, 20, 5)),
        subgraph("id-distilled", part()),
        subgraph("id-unused", part("unused-klein")),
    )
    found = one(tmp_path, data)
    assert transformers(found) == [(BASE, True), (FP8, False)]
    assert (found.steps, found.cfg_tenths) == ((20,), (50,))


def test_a_subgraph_is_active_where_one_way_to_it_is(tmp_path: Path) -> None:
    outer = [node(1, "inner")]
    data = with_subgraphs(
        [node(1, "off", mode=4), node(2, "on")],
        subgraph("off", outer), subgraph("on", outer), subgraph("inner", part()),
    )  # fmt: skip
    assert (FP8, True) in transformers(one(tmp_path, data))
    data["nodes"][1]["mode"] = 2
    assert transformers(one(tmp_path, data)) == [(FP8, False)]


@pytest.mark.parametrize(
    "more", [{}, {"properties": {"proxyWidgets": [["-1", "unet_name"]]}}], ids=["newer", "older"]
)
def test_what_an_instance_sets_holds(tmp_path: Path, more: dict[str, object]) -> None:
    data = with_subgraphs([node(1, "it", FP8, **more)], subgraph("it", part(BASE)))
    assert transformers(one(tmp_path, data)) == [(FP8, True)]
    data["nodes"][0]["widgets_values"] = []
    assert transformers(one(tmp_path, data)) == [(BASE, True)]


def test_what_an_instance_sets_reaches_through_two_levels(tmp_path: Path) -> None:
    inner = node(1, "inner", BASE, inputs=[linked("unet_name", 9)])
    data = with_subgraphs(
        [node(1, "outer", FP8)], subgraph("outer", [inner]), subgraph("inner", part("no-klein"))
    )
    assert transformers(one(tmp_path, data)) == [(FP8, True)]


def test_what_another_node_sets_is_not_known(tmp_path: Path) -> None:
    nodes = [*part(), node(6, "Flux2Scheduler", 30, inputs=[linked("steps", 12)])]
    found = one(tmp_path, {"nodes": nodes})
    assert transformers(found) == [] and found.steps == (4,)
    instance = node(1, "it", inputs=[linked("unet_name", 12)])
    assert transformers(one(tmp_path, with_subgraphs([instance], subgraph("it", part())))) == []


# --- the API's form --------------------------------------------------------------------------


def test_a_workflow_for_the_api(tmp_path: Path) -> None:
    data = {
        "1": {"class_type": "UnetLoaderGGUF", "inputs": {"unet_name": "klein-Q4.gguf"}},
        "2": {"class_type": "CLIPLoader", "inputs": {"clip_name": "q", "type": "lumina2"}},
        "3": {"class_type": "Flux2Scheduler", "inputs": {"steps": 4, "width": ["9", 0]}},
        "4": {"class_type": "CFGGuider", "inputs": {"cfg": ["9", 0]}},
        "extra": 5,
    }
    found = one(tmp_path, data)
    assert (found.form, found.encoder_types) == ("api", ("lumina2",))
    assert (found.steps, found.cfg_tenths) == ((4,), ())
    assert transformers(found) == [("klein-Q4.gguf", True)]


# --- which workflows, which files ------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "kept"),
    [
        (node(1, "EmptyFlux2LatentImage", 1024), True),
        (node(1, "CLIPLoader", "x", "flux2"), True),
        (node(1, "CheckpointLoaderSimple", "My-Klein.safetensors"), True),
        (node(1, "UNETLoader", "flux3-klein.safetensors"), False),
        (node(1, "UNETLoader", "FLUX-3-klein.safetensors"), False),
        (node(1, "SaveImage", "klein"), False),
        (node(1, "UNETLoader", "sd.safetensors", note="flux2"), False),
    ],
)
def test_only_workflows_of_flux2_are_kept(tmp_path: Path, made: dict[str, Any], kept: bool) -> None:
    saved(tmp_path, {"nodes": [made]})
    assert bool(read(tmp_path)) is kept


def test_names_fit_by_either_separator_and_in_their_category(tmp_path: Path) -> None:
    file = model_file("flux-2-klein-4b-fp8", name="sub/klein.safetensors")
    nodes = [node(1, "UNETLoader", r"sub\klein.safetensors"), node(2, "VAELoader", file.name.real)]
    found = one(tmp_path, {"nodes": nodes}, files=(file,))
    assert [f.found for f in found.files] == [True, False]
    hidden = file._replace(shadowed=True)
    assert not one(tmp_path, {"nodes": nodes}, files=(hidden,)).files[0].found


@pytest.mark.parametrize(
    "name", ["/etc/klein", r"C:\klein", "../klein", r"a\..\klein", "klein\n", "klein\0", "a/.."]
)
def test_the_disk_is_not_asked_for_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    nodes = [node(1, "UNETLoader", name), node(2, "Flux2Scheduler", 4)]
    (file,) = one(tmp_path, {"nodes": nodes}, on_disk=(name,)).files
    assert not file.found and file.name.real.isprintable()


def test_names_and_paths_are_shown_without_users_and_tokens(tmp_path: Path) -> None:
    name = f"/home/jane/klein-{TOKEN}.gguf"
    saved(tmp_path, {"nodes": [node(1, "UNETLoader", name)]}, f"jane/workflows/{TOKEN}.json")
    found = read(tmp_path)
    assert TOKEN not in repr(found)
    assert found[0].files[0].name.public == "~/klein-hf_(token).gguf"
    assert "/jane/" not in found[0].path.public


def test_folders_and_users_are_searched_within_bounds(tmp_path: Path) -> None:
    for number in range(60):
        saved(tmp_path, {"nodes": part()}, f"u{number % 3}/workflows/a/{number}.json")
    assert len(read(tmp_path)) == 40


# --- files nobody should write ---------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "", "klein", "[\"klein\"]", "{\"nodes\": \"klein\"}", "{\"nodes\": [null, 1, \"klein\"]}",
        "[" * 200_000 + "klein", "{\"klein\":" * 100_000, "\ufeff{\"klein\": 1}",
        "{\"flux2\": 1" + "0" * 9000 + "}",
    ],
)  # fmt: skip
def test_what_is_no_workflow_is_passed_over(tmp_path: Path, text: str) -> None:
    saved(tmp_path, text)
    assert read(tmp_path) == ()


def test_a_file_too_long_is_passed_over(tmp_path: Path) -> None:
    saved(tmp_path, {"nodes": part(), "pad": "x" * (2 << 20)})
    assert read(tmp_path) == ()


def test_subgraphs_that_hold_each_other_come_to_an_end(tmp_path: Path) -> None:
    many = [node(n, "b") for n in range(500)]
    data = with_subgraphs(
        [node(1, "a"), *part()], subgraph("a", [*many, node(1, "a")]), subgraph("b", many)
    )
    assert one(tmp_path, data).steps == (4,)


@pytest.mark.parametrize("value", [True, -1, 10**9, 1e300, "4", None, [4], {"a": 1}])
def test_numbers_out_of_reason_are_left_out(tmp_path: Path, value: object) -> None:
    nodes = [node(1, "Flux2Scheduler", value), node(2, "CFGGuider", value)]
    found = one(tmp_path, {"nodes": nodes})
    assert (found.steps, found.cfg_tenths) == ((), ())


def test_what_is_not_a_number_is_left_out(tmp_path: Path) -> None:
    nodes = '{"nodes": [{"type": "Flux2Scheduler", "widgets_values": [%s]}]}'
    for text in ("NaN", "Infinity", "-Infinity", "1e999"):
        assert one(tmp_path, nodes % text).steps == ()


def test_lists_are_cut(tmp_path: Path) -> None:
    nodes = [node(n, "CLIPLoader", f"klein-{n}" + "x" * 900, f"t{n}" * 90) for n in range(99)]
    nodes += [node(n, "Flux2Scheduler", n) for n in range(99)]
    found = one(tmp_path, {"nodes": nodes})
    assert (len(found.files), len(found.encoder_types), len(found.steps)) == (40, 20, 20)
    assert max(len(f.name.real) for f in found.files) == 300
    assert max(map(len, found.encoder_types)) == 40


_KEYS = ("nodes", "definitions", "subgraphs", "id", "type", "mode", "inputs", "name", "link",
         "linkIds", "widgets_values", "properties", "proxyWidgets", "class_type")  # fmt: skip
_WORDS = ("UNETLoader", "CLIPLoader", "Flux2Scheduler", "CFGGuider", "a", "klein", "-1", "COMBO")
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(_WORDS) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=6)
    ),
    max_leaves=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(st.sampled_from(_KEYS), _JSON),
    st.lists(st.dictionaries(st.sampled_from(_KEYS), _JSON), max_size=4),
    st.lists(st.dictionaries(st.sampled_from(_KEYS), _JSON), max_size=3),
)
def test_no_shape_of_json_raises(
    tmp_path: Path, data: dict[str, Any], nodes: list[Any], subgraphs: list[Any]
) -> None:
    flux2 = node(1, "EmptyFlux2LatentImage")
    for each in subgraphs:
        each["id"] = "a"
    made = {**data, "nodes": [flux2, *nodes], "definitions": {"subgraphs": subgraphs}}
    assert one(tmp_path, made).form == "ui"
    saved(tmp_path, {"klein": data, **dict(enumerate(nodes))})
    read(tmp_path)
