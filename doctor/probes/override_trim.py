"""A source without those of its definitions that cannot matter: parsing them is most of the work.

Lines keep their numbers. What is left may be no valid source where the text was laid out in a way
that is not foreseen here; then the whole is parsed.
"""

from __future__ import annotations

from klein_doctor.probes.override_words import names_klein, tells

_DEFINES = ("def ", "async def ", "class ", "@")
_INSIDE = frozenset(" \t#)]}")  # what begins no statement of the module
_SHORT = 4000  # such a source is not worth the trouble


def trimmed(text: str) -> str:
    """The text with the definitions blanked that hold no telling word and name no Klein."""
    if len(text) < _SHORT:
        return text
    kept: list[str] = []
    for part in _parts(text.split("\n")):
        kept += part if _matters(part) else [""] * len(part)
    return "\n".join(kept)


def _parts(lines: list[str]) -> list[list[str]]:
    """The lines by the statements of the module; decorators with what they decorate."""
    parts: list[list[str]] = [[]]
    decorated = False
    for line in lines:
        if line and line[0] not in _INSIDE and not decorated:
            parts.append([])
        if line and line[0] not in _INSIDE:
            decorated = line[0] == "@"
        parts[-1].append(line)
    return parts


def _matters(part: list[str]) -> bool:
    if not part or not part[0].startswith(_DEFINES):
        return True
    text = "\n".join(part)
    # A text in three quotes that goes on at the margin would lose its beginning.
    if text.count('"""') % 2 or text.count("'''") % 2:
        return True
    return tells(text.encode("utf-8", "replace")) or names_klein(text)
