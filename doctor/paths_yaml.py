"""extra_model_paths.yaml as ComfyUI reads it: its sections, and what ends ComfyUI's start.

PyYAML's rules (YAML 1.1), on the events of ruamel.yaml: nothing is built from tags, and every
value tells where it stands, so that it alone can be changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from klein_doctor.probes.outside import is_file

NO_TEXT = "is no text"
NO_SECTION = "a section holds a text or a list where folders by category must be"
EMPTY = "it is empty, or all of it is comments"
_LONGEST_YAML = 256 << 10
_MOST_MERGED, _MOST_LEVELS = 16, 32  # of YAML's merged sections, and of nested values


class Fault(Exception):
    """Why a file ends ComfyUI's start, in plain words, and in which line if that is known."""


class Node:
    """A value of a YAML file: kind is str, bool, null, zero, map, list or other.

    start, end: its place in the text, quotes and all.
    """

    __slots__ = ("end", "kind", "line", "parts", "start", "text")

    def __init__(self, kind: str, text: str, line: int, start: int = 0, end: int = 0) -> None:
        self.kind, self.text, self.line = kind, text, line
        self.start, self.end = start, end
        self.parts: list[Node] = []  # of a list; of a map keys and values in turn

    def counts_as_true(self) -> bool:
        if self.kind == "bool":
            return self.text.lower() in ("yes", "true", "on")
        if self.kind in ("str", "list", "map"):
            return bool(self.text or self.parts)
        return self.kind == "other"

    def pairs(self, levels: int = 2) -> list[tuple[str, Node]]:
        """The entries of a map; of two with one key the last counts, at the first one's place."""
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value in zip(self.parts[::2], self.parts[1::2], strict=True):
            if key.kind in ("map", "list"):
                raise Fault("a list or a section stands where a name must be", key.line)
            if key.kind != "merge":
                own[key.text] = value
                continue
            sources = value.parts if value.kind == "list" else [value]
            for each in reversed(sources[:_MOST_MERGED]):
                if each.kind != "map" or not levels:
                    raise Fault("what << names is no section", key.line)
                merged.update(each.pairs(levels - 1) if each is not self else ())
        return list({**merged, **own}.items())


def read(path: Path) -> str:
    """The text of such a file.

    Raises:
        Fault: it cannot be read.
    """
    try:
        if not is_file(path):
            raise Fault("there is no such file")
        with path.open("rb") as stream:
            raw = stream.read(_LONGEST_YAML + 1)
        if len(raw) > _LONGEST_YAML:
            raise Fault("it is larger than any such file")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise Fault(f"it cannot be read ({error.strerror or 'error'})") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Fault("it is not UTF-8 text: save it anew in that encoding", line) from None


def checked(
    text: str, label: Callable[[str, str], str] = lambda section, key: f"{section}/{key}"
) -> list[tuple[str, Node]]:
    """Every section that adds folders, by name. label: how a message calls a section and key.

    Raises:
        Fault: ComfyUI ends its start over it.
    """
    found = []
    for section, node in sections(parse(text)):
        for key, value in node.pairs():
            if key != "is_default" and value.kind != "str":
                words = f"{label(section, key)} {NO_TEXT}, where a folder must be"
                raise Fault(words, value.line)
        found.append((section, node))
    return found


def sections(top: Node) -> Iterator[tuple[str, Node]]:
    """The sections of a file; raises Fault where it has none."""
    if top.kind == "null":
        raise Fault(EMPTY)
    if top.kind in ("list", "str") and not top.counts_as_true():
        return
    if top.kind != "map":
        raise Fault("it holds a list or a text where sections must be", top.line)
    for section, values in top.pairs():
        if values.kind == "map":
            yield section, values
        elif values.kind not in ("null", "list", "str") or values.counts_as_true():
            raise Fault(NO_SECTION, values.line)


