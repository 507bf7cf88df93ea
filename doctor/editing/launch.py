"""Arguments of ComfyUI in the files that start it: taken out, or given another value. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from klein_doctor.editing.json_text import strings
from klein_doctor.editing.text import Text, decoded, lines
from klein_doctor.editing.words import Argument, arguments
from klein_doctor.shells import COMMENTS, GOES_ON

LOOPBACK = "127.0.0.1"
_CLOSED = (LOOPBACK, "localhost", "::1")
# How many values follow an argument, by the words of recipes/flags.toml.
_MOST = {"none": 0, "one": 1, "optional": 1, "many": 1000}
_EXTRAS = re.compile(r"\s*default_launch_extras\s*=")  # comfy-cli's config.ini
_QUOTES = ("'", '"')


def without(data: bytes, kind: str, flag: str, values: str, root: str = "") -> bytes:
    """A launcher without an argument and its values; comments and all else stay as they are.

    kind: as Launcher.kind. values: ``none``, ``one``, ``optional`` or ``many``. root: of the
    installation that is meant, for settings that hold those of several.

    Raises:
        ValueError: it is no such file.
    """

    def cut(text: str, at: Argument) -> str:
        end = at.end
        for word in at.values[: _MOST[values]]:
            end = word.end
        return _cut(text, at.start, end, kind)

    return _edited(data, kind, root, flag, cut)


def loopback(data: bytes, kind: str, root: str = "") -> bytes:
    """A launcher whose server listens to this machine alone; the rest as in ``without``."""
    return _edited(data, kind, root, "--listen", lambda text, at: _closed(text, at, kind))


def _closed(text: str, at: Argument, kind: str) -> str:
    """The text with one --listen closed, whatever it says: a name, a variable, quoted or not."""
    if at.value is not None:
        if at.value in _CLOSED:
            return text
        quote = _quote(text[at.start : at.end])
        return f"{text[: at.start]}{quote}--listen={LOOPBACK}{quote}{text[at.end :]}"
    if at.values:
        value = at.values[0]
        if value.value in _CLOSED:
            return text
        quote = _quote(text[value.start : value.end])
        return f"{text[: value.start]}{quote}{LOOPBACK}{quote}{text[value.end :]}"
    quote = _quote(text[at.start : at.end])
    listed = kind == "ps1" and quote and _listed(text, at.start, at.end)
    added = f", {quote}{LOOPBACK}{quote}" if listed else f" {LOOPBACK}"
    return text[: at.end] + added + text[at.end :]


def _quote(raw: str) -> str:
    """The quote a word stands in as a whole, "" for none."""
    whole = len(raw) > 1 and raw[0] in _QUOTES and raw[-1] == raw[0]
    return raw[0] if whole else ""


def _listed(text: str, start: int, end: int) -> bool:
    """Whether a word is one of a PowerShell list."""
    return bool(re.search(r"[,(]\s*\Z", text[:start]) or re.match(r"\s*,", text[end:]))


def _cut(text: str, start: int, end: int, kind: str) -> str:
    """The text without a span; no line is left that goes on into nothing."""
    head, tail = text[:start], text[end:]
    if kind == "ps1" and _quote(text[start:end]) and _listed(text, start, end):
        comma = re.search(r"\s*,\s*\Z", head)
        return head[: comma.start()] + tail if comma else head + re.sub(r"\A\s*,\s*", "", tail)
    begun = head.rpartition("\n")[2]
    mark = re.escape(GOES_ON[kind]) if kind in GOES_ON else r"(?!)"
    alone = re.match(rf"[ \t]*(?P<goes>{mark})?[ \t]*(?P<end>\r?\n|\Z)", tail)
    if not begun.strip() and alone:
        above, tail = head[: len(head) - len(begun)], tail[alone.end() :]
        last = re.search(rf"[ \t]*{mark}[ \t]*\r?\n\Z", above)
        if last and not alone["goes"]:
            return above[: last.start()] + alone["end"] + tail
        return above + tail
    trimmed = head.rstrip(" \t")
    if not begun.strip() or trimmed == head:  # first on its line, in its quotes or brackets
        return head + tail.lstrip(" \t")
    return trimmed + tail


# --- which text of a file holds arguments ----------------------------------------------------

_Edit = Callable[[str, Argument], str]


def _edited(data: bytes, kind: str, root: str, flag: str, edit: _Edit) -> bytes:
    whole = decoded(data)
    if kind == "desktop-2":
        return _in_settings(whole, root, lambda text: _each(text, kind, flag, edit))
    parts = []
    for line, comment in _logical(whole.text, kind):
        holds = not comment and (kind != "comfy-cli" or _EXTRAS.match(line))
        parts.append(_each(line, kind, flag, edit) if holds and flag in line else line)
    return whole.bytes("".join(parts))


def _each(text: str, kind: str, flag: str, edit: _Edit) -> str:
    for at in reversed(arguments(text, kind, flag)):
        text = edit(text, at)
    return text


def _logical(text: str, kind: str) -> Iterator[tuple[str, bool]]:
    """Lines, continued ones put together, each with whether it is a comment."""
    mark, comment = GOES_ON.get(kind, ""), COMMENTS[kind]
    begun = ""
    for line in lines(text):
        if not begun and comment.match(line):
            yield line, True
            continue
        begun += line
        bare = line.rstrip("\r\n")
        escaped = len(bare) - len(bare.rstrip(mark)) if mark else 0
        if escaped % 2 == 0 or not line.endswith("\n"):
            yield begun, False
            begun = ""
    if begun:
        yield begun, False


def _in_settings(whole: Text, root: str, edit: Callable[[str], str]) -> bytes:
    """Comfy Desktop 2's list of installations with the arguments of one of them changed."""
    records = json.loads(whole.text)
    chosen = _record(records, root)
    text = whole.text
    for path, start, end in strings(text):
        if path == (chosen, "launchArgs"):
            value = edit(json.loads(text[start:end]))
            plain = text[start:end].isascii()
            return whole.bytes(text[:start] + json.dumps(value, ensure_ascii=plain) + text[end:])
    raise ValueError("it holds no arguments of this installation")


def _record(records: object, root: str) -> int:
    """The number of the installation that a code folder belongs to.

    Raises:
        ValueError: none does.
    """
    import os

    def parts(path: str) -> list[str]:
        plain = os.path.expanduser(path).replace("\\", "/")
        plain = os.path.realpath(plain).replace("\\", "/") if os.path.isabs(plain) else plain
        return os.path.normcase(plain).replace("\\", "/").rstrip("/").split("/")

    wanted = parts(root)
    found: list[tuple[int, int]] = []
    for number, record in enumerate(records if isinstance(records, list) else ()):
        place = record.get("installPath") if isinstance(record, dict) else None
        if isinstance(place, str) and place and wanted[: len(parts(place))] == parts(place):
            found.append((len(parts(place)), number))
    if not found:
        raise ValueError("it does not list this installation")
    return max(found)[1]
