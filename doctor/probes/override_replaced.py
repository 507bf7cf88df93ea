"""The places of a Python source that put another function where all models' attention goes through.

``torch.nn.functional.scaled_dot_product_attention = fast`` changes every model of the process, by
whatever name the module goes there. What puts the old function back, what a custom node does where
a workflow holds it, and what is for other makes of cards is no such place.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from klein_doctor.probes.override_guards import TRY, Guards
from klein_doctor.probes.override_tree import Scope, Tree, dotted, last_name, some, text_of
from klein_doctor.probes.override_words import TARGETS

_MOST = 20  # of one file
_MOST_NAMES = 8
_DEEPEST = 4
_DEEPEST_CALL = 2  # functions of the same file that a function calls
_KERNELS = re.compile(r"flash|sage|xformers|kernels", re.IGNORECASE)
_TURNS = frozenset({"transpose", "permute", "swapaxes", "movedim", "rearrange", "einsum"})
_MASKS = frozenset({"attn_mask", "mask", "attention_mask", "attn_bias", "bias"})
_MASK_AT = 3  # its place among the arguments of scaled_dot_product_attention
_BEFORE = re.compile(r"orig|old|native|saved?(?:_|$)|backup|before|previous", re.IGNORECASE)
_CHOSEN = frozenset({"environ", "getenv", "argv", "args", "opts", "options", "config", "cfg"})
_CHOSEN |= {"settings", "platform"}
_OTHER_CARDS = re.compile(r"(?:^|_)(?:hip|rocm|zluda|amd|xpu|npu|mps|directml|ipex)(?:_|$)|is_amd")
_EVERYWHERE = frozenset({"torch", "comfy", "numpy", "__future__"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Swap(NamedTuple):
    """A place, in the words of Replaced."""

    line: int
    target: str
    by: str
    calls: tuple[str, ...]
    needs: tuple[str, ...]
    turns: bool
    masked: bool
    when: str


def swaps(tree: Tree, guards: Guards) -> tuple[Swap, ...]:
    """The places of a tree, in order of their lines."""
    finder = _Finder(tree, guards)
    return tuple(sorted(set(finder.found()))[:_MOST])


class _Finder:
    def __init__(self, tree: Tree, guards: Guards) -> None:
        self._tree = tree
        self._guards = guards

    def found(self) -> Iterator[Swap]:
        places = list(self._places())
        restores = any(self._is_before(value, scope) for _, value, _, scope in places)
        for target, value, node, scope in places:
            when = self._when(node)
            if not when or self._is_before(value, scope) or (restores and when != "import"):
                continue
            yield self._swap(target, value, node, scope, when)

    def _places(self) -> Iterator[tuple[str, ast.expr, ast.stmt | ast.expr, Scope]]:
        """What is put where, by which statement."""
        for node, scope in self._tree.seen.items():
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    name = self._full(target, scope) if isinstance(target, ast.Attribute) else ""
                    if name in TARGETS:
                        yield name, node.value, node, scope
            elif isinstance(node, ast.Call) and last_name(node.func) == "setattr":
                if len(node.args) == 3 and text_of(node.args[1]):
                    name = f"{self._full(node.args[0], scope)}.{text_of(node.args[1])}"
                    if name in TARGETS:
                        yield name, node.args[2], node, scope

    def _full(self, node: ast.AST, scope: Scope, depth: int = 0) -> str:
        """What a name is outside the file: ``torch.nn.functional`` for ``F``; "" for others."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute) and len(parts) < 2 * _DEEPEST:
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or depth > _DEEPEST:
            return ""
        for each in scope.find(node.id)[:_MOST_NAMES]:
            base = ""
            if isinstance(each.value, ast.alias):
                base = _imported(each.value, each.at)
            elif isinstance(each.value, (ast.Name, ast.Attribute)):
                base = self._full(each.value, each.scope, depth + 1)
            if base:
                return ".".join((base, *reversed(parts)))
        return ""

    def _is_before(self, value: ast.expr, scope: Scope) -> bool:
        """Whether it is the function that was there before."""
        if isinstance(value, ast.Subscript):
            return True  # of a table of what was saved
        name = last_name(value)
        return self._full(value, scope) in TARGETS or (
            bool(_BEFORE.search(name))
            and not any(isinstance(each.value, _FUNCTIONS) for each in scope.find(dotted(value)))
        )

    # --- when it is done ---

    def _when(self, node: ast.AST, depth: int = 0) -> str:
        """As Replaced.when has it; "" for never, on other cards alone, or where a node is used."""
        answer = "import"
        while node is not self._tree.module:
            place = self._tree.places[node]
            parent = place.parent
            if isinstance(parent, (ast.If, ast.IfExp)) and place.field in ("body", "orelse"):
                said = self._condition(parent, place.field)
                if not said:
                    return ""
                answer = said if said != "import" else answer
            elif isinstance(parent, ast.ExceptHandler):
                answer = "choice"
            elif isinstance(parent, ast.Lambda):
                return ""
            elif isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if place.field != "body" or self._is_method(parent):
                    return ""
                called = self._called(parent, depth)
                return called if answer == "import" else answer
            node = parent
        return answer

    def _is_method(self, node: ast.AST) -> bool:
        while node is not self._tree.module:
            node = self._tree.places[node].parent
            if isinstance(node, (ast.ClassDef, *_FUNCTIONS)):
                return True
        return False

    def _called(self, function: ast.FunctionDef | ast.AsyncFunctionDef, depth: int) -> str:
        """When a function runs: as its file is imported if that calls it; "" for a test."""
        if function.name.startswith("test"):
            return ""
        if depth < _DEEPEST:
            for node in self._tree.seen:
                if isinstance(node, ast.Call) and dotted(node.func) == function.name:
                    if self._when(node, depth + 1) == "import":
                        return "import"
        return "call"

    def _condition(self, node: ast.If | ast.IfExp, field: str) -> str:
        scope = self._tree.seen[node]
        settled = self._guards.settled(node.test, scope)
        if settled is not None:
            return "import" if settled is (field == "body") else ""
        words = set(self._words(node.test, scope))
        if any(_OTHER_CARDS.search(word.lower()) for word in words):
            return "" if field == "body" else "import"
        return "choice" if words & _CHOSEN else "import"

    def _words(self, test: ast.AST, scope: Scope) -> Iterator[str]:
        """The names and texts of a condition, and of what gives its names their value."""
        for node in some(test):
            yield last_name(node) or text_of(node) or ""
            for each in scope.find(node.id) if isinstance(node, ast.Name) else ():
                if each.parameter:
                    yield "args"
                elif isinstance(each.value, ast.expr):
                    yield from (last_name(part) or text_of(part) or "" for part in some(each.value))

    # --- what is put there ---

    def _swap(
        self, target: str, value: ast.expr, node: ast.stmt | ast.expr, scope: Scope, when: str
    ) -> Swap:
        functions = self._functions(value, scope)
        bodies = self._bodies(functions)
        calls, needs = set(), set(self._tried(node))
        for part in (value, *bodies):
            for name, at in self._kernels(part, scope):
                calls.add(name.rpartition(".")[2])
                if not any(self._is_in(at, body) for body in bodies):
                    needs.add(name.partition(".")[0])
        by = value
        if isinstance(value, ast.Call):
            by = value.args[0] if last_name(value.func) == "partial" and value.args else value.func
        return Swap(
            line=node.lineno,
            target=target,
            by=last_name(by),
            calls=tuple(sorted(calls)[:_MOST_NAMES]),
            needs=tuple(sorted(needs)[:_MOST_NAMES]),
            turns=any(_turns(each) for part in (value, *bodies) for each in some(part)),
            masked=all(_reads_mask(each, target) for each in functions),
            when=when,
        )

    def _functions(self, value: ast.expr, scope: Scope) -> list[ast.AST]:
        """The definitions of this file that a value is."""
        if isinstance(value, ast.Lambda):
            return [value]
        found = scope.find(dotted(value)) if isinstance(value, ast.Name) else []
        functions = (each.value for each in found if isinstance(each.value, _FUNCTIONS))
        return list(islice(functions, _MOST_NAMES))

    def _bodies(self, functions: list[ast.AST]) -> list[ast.AST]:
        """Those and the functions of the file that they call."""
        bodies = list(functions)
        waiting = [(each, 0) for each in functions]
        while waiting and len(bodies) < _MOST_NAMES:
            function, depth = waiting.pop()
            for node in some(function):
                if isinstance(node, ast.Call) and depth < _DEEPEST_CALL and node in self._tree.seen:
                    for each in self._functions(node.func, self._tree.seen[node]):
                        if each not in bodies:
                            bodies.append(each)
                            waiting.append((each, depth + 1))
        return bodies

    def _kernels(self, part: ast.AST, scope: Scope) -> Iterator[tuple[str, ast.AST]]:
        """Functions of attention packages that are named in a part, and where they are imported."""
        for node in some(part):
            if isinstance(node, ast.Call):
                scope = self._tree.seen.get(node, scope)
                node = node.func
            if isinstance(node, (ast.Name, ast.Attribute)):
                full = self._full(node, scope)
                if _KERNELS.search(full.partition(".")[0]):
                    head = dotted(node).partition(".")[0]
                    yield full, next(each.at for each in scope.find(head))

    def _is_in(self, node: ast.AST, outer: ast.AST) -> bool:
        while node is not self._tree.module and node is not outer:
            node = self._tree.places[node].parent
        return node is outer

    def _tried(self, node: ast.AST) -> Iterator[str]:
        """The packages whose import, in a ``try`` around it, decides whether it is come to."""
        while node is not self._tree.module:
            parent, field, index = self._tree.places[node]
            if isinstance(parent, TRY) and field in ("body", "orelse"):
                before = parent.body[:index] if field == "body" else parent.body
                for each in before:
                    for name in _modules(each):
                        if name not in _EVERYWHERE and name not in sys.stdlib_module_names:
                            yield name
            node = parent


