"""The page of all checks, from their declarations: ``python tests/check_pages.py`` writes it."""

from __future__ import annotations

from pathlib import Path

from klein_doctor.model import Harm
from klein_doctor.registry import Check, catalogue

PAGE = Path(__file__).parent.parent / "docs" / "checks.md"
_HARM = {
    Harm.STOPS: "nothing runs",
    Harm.WRONG_IMAGE: "a wrong picture",
    Harm.SLOW: "slow, or short of memory",
    Harm.NOTE: "little; worth knowing",
}
_HEAD = """\
# The checks

One section a check, as `klein-doctor explain CHECK` has it. Names are stable: `--select`,
`--ignore` and scripts can rely on them. A check says `fail`, `warn`, `pass`, `unknown` (a fact
could not be read: neither good nor bad) or `skipped` (something before it failed), or nothing where
it does not apply. This page is written from the declarations; a test holds it to them."""


def page() -> str:
    """The whole page."""
    checks = catalogue()
    families: dict[str, list[Check]] = {}
    for check in checks.values():
        families.setdefault(check.family, []).append(check)
    contents = [
        f"- {family}: " + ", ".join(f"[{c.name}](#{c.name})" for c in group)
        for family, group in families.items()
    ]
    parts = [_HEAD, "\n".join(contents)]
    for family, group in families.items():
        parts.append(f"## {family}")
        parts += [_section(check, checks) for check in group]
    return "\n\n".join(parts) + "\n"


def _section(check: Check, checks: dict[str, Check]) -> str:
    effects = [item.name for item in checks.values() if check.name in item.follows]
    rows = [
        ("Asks", check.title),
        ("If it fails", _HARM[check.harm]),
        ("Skipped when one of these fails", _links(check.requires)),
        ("May follow from", _links(check.follows)),
        ("Mending it should also clear", _links(effects)),
    ]
    table = "\n".join(
        ["| | |", "|---|---|", *(f"| {key} | {text} |" for key, text in rows if text)]
    )
    return "\n\n".join(
        (
            f"### {check.name}",
            table,
            f"**Reads.** {check.reads}",
            f"**Why.** {check.why}",
            f"**By hand.** {check.by_hand}",
        )
    )


def _links(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"[{name}](#{name})" for name in names)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