def parse(text: str) -> Node:
    """The value of a text as PyYAML, which ComfyUI uses, reads it: nothing is built from tags."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 1)
    try:
        return _built(reader.parse(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Fault(_said(str(error.problem or "")), mark.line + 1 if mark else 0) from None
    except (YAMLError, ValueError, RecursionError, TypeError, AttributeError, LookupError):
        raise Fault("it is not valid YAML") from None


def _said(problem: str) -> str:
    if "\\t" in problem:
        return "a tab stands where only spaces may"
    if "escape" in problem:
        return "a backslash stands in double quotes: write the path in single quotes or in none"
    # Words of the file's own, which may name somebody, are quoted in it.
    plain = re.fullmatch(r"[\w ,-]{1,100}", problem, re.ASCII)
    return f"it is not valid YAML ({problem})" if plain else "it is not valid YAML"


def _built(events: Any) -> Node:
    """The first document of a stream of events; aliases share what they name."""
    top = Node("list", "", 0)
    open_ones = [top]
    anchors: dict[str, Node] = {}
    for event in events:
        kind = type(event).__name__
        if kind in ("SequenceEndEvent", "MappingEndEvent"):
            open_ones.pop()
        if kind not in ("AliasEvent", "ScalarEvent", "SequenceStartEvent", "MappingStartEvent"):
            continue
        line, siblings = int(event.start_mark.line) + 1, open_ones[-1].parts
        if kind == "AliasEvent":
            if event.anchor not in anchors:
                raise Fault("it refers (*) to a name that nothing has", line)
            siblings.append(anchors[event.anchor])
            continue
        marks = int(event.start_mark.index), int(event.end_mark.index)
        node = Node(_kind(event), str(getattr(event, "value", "")), line, *marks)
        if node.kind == "null" and siblings:
            node.line = siblings[-1].line  # what is not there is marked where the next begins
        if event.anchor is not None:
            if event.anchor in anchors:
                raise Fault("it gives one name (&) twice", line)
            anchors[event.anchor] = node
        siblings.append(node)
        if kind != "ScalarEvent":
            open_ones.append(node)
            if len(open_ones) > _MOST_LEVELS:
                raise Fault("it is nested deeper than any such file", line)
    if len(top.parts) > 1:
        raise Fault("it holds more than one document (---)", top.parts[1].line)
    return top.parts[0] if top.parts else Node("null", "", 0)


_KINDS = {"str": "str", "bool": "bool", "null": "null", "map": "map", "seq": "list"}
_KINDS |= dict.fromkeys(("int", "float", "binary", "timestamp", "omap", "pairs", "set"), "other")
# What an unquoted word means in YAML 1.1, in the spellings PyYAML knows.
_BOOL = re.compile("yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF")
_NUMBER = re.compile(
    r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+|0|[1-9][0-9_]*(?::[0-5]?[0-9])*)"
    r"|[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_TIME = re.compile(r"\d{4}-\d\d-\d\d|\d{4}-\d\d?-\d\d?[Tt \t]+\d\d?:\d\d:\d\d[\d.:Z \t+-]*", re.A)


def _kind(event: Any) -> str:
    tag = str(event.tag) if event.tag is not None else ""
    if tag and tag != "!":
        kind = _KINDS.get(tag.removeprefix("tag:yaml.org,2002:"))
        if kind is None:
            raise Fault("it has a tag (!) that ComfyUI does not know", event.start_mark.line + 1)
        return kind
    if not hasattr(event, "value"):
        return "map" if type(event).__name__ == "MappingStartEvent" else "list"
    text = str(event.value)
    if tag or not event.implicit[0]:
        return "str"
    if text in ("", "~", "null", "Null", "NULL"):
        return "null"
    if _BOOL.fullmatch(text):
        return "bool"
    if _NUMBER.fullmatch(text):
        return "other" if text.strip("+-0._xb:") else "zero"
    if text == "<<":
        return "merge"
    return "other" if text == "=" or _TIME.fullmatch(text) else "str"
