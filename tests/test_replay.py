"""Reports come back: intact, pasted, quoted, damaged, hostile."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import recorded
from command import FORMATS, doctor, one_line
from hypothesis import example, given, settings
from hypothesis import strategies as st

from klein_doctor.replay import MAX_BYTES, ReplayError, parse_report

NAME = "cu126-wheel-on-sm120"
GOOD = recorded.golden(NAME, "json").read_text("utf-8")
MARKDOWN = recorded.golden(NAME, "markdown").read_text("utf-8")


@pytest.mark.parametrize(
    "content",
    [
        GOOD.encode(),
        MARKDOWN.encode(),
        f"Hello, this is my report:\n\n{MARKDOWN}\nThanks.\n".encode(),
        "".join(f"> {line}\n" for line in MARKDOWN.splitlines()).encode(),
        "".join(f"> > {line}\n" for line in MARKDOWN.splitlines()).encode(),
        "".join(f">{line}\n" for line in MARKDOWN.splitlines()).encode(),
        MARKDOWN.replace("\n", "\r\n").encode(),
        GOOD.replace("\n", "\r\n").encode(),
        b"\n\n  " + GOOD.encode() + b"\n\n",
        GOOD.encode("utf-8-sig"),
        MARKDOWN.encode("utf-8-sig"),
        GOOD.encode("utf-16"),
        MARKDOWN.encode("utf-16"),
        f"```json\n{{}}\n```\n{MARKDOWN}".encode(),
    ],
    ids=["json", "markdown", "in-an-issue", "quoted", "quoted-twice", "quoted-tightly",
         "markdown-crlf", "json-crlf", "blank-lines", "json-bom", "markdown-bom",
         "json-powershell", "markdown-powershell", "second-block"],
)  # fmt: skip
def test_every_way_of_pasting(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "report"
    path.write_bytes(content)
    ran = doctor("--from", path, "--format", "json")
    assert (ran.code, ran.err) == (1, "")
    assert ran.document["findings"] == json.loads(GOOD)["findings"]
    assert doctor("--from", "-", "--format", "json", stdin=content).out == ran.out


@pytest.mark.parametrize("kind", FORMATS)
def test_a_report_of_this_machine_comes_back_the_same(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "report"
    first = doctor("--format", "json", "--output", path)
    again = doctor("--from", path, "--format", kind)
    assert (again.code, again.err) == (first.code, "")
    if kind == "json":
        assert again.out == path.read_text()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"\xef\xbb\xbf", "holds no"),
        (b"\xff\xfe", "holds no"),
        (GOOD[:2000].encode(), "cut short"),
        (GOOD.encode("utf-16")[:2001], "cut short"),
        (MARKDOWN[: len(MARKDOWN) // 2].encode(), "holds no klein-doctor report"),
        (b"x" * (MAX_BYTES + 1), "larger than any report"),
        (GOOD.encode() + b" " * MAX_BYTES, "larger than any report"),
        (b"[" * 100_000, "holds no"),
        (b"> " * 100_000, "holds no"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
        (b"```json\n" + b'{"klein-doctor/report/1":' * 100_000 + b"\n```", "nested too deeply"),
        (b'{"schema": "klein-doctor/report/9"}', "its schema is"),
        (b'{"schema": ["klein-doctor/report/1"]}', "its schema is"),
        (b'{"schema": "klein-doctor/report/1"}', "created"),
        (b'{"schema": NaN}', "not valid JSON"),
        (b'{"schema": -Infinity}', "not valid JSON"),
        (b'{"schema": 1' + b"0" * 5000 + b"}", "not valid JSON"),
        (bytes(range(256)), "holds no"),
        (os.urandom(4096), "--from"),
        (b"null", "holds no"),
        (b"{}", "its schema is"),
        (b"{}{}", "not valid JSON"),
        (GOOD.replace('"known": "2.6.0+cu126"', '"known": 26').encode(), "facts.torch"),
        (GOOD.replace('"python_from"', '"python_form"').encode(), "target.python_from is missing"),
    ],
)  # fmt: skip
def test_bad_reports_are_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    output = tmp_path / "out.txt"
    ran = doctor("--from", path, "--output", output)
    assert ran.code == 2 and ran.out == "" and not output.exists()
    assert one_line(ran.err) and said in ran.err and "--from" in ran.err


def test_missing_folders_and_other_places(tmp_path: Path) -> None:
    places = [tmp_path, tmp_path / "none", Path("bad\x01name"), Path("x" * 5000)]
    if sys.platform == "linux":
        places += [Path("/dev/null"), Path("/dev/zero"), Path("/proc/self/mem")]
    for place in places:
        ran = doctor("--from", place)
        assert ran.code == 2 and ran.out == "" and one_line(ran.err), place


def test_a_broken_seal_is_told_and_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    data = json.loads(GOOD)
    data["doctor"]["version"] = "0.0.0"
    path.write_text(json.dumps(data))
    for kind in FORMATS:
        ran = doctor("--from", path, "--format", kind)
        assert ran.code == 1 and ran.out
        assert one_line(ran.err) and "changed after it was made" in ran.err
    del data["seal"]
    path.write_text(json.dumps(data))
    assert "changed after it was made" in doctor("--from", path).err


def test_facts_of_an_older_report_may_be_fewer() -> None:
    data = json.loads(GOOD)
    del data["facts"]["torchaudio"]
    assert parse_report(json.dumps(data), "x").facts.torchaudio.reason == "not in this report"  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_strangers_report_cannot_steer_the_terminal(tmp_path: Path, kind: str) -> None:
    evil = "\x1b]0;title\x07\x1b[2J\x9b31m\r\n\u202eevil\ud800\n\nFIX FIRST  forged"
    data = json.loads(GOOD)
    data["target"]["python"] = data["target"]["assumed"] = evil
    for holder in (data["facts"]["nvml"]["known"]["gpus"][0], data["facts"]["torch"]["known"]):
        holder["name" if "uuid" in holder else "version"] = {"known": evil}
    data["facts"]["system"]["known"]["distribution"] = evil
    path = tmp_path / "report.json"
    path.write_text(json.dumps(data))
    ran = doctor("--from", path, "--format", kind)
    assert ran.code in (0, 1, 3) and one_line(ran.err)
    assert not set("\x1b\x07\x9b\r\u202e").intersection(ran.out)
    assert not [line for line in ran.out.splitlines() if line.startswith("FIX FIRST")]


# --- anything at all -------------------------------------------------------------------------


def parsed_or_refused(text: str) -> Any:
    """The report, or None where it was refused; anything but a ReplayError is a fault."""
    try:
        return parse_report(text, "x")
    except ReplayError as error:
        assert "\n" not in str(error)
        return None


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
@example(b"{")
@example(b"```json\n```")
@example(b'{"schema": "klein-doctor/report/1", "created": "2026-01-31T12:00:00Z"}')
def test_arbitrary_bytes_are_refused(raw: bytes) -> None:
    assert parsed_or_refused(raw.decode("utf-8", "replace")) is None


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([GOOD, MARKDOWN]),
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 40), st.text(max_size=5)),
             min_size=1, max_size=4),
)  # fmt: skip
def test_text_that_was_tampered_with(text: str, edits: list[tuple[int, int, str]]) -> None:
    for place, length, new in edits:
        text = text[:place] + new + text[place + length :]
    parsed_or_refused(text)


@pytest.mark.parametrize("depth", [*range(200, 1100, 13), 5_000, 50_000])
def test_nesting_of_any_depth_where_nobody_looks(depth: int) -> None:
    text = GOOD.rstrip()[:-1] + ', "more": ' + "[" * depth + "]" * depth + "}"
    found = parsed_or_refused(text)
    assert found is None or not found.intact


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(st.data(), JSONS)
def test_a_mutated_report_is_judged_or_refused(data: st.DataObject, value: object) -> None:
    """Any part replaced by anything: a ReplayError, or facts the checks can live with."""
    from klein_doctor import recipe as recipes
    from klein_doctor.diagnose import Request, build
    from klein_doctor.model import Verdict

    document = json.loads(GOOD)
    node = document[data.draw(st.sampled_from(["facts", "facts", "facts", "target"]))]
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = data.draw(st.sampled_from(keys))
        if not node[key] or not isinstance(node[key], (dict, list)) or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = value
    found = parsed_or_refused(json.dumps(document))
    if found is None:
        return
    report = build(found.facts, found.target, found.created, recipes.load(), Request())
    assert not [f for f in report.findings if f.verdict is Verdict.CRASHED]
    for kind in recorded.SUFFIXES:
        recorded.rendered(report, kind)
