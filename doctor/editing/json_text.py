"""Where in a text of JSON its strings stand, so that one of them alone can be replaced. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

Path = tuple[str | int, ...]
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


def strings(text: str) -> Iterator[tuple[Path, int, int]]:
    """Every string that is a value: its path of keys and numbers, where it begins and ends.

    The text must be valid JSON; what is none gives odd answers and no error.
    """
    path: list[str | int] = []
    kinds: list[str] = []
    key: str | None = None
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign in "{[":
            kinds.append(sign)
            path.append("" if sign == "{" else 0)
            key = None
        elif sign in "}]":
            if kinds:
                kinds.pop()
                path.pop()
        elif sign == ",":
            if kinds and kinds[-1] == "[":
                path[-1] = int(path[-1]) + 1
            key = None
        elif sign == ":":
            if kinds and kinds[-1] == "{" and key is not None:
                path[-1] = key
        elif sign.startswith('"'):
            is_key = bool(kinds) and kinds[-1] == "{" and key is None
            if is_key:
                key = str(json.loads(sign, strict=False))
            else:
                yield tuple(path), token.start(), token.end()
