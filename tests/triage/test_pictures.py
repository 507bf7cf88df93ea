"""Pictures and workflow files: what speaks against the workflow that drew them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import made
import pytest
from command import Ran, doctor
from graphs import BASE, DISTILLED, REFUSED, chunk, drawn, graph, png, text_chunk
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.triage.picture import workflows_in


def asked(tmp_path: Path, data: bytes, name: str = "picture.png") -> Ran:
    path = tmp_path / name
    path.write_bytes(data)
    return doctor("triage", "--format", "json", path)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "base settings with distilled weights": (graph(steps=20, cfg=5.0), "workflow-mismatch"),
    "distilled settings with base weights": (graph(unet=BASE), "workflow-mismatch"),
    "another type than flux2": (graph(kind="flux"), "workflow-mismatch"),
    "the 9B": (graph(unet=REFUSED), "license-non-commercial"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("way", ["picture", "file", "stdin"])
def test_a_wrong_workflow(tmp_path: Path, name: str, way: str) -> None:
    workflow, check = WRONG[name]
    if way == "picture":
        ran = asked(tmp_path, drawn(workflow))
    elif way == "file":
        ran = asked(tmp_path, json.dumps(workflow, indent=2).encode(), "workflow.json")
    else:
        ran = doctor("triage", "--format", "json", "-", stdin=json.dumps(workflow).encode())
    assert ran.code == 0, ran
    (match, *_) = ran.document["matches"]
    assert (match["check"], match["certainty"]) == (check, "high")


def test_a_right_workflow_says_so(tmp_path: Path) -> None:
    ran = asked(tmp_path, drawn(graph()))
    assert (ran.code, ran.document["matches"]) == (1, [])
    assert "nothing speaks against the workflow" in ran.err
    ran = asked(tmp_path, drawn(graph(unet=BASE, steps=20, cfg=5.0)))
    assert (ran.code, ran.document["matches"]) == (1, [])


@pytest.mark.parametrize("form", ["tEXt", "zTXt", "iTXt", "iTXt packed"])
def test_every_form_of_text(tmp_path: Path, form: str) -> None:
    ran = asked(tmp_path, drawn(graph(kind="flux"), form))
    assert [match["check"] for match in ran.document["matches"]] == ["workflow-mismatch"]


def test_what_ran_counts_before_what_was_drawn_in_the_editor(tmp_path: Path) -> None:
    ran_graph = text_chunk("prompt", json.dumps(graph(kind="flux")))
    editor = text_chunk("workflow", json.dumps(graph()))
    assert asked(tmp_path, png(editor, ran_graph)).document["matches"]


def test_a_workflow_file_is_read_as_it_is(tmp_path: Path) -> None:
    """Escapes in its prompts stay, and one line is no log line however long it is."""
    prompt = 'he said "no"\nand \\went\\ away, ' + "very " * 3000
    workflow = json.dumps(graph(kind="flux", prompt=prompt))
    ran = asked(tmp_path, workflow.encode(), "workflow.json")
    assert [match["check"] for match in ran.document["matches"]] == ["workflow-mismatch"]
    ran = asked(tmp_path, b"\xef\xbb\xbf\r\n" + workflow.encode(), "workflow.json")
    assert [match["check"] for match in ran.document["matches"]] == ["workflow-mismatch"]


def test_other_models_workflows_and_plain_pictures(tmp_path: Path) -> None:
    other = {"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl.ckpt"}}}
    ran = asked(tmp_path, drawn(other))
    assert ran.code == 1 and "does not use FLUX.2" in ran.err
    ran = asked(tmp_path, png())
    assert ran.code == 1 and "holds no workflow" in ran.err
    ran = asked(tmp_path, png(text_chunk("parameters", "a cat, steps: 20")))
    assert ran.code == 1 and "holds no workflow" in ran.err


def test_pictures_are_known_by_content(tmp_path: Path) -> None:
    assert asked(tmp_path, drawn(graph(kind="flux")), "log.txt").document["matches"]
    jpeg = b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(range(256)) * 40
    ran = asked(tmp_path, jpeg, "x.jpg")
    assert (ran.code, ran.document["matches"]) == (1, [])


@pytest.mark.parametrize(
    "data",
    [
        drawn(graph(kind="flux"))[:60],
        png(text_chunk("prompt", "{")),
        png(text_chunk("prompt", "[" * 100_000)),
        png(chunk(b"zTXt", b"prompt\0\0not zlib")),
        png(chunk(b"iTXt", b"prompt\0")),
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 0xFFFFFFFF, b"tEXt") + b"prompt\0x",
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 0, b"tEXt") * 20_000,
    ],
)
def test_broken_pictures(tmp_path: Path, data: bytes) -> None:
    ran = asked(tmp_path, data)
    assert ran.code == 1 and "Traceback" not in ran.err


def test_a_text_that_inflates_without_end_is_cut() -> None:
    bomb = png(text_chunk("prompt", "x" * (64 << 20), "zTXt"))
    assert len(bomb) < 1 << 20
    assert [len(text) for text in workflows_in(bomb)] == [4 << 20]


@settings(max_examples=70, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_after_the_signature(data: bytes, at: int) -> None:
    workflows_in(b"\x89PNG\r\n\x1a\n" + data)
    whole = drawn(graph())
    workflows_in(whole[:at] + data + whole[at:])


def test_names_in_a_workflow_are_shown_without_tokens_and_folders(tmp_path: Path) -> None:
    name = "/home/grace/hf_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789/flux-2-klein-9b.safetensors"
    ran = asked(tmp_path, drawn(graph(unet=name, kind="flux")))
    assert ran.code == 0
    assert "grace" not in ran.out and "AbCdEfGh" not in ran.out
    assert DISTILLED in ran.out


# --- pixels ----------------------------------------------------------------------------------

LOOKS = {
    "black": (made.one_colour(0), "image-blank", "high"),
    "noise": (made.noise(400, 1), "image-noise", "high"),
    "patches of 8": (made.blobs(128), "image-noise", "high"),
    "patches of 16": (made.blobs(64), "image-noise", "low"),
    "nearly no contrast": (made.faded(made.landscape(), 0.2), "image-washed-out", "medium"),
    "a third of the contrast": (made.faded(made.shapes(), 0.35), "image-washed-out", "low"),
}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("name", LOOKS)
def test_pixels_say_what_is_wrong_and_how_surely(tmp_path: Path, name: str, form: str) -> None:
    picture, check, certainty = LOOKS[name]
    ran = asked(tmp_path, made.data_of(picture, form), "picture.bin")
    first, *others = ran.document["matches"]
    assert ran.code == 0 and first["check"] == check
    # A lossy format takes the last bit of certainty, never adds any.
    grades = ["high", "medium", "low"]
    assert first["certainty"] in (certainty, grades[min(2, grades.index(certainty) + 1)])
    assert {match["certainty"] for match in others} == {"low"}


@pytest.mark.parametrize("name", made.GOOD)
def test_a_good_picture_is_said_to_look_fine(tmp_path: Path, name: str) -> None:
    path = made.png(made.GOOD[name](), tmp_path / "picture.png")
    ran = doctor("triage", path)
    assert ran.code == 1 and "looks fine" in ran.out and "cannot be told" in ran.out
    assert doctor("triage", "--format", "json", path).document["matches"] == []


def test_a_wrong_workflow_goes_before_what_it_drew(tmp_path: Path) -> None:
    noise = made.data_of(made.noise(400, 1))
    head = 8 + 25  # the signature and IHDR
    text = text_chunk("prompt", json.dumps(graph(kind="flux")))
    ran = asked(tmp_path, noise[:head] + text + noise[head:])
    assert [m["check"] for m in ran.document["matches"]][:2] == ["workflow-mismatch", "image-noise"]
    checks = [match["check"] for match in ran.document["matches"]]
    assert len(checks) == len(set(checks))


def test_what_cannot_be_looked_at_says_why(tmp_path: Path) -> None:
    whole = made.data_of(made.landscape(1, 512))
    for data, says in (
        (whole[: len(whole) // 2], "cut short"),
        (made.bomb(), "far too many pixels"),
        (made.data_of(made.noise(64, 1)), "too small"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "cannot be looked at"),
    ):
        path = tmp_path / "picture"
        path.write_bytes(data)
        ran = doctor("triage", path)
        assert ran.code == 1 and says in ran.out and "Traceback" not in ran.err
