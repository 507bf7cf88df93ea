"""A stranger's Python source as a tree that can be asked where a node stands and what a name is.

Everything here goes around recursion: the depth of the source is not ours to trust.
"""

from __future__ import annotations

import ast
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import NamedTuple

_MOST_NODES = 400  # of one condition or definition that are looked at
# Shown as the file of warnings about the source; also how those are told from our own.
_FILE = "klein_doctor_foreign_source"
# Time to parse grows with the square of these in one statement (CPython 3.10 to 3.13: a dotted
# import, a formatted string); at this number it is half a second.
_MOST_SIGNS = 20_000
_DEEPEST_NAME = 8
# Python 3.10 turns a chain of 250,000 attributes into objects without counting its depth.
_ROOM_3_10 = 256 << 20
_LEAVES = frozenset({ast.Constant, ast.Load, ast.Store, ast.Del, ast.Pass, ast.arg, ast.alias})
_MATTER = frozenset(
    {
        ast.Call, ast.Dict, ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.AsyncFunctionDef,
        ast.Lambda, ast.If, ast.IfExp, ast.BoolOp,
    }
)  # fmt: skip
_BIND = frozenset(
    {
        ast.Name, ast.Attribute, ast.Subscript, ast.ClassDef, ast.FunctionDef,
        ast.AsyncFunctionDef, ast.Lambda, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal,
    }
)  # fmt: skip


class Scope:
    """The names of a module, class or function; targets such as ``a.b`` and ``a['b']`` count too.

    In a class, what its methods assign to ``self.b`` is found as ``.b``.
    """

    __slots__ = ("names", "node", "outer")

    def __init__(self, node: ast.AST, outer: Scope | None) -> None:
        self.node = node
        self.outer = outer
        self.names: dict[str, list[Binding]] = {}

    def find(self, name: str) -> list[Binding]:
        """What gives a name or target its value, as seen from here."""
        head, mark, attribute = name.partition(".")
        if mark and head in ("self", "cls"):
            owner: Scope | None = self
            while owner is not None and not isinstance(owner.node, ast.ClassDef):
                owner = owner.outer
            if owner is not None:
                return owner.names.get("." + attribute) or owner.names.get(attribute, [])
        scope: Scope | None = self
        while scope is not None and name:
            # A class's names are not seen from its methods.
            if name in scope.names and (scope is self or not isinstance(scope.node, ast.ClassDef)):
                return scope.names[name]
            scope = scope.outer
        return []

    def bind(self, name: str, value: ast.AST | None, at: ast.AST, parameter: bool = False) -> None:
        """Note that a name gets a value here."""
        binding = Binding(value, at, self, parameter)
        self.names.setdefault(name, []).append(binding)
        head, mark, attribute = name.partition(".")
        if mark and head in ("self", "cls") and self.outer is not None:
            if isinstance(self.outer.node, ast.ClassDef):
                self.outer.names.setdefault("." + attribute, []).append(binding)


class Binding(NamedTuple):
    """One thing that gives a name its value. value: None where the source does not tell it.

    at: the node that does it. scope: where that is evaluated. parameter: value is its default.
    """

    value: ast.AST | None
    at: ast.AST
    scope: Scope
    parameter: bool


class Place(NamedTuple):
    """Where a node stands: in which field of which parent, and where in that list."""

    parent: ast.AST
    field: str
    number: int


