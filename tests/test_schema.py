"""docs/report.schema.json and docs/exit-codes.md against what the doctor really writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import recorded

from klein_doctor.diagnose import Request, diagnose
from klein_doctor.exits import Exit
from klein_doctor.model import Facts, Verdict
from klein_doctor.registry import catalogue
from klein_doctor.report.document import render_json

DOCS = Path(__file__).parent.parent / "docs"
SCHEMA: dict[str, Any] = json.loads((DOCS / "report.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@pytest.fixture(scope="module")
def here() -> dict[str, Any]:
    """The document of the machine this runs on."""
    document: dict[str, Any] = json.loads(render_json(diagnose(Request()), "public"))
    return document


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["required"]) == set(SCHEMA["properties"])


@pytest.mark.parametrize("name", recorded.names())
def test_golden_documents_keep_to_it(name: str) -> None:
    VALIDATOR.validate(json.loads(recorded.golden(name, "json").read_text("utf-8")))


def test_the_document_of_this_machine_keeps_to_it(here: dict[str, Any]) -> None:
    VALIDATOR.validate(here)
    assert list(here) == SCHEMA["required"]
    assert {finding["check"] for finding in here["findings"]} <= set(catalogue())
    assert here["facts"]["faults"] == {"known": []}
    assert "crashed" not in {finding["verdict"] for finding in here["findings"]}


def test_facts_and_words_are_those_of_the_model() -> None:
    assert tuple(SCHEMA["properties"]["facts"]["required"]) == Facts._fields
    verdicts = SCHEMA["$defs"]["finding"]["properties"]["verdict"]["enum"]
    assert sorted(verdicts) == sorted(verdict.value for verdict in Verdict)
    assert SCHEMA["properties"]["exit_code"]["enum"] == [code.value for code in Exit]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "klein-doctor/report/2"),
        (("created",), "yesterday"),
        (("seal",), "sha256:short"),
        (("exit_code",), 9),
        (("extra",), 1),
        (("facts", "nvml"), {"known": 1, "unknown": "both"}),
        (("facts", "nvml"), None),
        (("findings", 0, "verdict"), "maybe"),
        (("findings", 0, "id"), "Gpu Not Found"),
        (("findings", 0, "title"), ""),
    ],
)
def test_what_breaks_the_contract_is_refused(
    here: dict[str, Any], path: tuple[str | int, ...], value: object
) -> None:
    document = json.loads(json.dumps(here))
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert not VALIDATOR.is_valid(document)


def test_nothing_that_is_required_may_be_left_out(here: dict[str, Any]) -> None:
    for name in SCHEMA["required"]:
        assert not VALIDATOR.is_valid({k: v for k, v in here.items() if k != name})


def test_exit_codes_are_documented_one_by_one() -> None:
    text = (DOCS / "exit-codes.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", text, re.MULTILINE)
    assert rows == [(str(code.value), code.name) for code in Exit]
