"""The places of a Python source that ask for an attention implementation other than the default.

Only its syntax tree decides. Comments, texts, comparisons and tables that map the names to code
are no such places, and what a choice or a test guards is none either (override_guards).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from klein_doctor.probes.override_guards import Guards
from klein_doctor.probes.override_names import Names, Value
from klein_doctor.probes.override_replaced import Swap, swaps
from klein_doctor.probes.override_tree import Scope, Tree, dotted, last_name, parse, some, text_of
from klein_doctor.probes.override_trim import trimmed
from klein_doctor.probes.override_words import (
    CALLS,
    COMFY_KEY,
    KEYS,
    VARIABLE,
    XFORMERS_CALL,
    asks_for_other,
    may_replace,
    names_klein,
)

_MOST_HITS = 200  # of one file
_LOADS = frozenset({"from_pretrained", "from_config", "_from_config", "from_single_file"})
_SETTERS = frozenset({"setdefault", "putenv", "setenv", "setattr"})
_GETTERS = frozenset({"get", "pop", "getattr"})
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
# A function or class that says in its name what it is for is used by whoever wants that.
_PURPOSE = re.compile(r"flash_?att|sage_?att|xformers|(?:^|_)fa_?[234](?:_|$)", re.IGNORECASE)
_COMFY_PURPOSE = re.compile(r"flash|sage|attn|attention|xformers", re.IGNORECASE)
_FUNCTION_TELLS = re.compile(r"flash_?att|flashattn|sage|xformers", re.IGNORECASE)
# A call of these only asks or tells.
_ASKS = re.compile(
    r"_?(?:is|has|can|supports?|check|warn|warning|log|print|debug|info|error)(?:_|$)"
)


class Hit(NamedTuple):
    """A place, in the words of Override."""

    line: int
    how: str
    asks: str
    owner: str
    model: str


class Found(NamedTuple):
    """What a source asks for; klein: it names Klein, FLUX.2 or Qwen3. swaps: what it replaces."""

    hits: tuple[Hit, ...]
    klein: bool
    swaps: tuple[Swap, ...] = ()


def read_source(text: str, library: bool) -> Found | None:
    """What a source asks for, None where it cannot be parsed.

    library: it is imported by something else, so that its ``__main__`` never runs.
    """
    replaces = may_replace(text.encode("utf-8", "replace"))
    module = (None if replaces else parse(trimmed(text))) or parse(text)
    if module is None:
        return None
    tree = Tree(module)
    hits = _Finder(tree, library).hits()
    # Most name it nowhere, not even in a comment.
    klein = bool(hits) and names_klein(text) and any(map(names_klein, _all_words(tree)))
    return Found(hits, klein, swaps(tree, Guards(tree, library)) if replaces else ())


class _Finder:
    def __init__(self, tree: Tree, library: bool) -> None:
        self._tree = tree
        self._guards = Guards(tree, library)
        self._names = Names(tree, self._guards)
        self._found: dict[ast.AST, dict[tuple[str, str], Hit]] = {}
        self._uses: dict[tuple[Scope, str], list[ast.Call]] = {}

    def hits(self) -> tuple[Hit, ...]:
        """The places in order of their lines, each literal once for everything it is given to."""
        for node, scope in self._tree.seen.items():
            if isinstance(node, ast.Call):
                self._note(node, scope)
        for node, scope in self._tree.seen.items():
            if isinstance(node, ast.Call):
                self._call(node, scope)
        for node, scope in self._tree.seen.items():
            if isinstance(node, ast.Dict):
                self._dict(node, scope)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                self._assignment(node, scope)
        # A name alone only where no other place came to its value.
        for node, scope in self._tree.seen.items():
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                self._named(node, scope)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                self._parameters(node)
        found = [hit for each in self._found.values() for hit in each.values()]
        return tuple(sorted(found)[:_MOST_HITS])

    # --- calls ---

    def _note(self, call: ast.Call, scope: Scope) -> None:
        """What is given on as ``**name`` or ``config=name``, and what is taken out of a dict."""
        for each in call.keywords:
            if each.arg in (None, "config") and isinstance(each.value, ast.Name):
                self._uses.setdefault((scope, each.value.id), []).append(call)
        if last_name(call.func) == "pop" and call.args and isinstance(call.func, ast.Attribute):
            key = text_of(call.args[0])
            if key in KEYS and dotted(call.func.value):
                scope.bind(f"{dotted(call.func.value)}[{key!r}]", None, call)

    def _call(self, call: ast.Call, scope: Scope) -> None:
        name = last_name(call.func)
        if _ASKS.match(name) or (_PURPOSE.search(name) and name != XFORMERS_CALL):
            return
        for each in call.keywords:
            if each.arg in (*KEYS, VARIABLE, COMFY_KEY):
                base = _bound_name(self._tree.places[call].parent) if name == "dict" else ""
                base = base or (dotted(call.func).rpartition(".")[0] if name == "update" else "")
                self._given(str(each.arg), each.value, call, scope, call, base)
            elif each.arg == "use_flash_attention_2" and name in _LOADS:
                self._old_switch(each.value, call, scope)
        first = call.args[0] if call.args else None
        if name in CALLS:
            value = first or _keyword(call, CALLS[name])
            self._values(name, self._names.values(value, scope), call, self._origin(call, scope))
        elif name == XFORMERS_CALL:
            self._add(name, Value("xformers", call), call, self._origin(call, scope))
        elif name in _SETTERS | _GETTERS:
            at = 1 if text_of(first) in (*KEYS, VARIABLE, COMFY_KEY) else 2
            key = text_of(call.args[at - 1]) if len(call.args) > at else None
            compared = isinstance(self._tree.places[call].parent, ast.Compare)
            if key in KEYS or (key in (VARIABLE, COMFY_KEY) and name in _SETTERS):
                if not compared:
                    base = dotted(call.func).rpartition(".")[0] if name == "setdefault" else ""
                    self._given(str(key), call.args[at], call, scope, None, base)
        elif name in ("add_argument", "option"):
            options = [text_of(each) or "" for each in call.args]
            if any(_ATTENTION.search(each) or each.endswith("-backend") for each in options):
                values = self._names.values(_keyword(call, "default"), scope)
                self._values("argument default", values, call, ("", ""))
        elif "Combo" in (name, last_name(getattr(call.func, "value", call.func))):
            if _ATTENTION.search(text_of(first or _keyword(call, "id")) or ""):
                choices = _keyword(call, "options") or (call.args[1] if call.args[1:] else None)
                self._widget(choices, _keyword(call, "default"), call, scope)

    def _old_switch(self, value: ast.AST, call: ast.Call, scope: Scope) -> None:
        for each in self._names.values(value, scope) or ():
            if each.value is True:
                flash = each._replace(value="flash_attention_2")
                self._add("use_flash_attention_2", flash, call, self._owner(call, scope))

    # --- dictionaries and assignments ---

    def _dict(self, node: ast.Dict, scope: Scope) -> None:
        place = self._tree.places[node]
        if isinstance(place.parent, ast.Compare):
            return
        for key, value in zip(node.keys, node.values, strict=True):
            text = text_of(key)
            if text in (*KEYS, VARIABLE, COMFY_KEY):
                name = _bound_name(place.parent)
                others = scope.names.get(f"{name}[{text!r}]", ())
                if any(each.value is None or self._guards.is_guarded(each.at) for each in others):
                    continue
                self._given(text, value, node, scope, self._call_around(place.parent), name)
            elif text and isinstance(value, ast.Tuple) and _ATTENTION.search(text):
                self._tuple(value, scope)

    def _call_around(self, node: ast.AST) -> ast.Call | None:
        """The call that a dictionary is a keyword of, ``**{...}`` or ``model_kwargs={...}``."""
        parent = self._tree.places[node].parent if isinstance(node, ast.keyword) else None
        return parent if isinstance(parent, ast.Call) else None

    def _tuple(self, node: ast.Tuple, scope: Scope) -> None:
        """A ComfyUI widget: ``([choices], {"default": choice})``; without it the first choice."""
        if not 1 <= len(node.elts) <= 2:
            return
        default = None
        if len(node.elts) == 2:
            if not isinstance(node.elts[1], ast.Dict):
                return
            pairs = zip(node.elts[1].keys, node.elts[1].values, strict=True)
            default = next((value for key, value in pairs if text_of(key) == "default"), None)
        self._widget(node.elts[0], default, node, scope)

    def _widget(
        self, choices: ast.AST | None, default: ast.AST | None, node: ast.AST, scope: Scope
    ) -> None:
        if isinstance(choices, ast.Name):
            found = scope.find(choices.id)
            choices = found[0].value if len(found) == 1 else None
        if isinstance(choices, (ast.List, ast.Tuple)) and choices.elts:
            texts = [text_of(each) for each in choices.elts]
            if None not in texts and text_of(default) not in (None, *texts):
                return  # ComfyUI takes no such value
            default = default or choices.elts[0]
        values = self._names.values(default, scope)
        self._values("widget default", values, node, ("", ""))

    def _assignment(self, node: ast.Assign | ast.AnnAssign, scope: Scope) -> None:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Subscript):
                key = text_of(target.slice)
            else:
                key = target.attr if isinstance(target, ast.Attribute) else None
            if key in (*KEYS, VARIABLE, COMFY_KEY) and node.value is not None:
                if dotted(target) and key in KEYS and scope.find(dotted(target)):
                    base = re.split(r"[.\[]", dotted(target), maxsplit=1)[0]
                    if base in ("self", "cls") and self._names.is_resolved(node.value):
                        continue
                    values = self._names.combined(scope.find(dotted(target)))
                    self._placed(key, values, node, scope, None, base)
                else:
                    self._given(str(key), node.value, node, scope, None)

    def _named(self, node: ast.Assign | ast.AnnAssign, scope: Scope) -> None:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name) and target.id in KEYS:
                if node.value is None or self._names.is_resolved(node.value):
                    continue
                values = self._names.combined(scope.find(dotted(target)))
                self._values(target.id, values, node, ("", ""))

    def _parameters(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        arguments = node.args
        plain = [*arguments.posonlyargs, *arguments.args]
        with_default = plain[len(plain) - len(arguments.defaults) :]
        pairs = [*zip(with_default, arguments.defaults, strict=True)]
        pairs += [
            (argument, default)
            for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
            if default is not None
        ]
        for argument, default in pairs:
            if argument.arg in KEYS and not self._names.is_resolved(default):
                values = self._names.values(default, self._tree.seen[node])
                self._values("parameter default", values, argument, ("", ""))

    # --- what was found ---

    def _given(
        self, key: str, value: ast.AST, at: ast.AST, scope: Scope, call: ast.Call | None,
        base: str = "",
    ) -> None:  # fmt: skip
        """A value given under one of the known names."""
        if key == COMFY_KEY:
            self._comfy(value, at, scope)
        else:
            self._placed(key, self._names.values(value, scope), at, scope, call, base)

    def _placed(
        self, key: str, values: list[Value] | None, at: ast.AST, scope: Scope,
        call: ast.Call | None, base: str,
    ) -> None:  # fmt: skip
        how = "environ" if key == VARIABLE else key
        owner = self._owner(call, scope) if call is not None else ("", "")
        if base:
            uses = self._uses.get((scope, base), [])
            open_uses = [each for each in uses if not self._guards.is_guarded(each)]
            if uses and not open_uses:
                return
            owner = self._owner(open_uses[0], scope) if uses else self._made_by(base, scope)
        self._values(how, values, at, owner)

    def _values(
        self, how: str, values: list[Value] | None, at: ast.AST, owner: tuple[str, str]
    ) -> None:
        for each in values or ():
            if isinstance(each.value, str) and asks_for_other(each.value):
                self._add("parameter default" if each.parameter else how, each, at, owner)

    def _add(self, how: str, value: Value, at: ast.AST, owner: tuple[str, str]) -> None:
        if len(self._found) >= _MOST_HITS or self._guards.is_guarded(at):
            return
        if self._is_for_that(at, _PURPOSE):
            return
        hit = Hit(getattr(value.node, "lineno", 0), how, str(value.value), *owner)
        others = self._found.setdefault(value.node, {})
        if owner == ("", "") and others:
            return
        others.pop(("", ""), None)
        others.setdefault(owner, hit)

    def _comfy(self, value: ast.AST, at: ast.AST, scope: Scope) -> None:
        """A function put before ComfyUI's own attention, told by what it names."""
        if self._is_for_that(at, _COMFY_PURPOSE):
            return  # a node that is for nothing else: it acts where somebody places it
        found = scope.find(dotted(value))
        parts = [value, *(each.value for each in found if isinstance(each.value, ast.stmt))]
        for part in parts:
            for node in some(part):
                word = last_name(node) or getattr(node, "name", "")
                if isinstance(word, str) and _FUNCTION_TELLS.search(word):
                    self._add("override", Value(word, value), at, ("", ""))
                    return

    def _is_for_that(self, node: ast.AST, purpose: re.Pattern[str]) -> bool:
        while node is not self._tree.module:
            node = self._tree.places[node].parent
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                if purpose.search(node.name):
                    return True
        return False

    # --- owners ---

    def _owner(self, call: ast.Call, scope: Scope) -> tuple[str, str]:
        """The class that a call is of, and the literal name of the model it loads."""
        name = last_name(call.func)
        base = call.func.value if isinstance(call.func, ast.Attribute) else None
        model = ""
        if name in _LOADS:
            first = call.args[0] if call.args else _keyword(call, "pretrained_model_name_or_path")
            values = self._names.values(first, scope) if first is not None else None
            if values and len(values) == 1 and not values[0].parameter:
                model = str(values[0].value or "")
        if base is not None and _is_class(last_name(base)):
            return self._own_name(base, scope), model
        return (self._own_name(call.func, scope) if _is_class(name) else ""), model

    def _own_name(self, node: ast.AST, scope: Scope) -> str:
        """The name a class was imported by, else the one it is called by."""
        found = scope.find(node.id) if isinstance(node, ast.Name) else []
        if len(found) == 1 and isinstance(found[0].value, ast.alias):
            return found[0].value.name.rpartition(".")[2]
        return last_name(node)

    def _origin(self, call: ast.Call, scope: Scope) -> tuple[str, str]:
        """What made the thing that a method is called of."""
        return self._made_by(dotted(call.func).rpartition(".")[0], scope)

    def _made_by(self, name: str, scope: Scope) -> tuple[str, str]:
        """What made ``a``, or ``self.a``, of ``a.b.c``."""
        while name:
            for each in scope.find(name):
                if isinstance(each.value, ast.Call):
                    return self._owner(each.value, each.scope)
            name = name.rpartition(".")[0]
        return "", ""


def _keyword(call: ast.Call, name: str) -> ast.AST | None:
    return next((each.value for each in call.keywords if each.arg == name), None)


def _is_class(name: str) -> bool:
    return name[:1].isupper()


def _bound_name(parent: ast.AST) -> str:
    """The name that a dictionary is assigned to, or put into."""
    if isinstance(parent, ast.Call) and last_name(parent.func) == "update":
        return dotted(parent.func).rpartition(".")[0]
    if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name):
        return parent.targets[0].id
    if isinstance(parent, ast.AnnAssign) and isinstance(parent.target, ast.Name):
        return parent.target.id
    return ""


def _all_words(tree: Tree) -> Iterator[str]:
    """Every identifier and string of a module."""
    for node in tree.places:
        for field in ("id", "attr", "name", "arg", "value", "module"):
            word = getattr(node, field, None)
            if isinstance(word, str):
                yield word
