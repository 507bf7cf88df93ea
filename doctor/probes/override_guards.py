"""Whether a place in a stranger's source is reached without anybody's choice.

It is **guarded** where the source takes another way if the implementation is missing, or where
somebody chooses: below ``if is_flash_attn_2_available()``, after ``if not has_flash: return``, in
a ``try`` with a fallback. A condition on the card alone, such as its compute capability, is no
guard: a new card passes it, and there may be no kernel for it. One on the platform is taken for a
guard, whatever the platform.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from klein_doctor.probes.override_tree import (
    Binding,
    Place,
    Scope,
    Tree,
    dotted,
    last_name,
    some,
    text_of,
)
from klein_doctor.probes.override_words import CALLS, KEYS

_DEEPEST = 4
# A word in a condition that says: it asks about the implementation, or lets somebody choose it.
_CHOICE = re.compile(
    r"flash|sage|xformers|flex_?att|(?<![a-z0-9])fa_?[234]?(?![a-z0-9])|attn|attention|kernels"
    r"|find_spec|installed|(?:^|_)backend$|^(?:win32|darwin|linux)$",
    re.IGNORECASE,
)
_NO_CHOICE = re.compile(r"mask|heads?$|dim$|weights|slic|dropout|probs|output_att", re.IGNORECASE)
_SYSTEM = frozenset({"sys.platform", "os.name", "platform.system", "platform.machine"})
_EVIDENCE = re.compile(
    r"find_spec|import_module|__import__|importlib|installed|metadata|flash|sage|xformers|kernels",
    re.IGNORECASE,
)
_CARD = re.compile(r"capability|bf16_supported|get_device_name|ampere|hopper", re.IGNORECASE)
_PACKAGES = re.compile(r"flash|sage|xformers|kernels", re.IGNORECASE)
_SWITCH = re.compile(r"fast|optimi[sz]|accelerat|speed|perf|enabled?$", re.IGNORECASE)
_OPTIONS = frozenset({"args", "opt", "opts", "options", "cfg", "config", "params", "flags"})
_DEFAULTS = frozenset({"sdpa", "eager", "native", "auto", "math"})
_ALTERNATIVES = frozenset({"from_pretrained", "from_config", "reset_attention_backend", *CALLS})
_LEAVES = frozenset({"exit", "quit", "_exit", "abort"})
_QUIET = (ast.Pass, ast.Return, ast.Continue, ast.Break)
_HARMLESS = frozenset({"dict", "update", "setdefault", "setattr", "putenv", "get", "pop"})
_IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError")
_MESSAGE = re.compile(r"print|log|info|warn|debug|write", re.IGNORECASE)
TRY: tuple[type[ast.Try], ...] = (ast.Try, getattr(ast, "TryStar", ast.Try))
_NO_NAMES = frozenset({*KEYS, *CALLS})


class Guards:
    """Answers about the conditions of one tree. library: it is imported, never run by itself."""

    def __init__(self, tree: Tree, library: bool) -> None:
        self._tree = tree
        self._library = library
        self._known: dict[ast.AST, bool] = {tree.module: False}
        self._exits: dict[tuple[ast.AST, str], int | None] = {}

    def is_guarded(self, node: ast.AST) -> bool:
        """Whether a place is reached only by choice, or with the implementation at hand."""
        path = []
        while node not in self._known:
            path.append(node)
            node = self._tree.places[node].parent
        answer = self._known[node]
        for step in reversed(path):
            answer = answer or self._is_step_guarded(step, self._tree.places[step])
            self._known[step] = answer
        return answer

    def _is_step_guarded(self, node: ast.AST, place: Place) -> bool:
        parent, field, index = place
        if isinstance(node, ast.stmt):
            first = self._first_exit(parent, field)
            if first is not None and first < index:
                return True
        if isinstance(parent, (ast.If, ast.IfExp)) and field in ("body", "orelse"):
            scope = self._tree.seen[parent]
            settled = self.settled(parent.test, scope)
            if settled is None:
                return self.is_guard(parent.test, scope)
            return settled is (field == "orelse")
        if isinstance(parent, ast.ExceptHandler):
            return True  # after a failure: a fallback itself
        if isinstance(parent, TRY):
            return _is_tried(parent, field, index)
        if isinstance(parent, (ast.With, ast.AsyncWith)):
            names = [each.context_expr for each in parent.items]
            return any(
                last_name(each.func) == "suppress" for each in names if isinstance(each, ast.Call)
            )
        if isinstance(parent, ast.BoolOp) and isinstance(parent.op, ast.And):
            scope = self._tree.seen[parent]
            return any(self.is_guard(each, scope) for each in parent.values[:index])
        if isinstance(parent, ast.Match) and field == "cases":
            return any(_CHOICE.search(word) for word in _words(parent.subject))
        return False

    def _first_exit(self, parent: ast.AST, field: str) -> int | None:
        """The place in a block of the first ``if not available: return``."""
        key = (parent, field)
        if key not in self._exits:
            block = getattr(parent, field)
            self._exits[key] = next(
                (
                    index
                    for index, each in enumerate(block)
                    if isinstance(each, ast.If)
                    and isinstance(each.body[-1], (ast.Return, ast.Continue, ast.Break))
                    and self._may_exit(each)
                ),
                None,
            )
        return self._exits[key]

    def _may_exit(self, node: ast.If) -> bool:
        scope = self._tree.seen[node]
        settled = self.settled(node.test, scope)
        return self.is_guard(node.test, scope) if settled is None else settled

    # --- conditions ---

    def settled(self, test: ast.AST, scope: Scope, depth: int = 0) -> bool | None:
        """What a condition comes to unless somebody chooses otherwise; None unknown."""
        if depth > _DEEPEST:
            return None
        if isinstance(test, ast.Constant):
            return bool(test.value)
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            if _asks_for_key(test.operand):
                return True
            inner = self.settled(test.operand, scope, depth + 1)
            return None if inner is None else not inner
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            return self._compared(test, scope)
        if isinstance(test, (ast.Name, ast.Attribute)):
            if last_name(test) == "TYPE_CHECKING":
                return False
            found = scope.find(dotted(test))
            if len(found) == 1 and isinstance(found[0].value, (ast.Constant, ast.Name)):
                return self.settled(found[0].value, found[0].scope, depth + 1)
        return None

    def _compared(self, test: ast.Compare, scope: Scope) -> bool | None:
        left, sign, right = test.left, test.ops[0], test.comparators[0]
        if dotted(left) == "__name__" and isinstance(sign, ast.Eq) and self._library:
            return False
        if isinstance(sign, ast.NotIn) and text_of(left) in KEYS:
            return True
        if isinstance(right, ast.Constant) and right.value is None:
            absent = _asks_for_key(left) or any(
                isinstance(each.value, ast.Constant) and each.value.value is None
                for each in scope.find(dotted(left))
                if each.parameter
            )
            if absent and isinstance(sign, (ast.Is, ast.IsNot)):
                return isinstance(sign, ast.Is)
        return None

    def is_guard(self, test: ast.AST, scope: Scope, depth: int = 0) -> bool:
        """Whether a condition asks about the implementation, or for somebody's choice of it."""
        flag = test.operand if isinstance(test, ast.UnaryOp) else test
        if _SWITCH.search(last_name(flag)):
            if isinstance(flag, ast.Attribute) and last_name(flag.value) in _OPTIONS:
                return True
            if any(each.parameter for each in scope.find(dotted(flag))):
                return True
        for node in some(test):
            if isinstance(node, ast.Name):
                if self._name_tells(node, scope, depth):
                    return True
            elif isinstance(node, ast.Attribute):
                if dotted(node) in _SYSTEM or _is_choice(node.attr):
                    return True
            elif _is_choice(text_of(node) or ""):
                return True
        return False

    def _name_tells(self, node: ast.Name, scope: Scope, depth: int) -> bool:
        card = False
        for each in scope.find(node.id):
            if each.value is None or each.parameter or isinstance(each.value, ast.alias):
                continue
            if self._is_trial(each):
                return True
            words = list(_words(each.value))
            if any(_EVIDENCE.search(word) for word in words):
                return True
            card = card or any(_CARD.search(word) for word in words)
            simple = isinstance(each.value, ast.expr) and depth < _DEEPEST
            if simple and self.is_guard(each.value, each.scope, depth + 1):
                return True
        return not card and _is_choice(node.id)

    def _is_trial(self, binding: Binding) -> bool:
        """Whether a name gets its value in a ``try`` that imports such a package."""
        node = binding.at
        while node is not self._tree.module and not isinstance(node, ast.FunctionDef):
            node = self._tree.places[node].parent
            if isinstance(node, ast.Try) and _imports_package(node.body):
                return True
        return False


