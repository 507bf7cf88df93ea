"""A value replaced in JSON, and nothing else; what such places are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from klein_doctor.editing.json_text import strings
from klein_doctor.editing.text import decoded
from klein_doctor.values import printable


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


def same(value: str, asks: str) -> bool:
    """Whether a value is the one the search told, which may have cut it."""
    return value == asks or (len(value) > len(asks) > 0 and printable(value, len(asks)) == asks)


def in_json(data: bytes, places: Sequence[Place]) -> bytes:
    """JSON with these string values replaced where they belong to their keys; formatting stays.

    A key may hold the value, or a table of values by part. Equal texts under other keys stay.

    Raises:
        NotThere: a value is not there any more. ValueError: the file is no JSON.
    """
    whole = decoded(data)
    json.loads(whole.text)
    text, left = whole.text, set(places)
    for path, start, end in reversed(list(strings(text))):
        value = json.loads(text[start:end], strict=False)
        for place in places:
            # The search names the first line of a key and value that stand there several times.
            if place.how in path[-2:] and same(value, place.asks):
                left.discard(place)
                text = text[:start] + json.dumps(place.instead) + text[end:]
                break
    if left:
        place = next(iter(left))
        raise NotThere(f"{place.how} does not say {place.asks!r} any more")
    json.loads(text)
    return whole.bytes(text)
