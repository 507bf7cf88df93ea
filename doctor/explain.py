"""``explain``: what a check reads, why it matters, how to fix it by hand."""

from __future__ import annotations

from typing import TextIO

from klein_doctor.exits import UsageError
from klein_doctor.registry import Check, catalogue, unknown_check
from klein_doctor.wrapping import wrap


def explain(name: str, stream: TextIO) -> None:
    """Write the explanation of a check, or the list of all checks for "".

    Raises:
        UsageError: no such check, with the nearest name.
    """
    checks = catalogue()
    if not name:
        width = max(map(len, checks)) + 2
        for check in checks.values():
            for line in wrap(check.title, first=f"{check.name:<{width}}", rest=" " * width):
                stream.write(f"{line}\n")
        return
    stream.write(_page(find(name, checks), checks))


def find(name: str, checks: dict[str, Check]) -> Check:
    """The check of that name.

    Raises:
        UsageError: naming the nearest one.
    """
    if name in checks:
        return checks[name]
    raise UsageError(unknown_check(name, checks))


def _page(check: Check, checks: dict[str, Check]) -> str:
    blocks = [
        (f"{check.name} ({check.family})", check.title + "."),
        ("What it reads", check.reads),
        ("Why it matters", check.why),
        ("By hand", check.by_hand),
    ]
    if check.requires:
        blocks.append(("Skipped when one of these fails", ", ".join(check.requires)))
    effects = [item.name for item in checks.values() if check.name in item.follows]
    if effects:
        blocks.append(("Mending it should also clear", ", ".join(effects)))
    lines = []
    for title, text in blocks:
        lines.append(title)
        lines += wrap(text, first="  ", rest="  ")
        lines.append("")
    return "\n".join(lines)