def _is_choice(word: str) -> bool:
    # That a model has such a method or key tells nothing about what is installed.
    return bool(_CHOICE.search(word)) and not _NO_CHOICE.search(word) and word not in _NO_NAMES


def _asks_for_key(node: ast.AST) -> bool:
    """Whether it is ``kwargs.get("attn_implementation")``."""
    return (
        isinstance(node, ast.Call)
        and last_name(node.func) == "get"
        and len(node.args) > 0
        and text_of(node.args[0]) in KEYS
    )


def _words(*nodes: ast.AST) -> Iterator[str]:
    """The names and texts below some nodes; the name of a definition is none of them."""
    for node in some(*nodes):
        if isinstance(node, ast.alias):
            yield node.name
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        else:
            yield last_name(node) or text_of(node) or ""


def _imports_package(statements: Iterable[ast.stmt]) -> bool:
    for node in some(*statements):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            if any(_PACKAGES.search(word) for word in _words(node)):
                return True
        elif isinstance(node, ast.Call) and node.args:
            text = text_of(node.args[0])
            called = last_name(node.func) in ("import_module", "find_spec", "version", "__import__")
            if called and text and _PACKAGES.search(text):
                return True
    return False


# --- try -------------------------------------------------------------------------------------


def _is_tried(parent: ast.Try, field: str, index: int) -> bool:
    """Whether a statement of a ``try`` has another way where it fails."""
    going_on = [each for each in parent.handlers if not _ends(each)]
    if not going_on or field not in ("body", "orelse"):
        return False
    if _imports_package(parent.body[:index] if field == "body" else parent.body):
        return True
    if field == "orelse":
        return False
    statement, after = parent.body[index], parent.body[index + 1 :]
    if not _can_fail(statement):  # it sets something, which only a load further on may try out
        loads = [each for each in after if _loads(each)]
        return any(_is_fallback(each, load) for each in going_on for load in loads)
    quiet = all(_is_quiet(each) for each in after) and not _loads(statement)
    return any(quiet or _is_fallback(each, statement) for each in going_on)


