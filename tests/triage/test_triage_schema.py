"""docs/triage.schema.json against what triage really writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cases
import jsonschema
import pytest
from command import doctor
from graphs import drawn, graph

from klein_doctor.recipe_messages import CERTAINTIES
from klein_doctor.report.triage import SCHEMA as NAME

DOCS = Path(__file__).parent.parent.parent / "docs"
SCHEMA: dict[str, Any] = json.loads((DOCS / "triage.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
MATCH = SCHEMA["properties"]["matches"]["items"]
TEXTS = ["black image", "out of memory", "lorem ipsum", "", "very slow\n" * 100,
         "\n".join(line for case in cases.load() for line in case.symptom)]  # fmt: skip


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema"]["const"] == SCHEMA["title"] == NAME
    assert tuple(MATCH["properties"]["certainty"]["enum"]) == CERTAINTIES
    for part in (SCHEMA, MATCH):
        assert part["required"] == list(part["properties"])


@pytest.mark.parametrize("text", TEXTS)
def test_documents_keep_to_it(text: str) -> None:
    ran = doctor("triage", "-", "--format", "json", stdin=text.encode())
    VALIDATOR.validate(ran.document)
    assert list(ran.document) == SCHEMA["required"]
    assert all(list(match) == MATCH["required"] for match in ran.document["matches"])
    assert ran.code == (0 if ran.document["matches"] else 1)


def test_documents_of_pictures_keep_to_it(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(drawn(graph(kind="flux", unet="flux2-dev.safetensors")))
    document = doctor("triage", tmp_path / "x.png", "--format", "json").document
    VALIDATOR.validate(document)
    assert len(document["matches"]) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("check", "Encoder Wrong"), ("certainty", "sure"), ("cause", ""), ("line", None), ("rank", 1)],
)
def test_what_breaks_the_contract_is_refused(name: str, value: object) -> None:
    document = doctor("triage", "black image", "--format", "json").document
    VALIDATOR.validate(document)
    document["matches"][0][name] = value
    assert not VALIDATOR.is_valid(document)
