"""Reported cases against triage: ``python tests/triage/cases.py`` prints how often it is right.

cases.jsonl: one case a line. symptom: what the report quotes; accept: the checks that explain it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from asking import checks

FILE = Path(__file__).with_name("cases.jsonl")
NEAR = 3  # guesses a reader still looks at


class Case(NamedTuple):
    """A public report: what it quotes, and which checks explain it."""

    id: str
    source_url: str
    symptom: tuple[str, ...]
    accept: tuple[str, ...]

    @property
    def place(self) -> int | None:
        """Where the first right guess stands, from 0; None where there is none."""
        found = checks("\n".join(self.symptom))
        right = [place for place, check in enumerate(found) if check in self.accept]
        return min(right, default=None)


def load() -> list[Case]:
    """All cases, in the order of the file."""
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    return [
        Case(row["id"], row["source_url"], tuple(row["symptom"]), tuple(row["accept"]))
        for row in rows
    ]


def missed(most: int) -> list[str]:
    """The cases that are not explained by one of the first guesses."""
    return [case.id for case in load() if case.place is None or case.place >= most]


def main() -> None:
    """Print both figures and what was missed."""
    total = len(load())
    for most in (1, NEAR):
        wrong = missed(most)
        share = 100 * (total - len(wrong)) / total
        print(f"top-{most}: {total - len(wrong)} of {total} ({share:.1f} %)", *wrong)


if __name__ == "__main__":
    main()
