"""A value replaced in Python source, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from klein_doctor.editing.literals import NotThere, Place, same
from klein_doctor.probes.override_words import KEYS, VARIABLE


def in_python(data: bytes, places: Sequence[Place]) -> bytes:
    """Python source with these values replaced; formatting and comments stay.

    A string keeps its quotes; ``keyword=True`` becomes ``keyword=False``; a call that stands as a
    statement of its own becomes ``pass``.

    Raises:
        NotThere: a value is not on its line. ValueError: the file is no Python, or a line holds
            the value several times and nothing tells which is meant.
    """
    try:
        module = cst.parse_module(data)
    except Exception as error:  # libcst's own, and whatever a stranger's file makes of it
        raise ValueError("it cannot be read as Python") from error
    if module.bytes != data:
        raise ValueError("it cannot be written back as it is")
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    where = wrapper.resolve(PositionProvider)
    finder = _Finder(where, places)
    wrapper.module.visit(finder)
    editor = _Editor(where, places, finder.chosen())
    changed = wrapper.module.visit(editor)
    missing = [place for place in places if place not in editor.done]
    if missing:
        raise NotThere(f"line {missing[0].line} does not hold {missing[0].asks!r} any more")
    return bytes(changed.bytes)


class _Finder(cst.CSTVisitor):
    """The strings that say what a place asks for, each with the names that it is given to."""

    def __init__(self, where: Mapping[cst.CSTNode, Any], places: Sequence[Place]) -> None:
        super().__init__()
        self._where = where
        self._places = places
        self._names: list[str] = []  # of what is around, the innermost last
        self._found: dict[Place, list[tuple[cst.SimpleString, bool]]] = {}

    def chosen(self) -> dict[cst.CSTNode, Place]:
        """Of equal values of a line those that belong to the place's name, else the only one.

        Raises:
            ValueError: there are several, and nothing tells which is meant.
        """
        found: dict[cst.CSTNode, Place] = {}
        for place, strings in self._found.items():
            own = [node for node, its in strings if its] or [node for node, _ in strings]
            if len(own) > 1 and not any(its for _, its in strings):
                raise ValueError(
                    f"line {place.line} holds {place.asks!r} more than once, and which is meant "
                    "is not plain"
                )
            found.update(dict.fromkeys(own, place))
        return found

    def visit_SimpleString(self, node: cst.SimpleString) -> None:
        value = node.evaluated_value
        line = self._where[node].start.line
        for place in self._places:
            if place.line == line and isinstance(value, str) and same(value, place.asks):
                its = bool(self._names) and self._names[-1] in _NAMES.get(place.how, (place.how,))
                self._found.setdefault(place, []).append((node, its))

    def on_visit(self, node: cst.CSTNode) -> bool:
        self._names.extend(_names(node))
        return super().on_visit(node)

    def on_leave(self, original_node: cst.CSTNode) -> None:
        super().on_leave(original_node)
        for _ in _names(original_node):
            self._names.pop()


# What stands for a way of asking where that is no name of the source.
_NAMES = {
    "environ": (VARIABLE,),
    "parameter default": KEYS,
    "argument default": ("default",),
    "widget default": ("default",),
}


def _names(node: cst.CSTNode) -> list[str]:
    """The name that is given what stands in a node: a keyword, a key, a target, a call."""
    if isinstance(node, cst.Arg):
        return [node.keyword.value] if node.keyword is not None else []
    if isinstance(node, cst.DictElement):
        return [_text(node.key)]
    if isinstance(node, (cst.Assign, cst.AnnAssign)):
        return [_text(node.targets[0].target if isinstance(node, cst.Assign) else node.target)]
    if isinstance(node, cst.Param):
        return [node.name.value]
    if isinstance(node, cst.Call):
        # os.environ.setdefault("NAME", value) gives the value to the name.
        first = _text(node.args[0].value) if len(node.args) > 1 else ""
        return [first if first in (*KEYS, VARIABLE) else _text(node.func)]
    return []


def _text(node: cst.CSTNode) -> str:
    if isinstance(node, cst.SimpleString):
        return node.raw_value
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        return node.attr.value
    if isinstance(node, cst.Subscript) and node.slice:
        index = node.slice[0].slice
        return _text(index.value) if isinstance(index, cst.Index) else ""
    return ""


class _Editor(cst.CSTTransformer):
    """Replaces what stands at the places; done: those that were found. strings: which of them."""

    def __init__(
        self,
        where: Mapping[cst.CSTNode, Any],
        places: Sequence[Place],
        strings: Mapping[cst.CSTNode, Place],
    ) -> None:
        super().__init__()
        self.done: set[Place] = set(strings.values())
        self._where = where
        self._places = places
        self._strings = strings

    def _at(self, node: cst.CSTNode) -> list[Place]:
        line = self._where[node].start.line
        return [place for place in self._places if place.line == line]

    def leave_SimpleString(
        self, original_node: cst.SimpleString, updated_node: cst.SimpleString
    ) -> cst.SimpleString:
        place = self._strings.get(original_node)
        if place is None:
            return updated_node
        quote = original_node.quote
        return updated_node.with_changes(
            value=f"{original_node.prefix}{quote}{place.instead}{quote}"
        )

    def leave_Arg(self, original_node: cst.Arg, updated_node: cst.Arg) -> cst.Arg:
        value, keyword = original_node.value, original_node.keyword
        if not isinstance(value, cst.Name) or value.value != "True" or keyword is None:
            return updated_node
        for place in self._at(value):
            if place.how == keyword.value:
                self.done.add(place)
                return updated_node.with_changes(value=cst.Name("False"))
        return updated_node

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine:
        body = [
            cst.Pass(semicolon=new.semicolon) if self._is_call(old) else new
            for old, new in zip(original_node.body, updated_node.body, strict=True)
            if isinstance(new, cst.BaseSmallStatement)
        ]
        same = all(new is old for new, old in zip(body, updated_node.body, strict=True))
        return updated_node if same else updated_node.with_changes(body=body)

    def _is_call(self, statement: cst.CSTNode) -> bool:
        call = statement.value if isinstance(statement, cst.Expr) else None
        if not isinstance(call, cst.Call) or not isinstance(call.func, cst.Attribute):
            return False
        for place in self._at(statement):
            if place.how == call.func.attr.value and place not in self.done and not call.args:
                self.done.add(place)
                return True
        return False