def _imported(alias: ast.alias, at: ast.AST) -> str:
    if isinstance(at, ast.ImportFrom):
        return "" if at.level or not at.module else f"{at.module}.{alias.name}"
    return alias.name if alias.asname else alias.name.partition(".")[0]


def _modules(statement: ast.stmt) -> Iterator[str]:
    """The first names of the modules that a statement imports."""
    if isinstance(statement, ast.Import):
        yield from (each.name.partition(".")[0] for each in statement.names)
    elif isinstance(statement, ast.ImportFrom) and not statement.level and statement.module:
        yield statement.module.partition(".")[0]


def _turns(node: ast.AST) -> bool:
    """Whether it changes the order of axes, or says in which they are."""
    if isinstance(node, ast.keyword):
        return node.arg == "tensor_layout"
    return isinstance(node, ast.Call) and last_name(node.func) in _TURNS


def _reads_mask(function: ast.AST, target: str) -> bool:
    """Whether a function does anything with the mask that it is given."""
    if not isinstance(function, _FUNCTIONS):
        return True
    arguments = function.args
    plain = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    names = _MASKS.intersection((*plain, *(each.arg for each in arguments.kwonlyargs)))
    if not names and len(plain) > _MASK_AT and target.endswith("scaled_dot_product_attention"):
        names = frozenset({plain[_MASK_AT]})
    if not names:
        rest = (arguments.vararg, arguments.kwarg)
        names = frozenset(each.arg for each in rest if each is not None)
    body = function.body if isinstance(function.body, list) else [function.body]
    return any(isinstance(node, ast.Name) and node.id in names for node in some(*body))
