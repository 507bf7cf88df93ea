"""Command lines that start ComfyUI: into arguments, and arguments into what may be reported."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from klein_doctor.installation import Flag
from klein_doctor.model import Private
from klein_doctor.privacy import Redactor
from klein_doctor.recipe_flags import load_flags

_MOST = 64
_LONGEST = 300
_NAME = re.compile(r"--[a-zA-Z][a-zA-Z0-9_-]{0,60}")
# Who is reached, from the narrowest to the widest.
_WIDTHS = ("", "loopback", "private", "public", "any")
_SHARED = ipaddress.ip_network("100.64.0.0/10")


def split(text: str, windows: bool) -> list[str]:
    """A command line as arguments; quotes that never end are closed at its end."""
    found: list[str] = []
    word, quote, inside = "", "", False
    escaped = False
    for sign in text[:8192]:
        if escaped:
            word, escaped, inside = word + sign, False, True
        elif sign == "\\" and not windows and quote != "'":
            escaped = True
        elif sign == "^" and windows and not quote:
            escaped = True
        elif quote:
            word, quote = (word, "") if sign == quote else (word + sign, quote)
        elif sign == '"' or (sign == "'" and not windows):
            quote, inside = sign, True
        elif sign.isspace():
            if inside:
                found.append(word)
            word, inside = "", False
        else:
            word, inside = word + sign, True
    return [*found, word] if inside else found


def flags(redactor: Redactor, argv: Sequence[str]) -> tuple[Flag, ...]:
    """The arguments that begin with two dashes, with the values the table allows."""
    rows = load_flags()
    found: list[Flag] = []
    place = 0
    while place < len(argv) and len(found) < _MOST:
        name, equals, value = argv[place].partition("=")
        place += 1
        if not _NAME.fullmatch(name):
            continue
        values = [value] if equals else []
        while not equals and place < len(argv) and not argv[place].startswith("--"):
            values.append(argv[place])
            place += 1
        row = rows.get(name)
        if row is None or row.keep == "name" or row.values == "none":
            values = []
        elif row.values in ("one", "optional"):
            values = values[:1]
        text = " ".join(_plain(each) for each in values)[:_LONGEST]
        keep = redactor.path if row is not None and row.keep == "path" else redactor.text
        shown = keep(text) if text else Private.plain("")
        found.append(Flag(name, _address(shown) if name == "--listen" else shown))
    return tuple(found)


def listen_class(argv: Sequence[str]) -> str:
    """Who reaches a server started so: "" without --listen, else as Server.listen documents."""
    found = ""
    for place, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if name != "--listen":
            continue
        if not equals:
            after = argv[place + 1] if place + 1 < len(argv) else "--"
            value = "0.0.0.0" if after.startswith("--") else after
        found = max((_width(part.strip()) for part in value.split(",")), key=_WIDTHS.index)
    return found


def _width(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return "loopback" if address.casefold() in ("", "localhost") else "private"
    if parsed.is_unspecified:
        return "any"
    if parsed.is_loopback:
        return "loopback"
    shared = isinstance(parsed, ipaddress.IPv4Address) and parsed in _SHARED
    return "private" if parsed.is_private or parsed.is_link_local or shared else "public"


def _address(value: Private) -> Private:
    """A host name or public address names somebody: pasted reports say its kind only."""
    parts = [part.strip() for part in value.real.split(",")]
    known = ("0.0.0.0", "::", "127.0.0.1", "::1", "localhost", "")
    if all(part in known for part in parts):
        return value
    return Private(value.real, value.local, f"({listen_class(['--listen', value.real])} address)")


def _plain(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)
