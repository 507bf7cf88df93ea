"""Every row of the known messages explains its own example, and names what there is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from asking import asked
from vocabulary import ANNOUNCED

import klein_doctor.triage
from klein_doctor.recipe_messages import MessageRow, SymptomRow, load_known
from klein_doctor.registry import catalogue
from klein_doctor.rows import RECIPES, read
from klein_doctor.triage import memory, refusals
from klein_doctor.triage.readers import READERS
from klein_doctor.triage.search import compiled, seen
from klein_doctor.triage.text import excerpt_of
from klein_doctor.triage.values import Say

KNOWN = load_known()
NAMES = {*catalogue(), *ANNOUNCED}
# Rows whose example another row knows better: the kernel that is named tells more.
BETTER = {"comfyui-sage-fallback": "sage-kernel"}


def said(row: MessageRow, text: str) -> list[tuple[str, ...]]:
    """What a row says of a text at each place it recognises."""
    found = []
    for item in seen(excerpt_of([text.encode()]), (row,)):
        reader = READERS.get(row.reader)
        say = (reader(item) if reader else None) or Say(row.checks)
        found.append(say.checks)
    return found


@pytest.mark.parametrize("row", KNOWN.messages, ids=lambda row: row.id)
def test_the_example_of_a_message_leads_to_its_check(row: MessageRow) -> None:
    spoken = [checks for checks in said(row, row.example) if checks]
    assert spoken, "the row does not speak of its own example"
    found = asked(row.example)
    if row.id in BETTER:
        assert found[0].row == BETTER[row.id]
        assert found[0].check in row.checks
    else:
        assert found[0].check == spoken[0][0], [(guess.check, guess.row) for guess in found]


@pytest.mark.parametrize("row", KNOWN.symptoms, ids=lambda row: row.id)
def test_the_example_of_a_symptom_leads_to_its_check(row: SymptomRow) -> None:
    found = asked(row.example)
    assert found and found[0].check == row.checks[0], [(g.check, g.row) for g in found]
    assert row.id in {guess.row for guess in found}


@pytest.mark.parametrize("row", (*KNOWN.messages, *KNOWN.symptoms), ids=lambda row: row.id)
def test_a_row_names_checks_there_are_and_says_what_to_do(
    row: MessageRow | SymptomRow,
) -> None:
    assert row.checks and set(row.checks) <= NAMES
    assert len(set(row.checks)) == len(row.checks)
    for text in (row.cause, row.do):
        assert text == text.strip() and text.endswith((".", ")", "?")), text
        assert "!" not in text
    assert row.as_of


def test_sources_are_named_and_used() -> None:
    for path in (*sorted(RECIPES.glob("messages_*.toml")), RECIPES / "symptoms.toml",
                 RECIPES / "widths.toml"):  # fmt: skip
        data = read(path)
        named = set(data["sources"])
        used = {
            row["source"]
            for kind in ("message", "symptom", "encoder", "transformer")
            for row in data.get(kind, ())
        }
        assert used <= named, path.name
        assert named <= used, path.name


def test_every_reader_is_asked_by_a_row_and_every_row_asks_one_there_is() -> None:
    wanted = {row.reader for row in KNOWN.messages if row.reader}
    assert wanted == set(READERS)


def test_readers_name_checks_there_are() -> None:
    named = {*refusals._MISSING.values(), *(check for check, _ in memory._CODES.values())}
    for path in sorted(Path(klein_doctor.triage.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in ("Say", "Match") and node.args:
                    named |= {
                        part.value
                        for part in ast.walk(node.args[0])
                        if isinstance(part, ast.Constant) and isinstance(part.value, str)
                    }
    assert len(named) > 30
    assert named <= NAMES


def test_the_announced_names_are_not_there_yet() -> None:
    assert not ANNOUNCED & set(catalogue())


def test_patterns_are_patterns_and_words_are_lower_case() -> None:
    ids = [row.id for row in (*KNOWN.messages, *KNOWN.symptoms)]
    assert len(set(ids)) == len(ids)
    for row in KNOWN.symptoms:
        assert compiled(row.pattern).groups == 0, row.id
    for message in KNOWN.messages:
        words = [word for word in message.any if word.encode() != word.lower().encode()]
        assert not words, message.id
