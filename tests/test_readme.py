"""The README's promises that a test can hold."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_the_two_commands_come_first_and_make_their_own_environments() -> None:
    blocks = re.findall(r"^```.*?\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert blocks[0].splitlines()[0] == "python3 -m venv .venv"
    # On one line: what is pasted behind a command would answer its questions.
    last = blocks[0].splitlines()[-1]
    assert last == ".venv/bin/klein-doctor; .venv/bin/klein-doctor rehearse"
    assert blocks[1].splitlines()[0] == "python3 -m venv .venv-test"
    assert "--constraint constraints.txt" in blocks[1] and "-m pytest" in blocks[1]


def test_what_it_links_to_is_there() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets and all((ROOT / target).exists() for target in targets)
