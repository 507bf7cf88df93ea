"""Command lines that start ComfyUI: into arguments, and arguments into what may be reported."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

from klein_doctor.installation import Flag
from klein_doctor.model import Private
from klein_doctor.privacy import Redactor, hub_token
from klein_doctor.recipe_flags import load_flags
from klein_doctor.values import printable

_MOST = 64
_MOST_VALUES = 16
_LONGEST = 300
_LONGEST_VALUE = 4096
_LONGEST_LINE = 8192
_NAME = re.compile(r"--[a-zA-Z][a-zA-Z0-9_-]{0,60}")
# What may be a password or an address with one is kept of no argument, whatever the table says.
_TOKEN = re.compile(hub_token(10) + r"|\w{2,}://")
# Who is reached, from the narrowest to the widest.
_WIDTHS = ("", "loopback", "private", "public", "any")
_SHARED = ipaddress.ip_network("100.64.0.0/10")
_UNRESOLVED = re.compile(r"[$%!]\{?\w")

# How the three shells write a line: each piece is one of the named groups.
_PIECES = {
    "bat": re.compile(
        r'(?P<space>\s+)|"(?P<double>[^"]*)"?|\^(?P<escaped>.?)'
        r'|(?P<operator>[&|<>()])|(?P<plain>[^\s"^&|<>()]+)',
        re.DOTALL,
    ),
    "sh": re.compile(
        r"""(?P<space>\s+)|"(?P<quoted>(?:[^"\\]|\\.)*)"?|'(?P<single>[^']*)'?|\\(?P<escaped>.?)"""
        r"""|(?P<nested>\$\([^()]*\)?)|(?P<operator>[&|;<>()])|(?P<plain>[^\s"'\\&|;<>()$]+|\$)""",
        re.DOTALL,
    ),
    "ps1": re.compile(
        r"""(?P<space>\s+)|"(?P<double>[^"]*)"?|'(?P<single>[^']*)'?|`(?P<escaped>.?)"""
        r"""|(?P<operator>[&|;<>()])|(?P<plain>[^\s"'`&|;<>()]+)""",
        re.DOTALL,
    ),
}


def split(text: str, windows: bool) -> list[str]:
    """A command line as arguments; quotes that never end are closed at its end."""
    return _words(text, "bat" if windows else "sh", operators=False)[0]


def commands(text: str, shell: str) -> list[list[str]]:
    """The commands of one line of a ``bat``, ``sh`` or ``ps1`` file, each as its arguments.

    What stands between them (``&&``, ``|``, ``;``), redirections and comments is left out.
    """
    return [words for words in _words(text, shell, operators=True) if words]


def _words(text: str, shell: str, operators: bool) -> list[list[str]]:
    found: list[list[str]] = [[]]
    word: str | None = None
    redirected = False

    def end() -> None:
        nonlocal word, redirected
        if word is not None and not redirected:
            found[-1].append(word)
        redirected = redirected and word is None
        word = None

    for piece in _PIECES[shell].finditer(text[:_LONGEST_LINE]):
        kind = piece.lastgroup or ""
        value = piece[kind]
        if kind == "space":
            end()
        elif kind == "operator" and operators:
            if value in "<>":
                # The number before it says what is redirected, and is no argument.
                word = None if word is not None and word.isdigit() else word
                end()
                redirected = True
            elif not (value == "&" and redirected and word is None):
                end()
                redirected = False
                found.append([])
        elif operators and kind == "plain" and word is None and value[0] == "#" and shell != "bat":
            break
        elif kind == "escaped" and value == "\n":
            continue
        else:
            value = re.sub(r'\\(["\\$`])', r"\1", value) if kind == "quoted" else value
            word = (word or "") + value
    end()
    return found


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
        most = _MOST_VALUES if row is not None and row.values == "many" else 1
        paths = row is not None and row.keep == "path"
        kept = [_kept(redactor, each, paths) for each in values[:most]]
        forms = [" ".join(texts)[:_LONGEST] for texts in zip(*kept, strict=True)]
        shown = Private(*forms) if forms else Private.plain("")
        found.append(Flag(name, _address(shown) if name == "--listen" else shown))
    return tuple(found)


def _kept(redactor: Redactor, value: str, path: bool) -> tuple[str, str, str]:
    if _TOKEN.search(value) or len(value) > _LONGEST_VALUE:
        return ("(left out)",) * 3
    plain = printable(value)
    shown = redactor.path(plain) if path else redactor.text(plain)
    return shown.real, shown.local, shown.public


def listen_class(argv: Sequence[str]) -> str:
    """Who reaches a server started so: as Server.listen, "" without --listen or where its value is
    a variable that is not known."""
    found = ""
    for place, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if name != "--listen":
            continue
        if not equals:
            after = argv[place + 1] if place + 1 < len(argv) else "-"
            value = "0.0.0.0" if after.startswith("-") else after
        found = max((_width(part.strip()) for part in value.split(",")), key=_WIDTHS.index)
    return found


def _width(address: str) -> str:
    if not address:  # asyncio takes an empty name for every interface
        return "any"
    try:
        parsed = ipaddress.ip_address(_written_out(address.strip("[]")))
    except ValueError:
        if _UNRESOLVED.search(address):
            return ""
        return "loopback" if address.casefold() == "localhost" else "private"
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    parsed = mapped or parsed
    if parsed.is_unspecified:
        return "any"
    if parsed.is_loopback:
        return "loopback"
    shared = isinstance(parsed, ipaddress.IPv4Address) and parsed in _SHARED
    return "private" if parsed.is_private or parsed.is_link_local or shared else "public"


def _written_out(address: str) -> str:
    """An address as systems read it that know the short forms: ``0`` and ``127.1``."""
    if not re.fullmatch(r"[0-9.]{1,15}", address):
        return address
    try:
        return socket.inet_ntoa(socket.inet_aton(address))
    except OSError:
        return address


def _address(value: Private) -> Private:
    """A host name or public address names somebody: pasted reports say its kind only."""
    parts = [part.strip() for part in value.real.split(",")]
    known = ("0.0.0.0", "::", "127.0.0.1", "::1", "localhost", "")
    if all(part in known for part in parts):
        return value
    width = listen_class([f"--listen={value.real}"]) or "unknown"
    return Private(value.real, value.local, f"({width} address)")
