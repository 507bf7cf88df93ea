"""Reports come back: intact, pasted, quoted, damaged, hostile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import recorded
from command import doctor, one_line
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.replay import MAX_BYTES, ReplayError, parse_report

NAME = "cu126-wheel-on-sm120"
GOOD = recorded.golden(NAME, "json").read_text("utf-8")
MARKDOWN = recorded.golden(NAME, "markdown").read_text("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        MARKDOWN,
        "Hello, this is my report:\n\n" + MARKDOWN + "\nThanks.\n",
        "".join(f"> {line}\n" for line in MARKDOWN.splitlines()),
        MARKDOWN.replace("\n", "\r\n"),
        "\ufeff" + GOOD,
    ],
    ids=["json", "markdown", "in-an-issue", "quoted", "crlf", "bom"],
)
def test_every_way_of_pasting(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report"
    path.write_bytes(text.encode("utf-8"))
    ran = doctor("--from", path, "--format", "json")
    assert (ran.code, ran.err) == (1, "")
    assert ran.document["findings"] == json.loads(GOOD)["findings"]
    assert doctor("--from", "-", "--format", "json", stdin=text.encode()).out == ran.out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (GOOD[:2000].encode(), "cut short"),
        (MARKDOWN[: len(MARKDOWN) // 2].encode(), "holds no klein-doctor report"),
        (b"x" * (MAX_BYTES + 1), "larger than any report"),
        (b"[" * 100_000, "holds no"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"schema": "klein-doctor/report/9"}', "its schema is"),
        (b'{"schema": "klein-doctor/report/1"}', "created"),
        (b'{"schema": NaN}', "not valid JSON"),
        (b'{"schema": 1' + b"0" * 5000 + b"}", "not valid JSON"),
        (bytes(range(256)), "holds no"),
        (b"null", "holds no"),
        (GOOD.replace('"known": "2.6.0+cu126"', '"known": 26').encode(), "facts.torch"),
        (GOOD.replace('"python_from"', '"python_form"').encode(), "target.python_from is missing"),
    ],
)
def test_bad_reports_are_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    output = tmp_path / "out.txt"
    ran = doctor("--from", path, "--output", output)
    assert ran.code == 2 and ran.out == "" and not output.exists()
    assert one_line(ran.err) and said in ran.err and "--from" in ran.err


def test_missing_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("bad\x01name")):
        ran = doctor("--from", path)
        assert ran.code == 2 and one_line(ran.err)


def test_a_broken_seal_is_told_and_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(GOOD.replace('"recipe_age_days": 1', '"recipe_age_days": 2'))
    ran = doctor("--from", path, "--format", "json")
    assert ran.code == 1 and one_line(ran.err) and "changed after it was made" in ran.err


def test_facts_of_an_older_report_may_be_fewer() -> None:
    data = json.loads(GOOD)
    del data["facts"]["torchaudio"]
    assert parse_report(json.dumps(data), "x").facts.torchaudio.reason == "not in this report"  # type: ignore[union-attr]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(ReplayError):
        parse_report(raw.decode("utf-8", "replace"), "x")


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.data(), JSONS)
def test_a_mutated_report_is_judged_or_refused(data: st.DataObject, value: object) -> None:
    """Any part replaced by anything: a ReplayError, or facts the checks can live with."""
    from klein_doctor import recipe as recipes
    from klein_doctor.diagnose import Request, build
    from klein_doctor.model import Verdict

    document = json.loads(GOOD)
    node, key = document["facts"], ""
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = data.draw(st.sampled_from(keys))
        if not node[key] or not isinstance(node[key], (dict, list)) or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = value
    try:
        found = parse_report(json.dumps(document), "x")
    except ReplayError:
        return
    report = build(found.facts, found.target, found.created, recipes.load(), Request())
    assert not [f for f in report.findings if f.verdict is Verdict.CRASHED]
    for kind in recorded.SUFFIXES:
        recorded.rendered(report, kind)
