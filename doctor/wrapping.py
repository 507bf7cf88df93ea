"""Text in lines of which nothing that somebody may copy, a name or a path, is cut in two."""

from __future__ import annotations

import textwrap

_WIDTH = 80


def wrap(text: str, first: str = "", rest: str = "") -> list[str]:
    """The lines of a text, 80 columns with what stands before the first and before the rest.

    A word longer than that keeps its line to itself.
    """
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=rest,
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip
