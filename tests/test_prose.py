"""Every message read: findings of recorded machines, checks, fixes, errors in the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import prose
import pytest
import recorded

import klein_doctor
from klein_doctor.fixing import fixes
from klein_doctor.registry import Check, catalogue

PACKAGE = Path(klein_doctor.__file__).parent
ERRORS = {"UsageError", "StepFailed", "DownloadError", "RecipeError", "ReplayError", "AssumeError"}


@pytest.mark.parametrize("name", recorded.names())
def test_findings_of_a_machine(name: str) -> None:
    for found in recorded.report(name).findings:
        prose.hold(found, catalogue()[found.check])


@pytest.mark.parametrize("name", recorded.names())
def test_a_report_is_no_wider_than_a_terminal(name: str) -> None:
    lines = recorded.golden(name, "text").read_text(encoding="utf-8").splitlines()
    # A command stays on one line, and a path is not broken: they are there to be copied.
    others = [line for line in lines if not line.startswith("    ")]
    assert not [line for line in others if len(line) > 80 and len(line.rpartition(" ")[2]) <= 68]


@pytest.mark.parametrize("check", catalogue().values(), ids=lambda check: check.name)
def test_a_check_explains_itself(check: Check) -> None:
    for text in (check.reads, check.why, check.by_hand):
        assert text.rstrip("'\")").endswith((".", "?")), check.name
    whole = " ".join((check.reads, check.why, check.by_hand))
    assert not prose.faults_of(check.title, whole), check.name


def test_a_fix_says_what_it_does() -> None:
    for fix in fixes().values():
        assert fix.title and not fix.title.endswith(".") and "!" not in fix.title, fix.id


def raised() -> Iterator[tuple[str, str]]:
    """The texts of errors that users see, as far as the source has them in one piece."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            text = plain(node.args[0])
            if name in ERRORS and text:
                yield f"{path.name}:{node.lineno}", text


def plain(node: ast.expr) -> str:
    """A text, with X where a value is put in; "" where it is computed otherwise."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(plain(part) or "X" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return plain(node.left) + plain(node.right)
    return ""


def test_errors_are_one_plain_sentence() -> None:
    found = list(raised())
    assert len(found) > 60
    for where, text in found:
        assert "\n" not in text and "Traceback" not in text, (where, text)
        assert not prose.faults_of("x", text.rstrip(".") + "."), (where, text)
        assert not text.endswith("."), (where, text)


def test_what_prose_refuses() -> None:
    assert prose.faults_of("It broke.", "")
    assert prose.faults_of("It broke", "You forgot to install it.")
    assert prose.faults_of("It broke", "Traceback (most recent call last).")
    assert prose.faults_of("It broke", "NVML is missing.")
    assert prose.faults_of("Great!", "")
    assert not prose.faults_of("The driver is too old", "It is 535; this card needs 570.")
