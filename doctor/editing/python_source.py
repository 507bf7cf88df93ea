"""A value replaced in Python source, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from klein_doctor.editing.literals import NotThere, Place
from klein_doctor.values import printable


def in_python(data: bytes, places: Sequence[Place]) -> bytes:
    """Python source with these values replaced; formatting and comments stay.

    A string keeps its quotes; ``keyword=True`` becomes ``keyword=False``; a call that stands as a
    statement of its own becomes ``pass``.

    Raises:
        NotThere: a value is not on its line. ValueError: the file is no Python.
    """
    try:
        module = cst.parse_module(data)
    except Exception as error:  # libcst's own, and whatever a stranger's file makes of it
        raise ValueError("it cannot be read as Python") from error
    if module.bytes != data:
        raise ValueError("it cannot be written back as it is")
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    editor = _Editor(wrapper.resolve(PositionProvider), places)
    changed = wrapper.module.visit(editor)
    missing = [place for place in places if place not in editor.done]
    if missing:
        raise NotThere(f"line {missing[0].line} does not hold {missing[0].asks!r} any more")
    return bytes(changed.bytes)


class _Editor(cst.CSTTransformer):
    """Replaces what stands at the places; done: those that were found."""

    def __init__(self, where: Mapping[cst.CSTNode, Any], places: Sequence[Place]) -> None:
        super().__init__()
        self.done: set[Place] = set()
        self._where = where
        self._places = places

    def _at(self, node: cst.CSTNode) -> list[Place]:
        line = self._where[node].start.line
        return [place for place in self._places if place.line == line]

    def leave_SimpleString(
        self, original_node: cst.SimpleString, updated_node: cst.SimpleString
    ) -> cst.SimpleString:
        value = original_node.evaluated_value
        for place in self._at(original_node):
            if isinstance(value, str) and _same(value, place.asks):
                self.done.add(place)
                quote = original_node.quote
                text = f"{original_node.prefix}{quote}{place.instead}{quote}"
                return updated_node.with_changes(value=text)
        return updated_node

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


def _same(value: str, asks: str) -> bool:
    """Whether a value is the one the search told, which may have cut it."""
    return value == asks or (len(value) > len(asks) > 0 and printable(value, len(asks)) == asks)
