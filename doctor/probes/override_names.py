"""What an expression of a stranger's source comes to unless somebody chooses otherwise."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import NamedTuple

from klein_doctor.probes.override_guards import Guards
from klein_doctor.probes.override_tree import Binding, Scope, Tree, dotted, last_name, some

_DEEPEST = 6
_MOST_PARTS = 100
_WITH_DEFAULT = frozenset({"get", "pop", "setdefault", "getenv"})
_FIELDS = frozenset({"Field", "field", "Option", "Argument"})
_BACKENDS = "AttentionBackendName"  # the enumeration of diffusers


class Value(NamedTuple):
    """A literal that an expression comes to. parameter: as the default of a parameter."""

    value: str | bool | None
    node: ast.AST
    parameter: bool = False


class Names:
    """Answers about the expressions of one tree. resolved: the literals that were come to."""

    def __init__(self, tree: Tree, guards: Guards) -> None:
        self._tree = tree
        self._guards = guards
        self.resolved: set[ast.AST] = set()

    def values(self, node: ast.AST | None, scope: Scope, depth: int = 0) -> list[Value] | None:
        """The literals; empty where it is a choice, None where the source does not tell."""
        if depth > _DEEPEST:
            return None
        if isinstance(node, ast.Constant):
            self.resolved.add(node)
            if node.value is None or isinstance(node.value, (str, bool)):
                return [Value(node.value, node)]
        elif isinstance(node, ast.Dict):
            return self._all(node.values, scope, depth)
        elif isinstance(node, ast.IfExp):
            return self._conditional(node, scope, depth)
        elif isinstance(node, ast.BoolOp):
            return self._either(node, scope, depth)
        elif isinstance(node, ast.NamedExpr):
            return self.values(node.value, scope, depth + 1)
        elif isinstance(node, ast.Call):
            return self.values(_default_of(node), scope, depth + 1)
        elif isinstance(node, ast.Attribute) and last_name(node.value) == _BACKENDS:
            return [Value(node.attr.lower(), node)]
        elif isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
            return self.combined(scope.find(dotted(node)), depth)
        return None

    def is_resolved(self, node: ast.AST) -> bool:
        """Whether some place came to a literal of this expression."""
        return any(each in self.resolved for each in some(node))

    def combined(self, bindings: Sequence[Binding], depth: int = 0) -> list[Value] | None:
        """What a name comes to that gets its value in several places.

        Nothing where one of them is guarded, None where one of them is unknown.
        """
        found: list[Value] = []
        for binding in self._living(bindings):
            values = self.values(binding.value, binding.scope, depth + 1)
            if values is None:
                return None
            found += [each._replace(parameter=binding.parameter) for each in values]
        if any(self._guards.is_guarded(each.at) for each in bindings):
            return []
        return found if bindings else None

    def _living(self, bindings: Sequence[Binding]) -> list[Binding]:
        """Without those that a later one of the same block replaces."""
        last: dict[object, Binding] = {}
        for binding in bindings[:_MOST_PARTS]:
            place = self._tree.places[binding.at]
            last[binding.at if binding.parameter else place[:2]] = binding
        return list(last.values())

    def _all(self, nodes: Sequence[ast.AST], scope: Scope, depth: int) -> list[Value] | None:
        parts = [self.values(node, scope, depth + 1) for node in nodes[:_MOST_PARTS]]
        if all(part is None for part in parts):
            return None
        return [value for part in parts for value in part or ()]

    def _conditional(self, node: ast.IfExp, scope: Scope, depth: int) -> list[Value] | None:
        settled = self._guards.settled(node.test, scope)
        if settled is not None:
            return self.values(node.body if settled else node.orelse, scope, depth + 1)
        if dotted(node.test) and dotted(node.test) == dotted(node.body):
            return self.values(node.orelse, scope, depth + 1)  # ``a if a else default``
        found = self._all((node.body, node.orelse), scope, depth)
        return [] if self._guards.is_guard(node.test, scope) else found

    def _either(self, node: ast.BoolOp, scope: Scope, depth: int) -> list[Value] | None:
        *before, last = node.values
        found = self.values(last, scope, depth + 1)
        if isinstance(node.op, ast.And):
            return [] if any(self._guards.is_guard(each, scope) for each in before) else found
        first = self.values(before[0], scope, depth + 1)
        return first if first and first[0].value else found


def _default_of(call: ast.Call) -> ast.AST | None:
    """What a call gives where nothing was set: ``x.get(name, default)``, ``Field(default)``."""
    name = last_name(call.func)
    for place, names in ((2, {"getattr"}), (1, _WITH_DEFAULT), (0, _FIELDS | {_BACKENDS})):
        if name in names and len(call.args) > place:
            return call.args[place]
    if name in _FIELDS:
        return next((each.value for each in call.keywords if each.arg == "default"), None)
    return None