def _can_fail(statement: ast.stmt) -> bool:
    """Whether a statement does more than to put a value somewhere."""
    return any(
        isinstance(node, ast.Call) and last_name(node.func) not in _HARMLESS
        for node in some(statement)
    )


def _ends(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call):
        return last_name(last.value.func) in _LEAVES
    return isinstance(last, ast.Raise)


def _is_quiet(node: ast.stmt) -> bool:
    """Whether a statement goes on without what was tried: a message, a return."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return _MESSAGE.search(last_name(node.value.func)) is not None
    return isinstance(node, _QUIET)


def _loads(statement: ast.stmt) -> bool:
    return any(
        last_name(node.func) in ("from_pretrained", "from_config")
        for node in some(statement)
        if isinstance(node, ast.Call)
    )


def _is_fallback(handler: ast.ExceptHandler, statement: ast.stmt) -> bool:
    """Whether a handler does what failed in another way."""
    if handler.type is not None and last_name(handler.type) in (
        "ImportError",
        "ModuleNotFoundError",
    ):
        return True
    assigned = {dotted(node) for node in some(statement) if _is_target(node)} - {""}
    for node in some(*handler.body):
        if isinstance(node, ast.Continue) or text_of(node) in _DEFAULTS:
            return True
        if isinstance(node, ast.Call) and last_name(node.func) in _ALTERNATIVES:
            return True
        if _is_target(node) and dotted(node) in assigned:
            return True
    return False


def _is_target(node: ast.AST) -> bool:
    return isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store)
