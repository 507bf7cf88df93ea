"""A value replaced in JSON, and nothing else; what such places are."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from klein_doctor.editing.text import decoded, lines


class Place(NamedTuple):
    """A value to replace. line: of the value, from 1; 0 where it is not known.

    how: the keyword, key or call it belongs to. asks: the value as the search told it.
    """

    line: int
    how: str
    asks: str
    instead: str


class NotThere(ValueError):
    """What was to be replaced does not stand there (any more)."""


def in_json(data: bytes, places: Sequence[Place]) -> bytes:
    """JSON with these string values replaced; formatting stays.

    Raises:
        NotThere: a value is not there any more. ValueError: the file is no JSON.
    """
    whole = decoded(data)
    json.loads(whole.text)
    parts = lines(whole.text)
    for place in places:
        pattern = re.compile(r'(:\s*|^\s*)("' + re.escape(place.asks) + '")')
        numbers = [place.line - 1] if 0 < place.line <= len(parts) else range(len(parts))
        done = False
        for number in numbers:
            if place.line == 0 and f'"{place.how}"' not in parts[number]:
                continue
            new = pattern.sub(lambda m, p=place: m[1] + json.dumps(p.instead), parts[number])  # type: ignore[misc]
            done = done or new != parts[number]
            parts[number] = new
        if not done:
            raise NotThere(f"{place.how} does not say {place.asks!r} any more")
    text = "".join(parts)
    json.loads(text)
    return whole.bytes(text)