class Tree:
    """The nodes of a module. places: of every node but the module itself.

    seen: the nodes that may matter with the scope they are evaluated in, in order of the source.
    """

    def __init__(self, module: ast.Module) -> None:
        self.module = module
        self.top = Scope(module, None)
        self.places: dict[ast.AST, Place] = {}
        self.seen: dict[ast.AST, Scope] = {}
        places, seen = self.places, self.seen
        waiting: list[tuple[ast.AST, Scope]] = [(module, self.top)]
        while waiting:
            node, scope = waiting.pop()
            kind = type(node)
            if kind in _LEAVES:
                continue
            if kind in _MATTER:
                seen[node] = scope
            if kind in _BIND:
                scope = self._enter(node, scope)
                if kind is ast.Name:
                    continue
            for field in reversed(node._fields):
                value = getattr(node, field, None)
                if value.__class__ is list:
                    for index in range(len(value) - 1, -1, -1):
                        item = value[index]
                        if isinstance(item, ast.AST):
                            places[item] = Place(node, field, index)
                            waiting.append((item, scope))
                elif isinstance(value, ast.AST):
                    places[value] = Place(node, field, 0)
                    waiting.append((value, scope))

    def _enter(self, node: ast.AST, scope: Scope) -> Scope:
        """Note what a node binds; returns the scope of what is in it."""
        if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
            if not isinstance(node.ctx, ast.Load):
                self._assigned(node, scope)
        elif isinstance(node, ast.ClassDef):
            scope.bind(node.name, node, node)
            return Scope(node, scope)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            if not isinstance(node, ast.Lambda):
                scope.bind(node.name, node, node)
            inner = Scope(node, scope)
            _parameters(node.args, inner)
            return inner
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                scope.bind(alias.asname or alias.name.partition(".")[0], alias, node)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            for name in node.names:  # changed from elsewhere: nobody knows
                scope.bind(name, None, node)
                self.top.bind(name, None, node)
        return scope

    def _assigned(self, node: ast.Name | ast.Attribute | ast.Subscript, scope: Scope) -> None:
        name = dotted(node)
        if not name:
            return
        statement, value = self.places[node].parent, None
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.NamedExpr)):
            value = statement.value
            if value is None:
                return  # a mere declaration
        scope.bind(name, value, statement)


def _parameters(arguments: ast.arguments, scope: Scope) -> None:
    ordered = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(ordered) - len(arguments.defaults))
    defaults += arguments.defaults
    pairs = [*zip(ordered, defaults, strict=True)]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    for argument, default in pairs:
        scope.bind(argument.arg, default, argument, parameter=True)
    for rest in (arguments.vararg, arguments.kwarg):
        if rest is not None:
            scope.bind(rest.arg, None, rest, parameter=True)


def dotted(node: ast.AST) -> str:
    """A target as text: ``a``, ``a.b``, ``a["b"]``; "" for anything else or a long one."""
    tail: list[str] = []
    while len(tail) < _DEEPEST_NAME:
        if isinstance(node, ast.Name):
            return node.id + "".join(reversed(tail))
        if isinstance(node, ast.Attribute):
            tail.append("." + node.attr)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            tail.append(f"[{node.slice.value!r}]")
        else:
            return ""
        node = node.value
    return ""


def last_name(node: ast.AST) -> str:
    """The last part of what is called or named: ``c`` of ``a.b.c``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def some(*nodes: ast.AST) -> Iterator[ast.AST]:
    """The nodes at and below some nodes, not too many, and no docstrings."""
    waiting, left = list(nodes), _MOST_NODES
    while waiting and left:
        node = waiting.pop()
        left -= 1
        yield node
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            waiting.extend(ast.iter_child_nodes(node))


def text_of(node: ast.AST | None) -> str | None:
    """The text of a string constant."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def parse(text: str) -> ast.Module | None:
    """The tree of a source, None where Python could not parse it or only at great cost."""
    if max(text.count("."), text.count("{")) > _MOST_SIGNS:
        return None
    # A filter of its own, found by the file's name: catch_warnings would change those of other
    # threads as well. Adding it again only moves it to the front.
    warnings.filterwarnings("ignore", module=_FILE)
    if sys.version_info >= (3, 11):
        return _parse(text)
    found: list[ast.Module | None] = []
    before = threading.stack_size(_ROOM_3_10)
    try:
        thread = threading.Thread(target=lambda: found.append(_parse(text)), daemon=True)
        thread.start()
    except RuntimeError:  # no room for such a thread
        return None
    finally:
        threading.stack_size(before)
    thread.join()
    return found[0] if found else None


def _parse(text: str) -> ast.Module | None:
    try:
        return ast.parse(text, _FILE)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None
