"""Facts and targets to JSON and back, by the types of their fields.

``encode`` chooses one of the forms of every ``Private`` on the way; ``decode`` takes what a
stranger pasted and answers with the value or a ``DecodeError`` that names the place.
"""

from __future__ import annotations

import types
import typing
from typing import Any, TypeVar, Union

from klein_doctor.model import Known, Private, Unknown

T = TypeVar("T")

FORMS = ("real", "local", "public")
_MAX_TEXT = 4096
_MAX_ITEMS = 4096


class DecodeError(ValueError):
    """The document does not have the shape of a report."""


def encode(value: Any, form: str) -> Any:
    """Return value as JSON-ready data with every Private in one form (see FORMS)."""
    if isinstance(value, Private):
        return getattr(value, form)
    if isinstance(value, Known):
        return {"known": encode(value.value, form)}
    if isinstance(value, Unknown):
        return {"unknown": value.reason}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: encode(getattr(value, name), form) for name in value._fields}
    if isinstance(value, (tuple, list)):
        return [encode(item, form) for item in value]
    if isinstance(value, dict):
        return {key: encode(item, form) for key, item in value.items()}
    return value


def decode(kind: type[T], data: Any, where: str = "$") -> T:
    """Build a value of type kind from JSON data.

    Raises:
        DecodeError: naming the first place whose shape or type is not the expected one.
    """
    return typing.cast(T, _decode(kind, data, where))


def _decode(kind: Any, data: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return _decode_union(typing.get_args(kind), data, where)
    if origin is tuple:
        return _decode_tuple(typing.get_args(kind), data, where)
    if kind is Private:
        return Private.plain(_text(data, where))
    if isinstance(kind, type) and hasattr(kind, "_fields"):
        return _decode_named(kind, data, where)
    if kind is str:
        return _text(data, where)
    if kind is int and isinstance(data, int) and not isinstance(data, bool):
        if abs(data) < 2**63:
            return data
    if kind is float and isinstance(data, (int, float)) and not isinstance(data, bool):
        if abs(data) < 2**63:  # neither infinite nor NaN
            return float(data)
    if kind is bool and isinstance(data, bool):
        return data
    if kind is type(None) and data is None:
        return None
    raise DecodeError(f"{where} should be {getattr(kind, '__name__', kind)}")


def _decode_union(choices: tuple[Any, ...], data: Any, where: str) -> Any:
    if Unknown in choices:
        return _decode_fact(choices, data, where)
    if data is None and type(None) in choices:
        return None
    rest = [choice for choice in choices if choice is not type(None)]
    return _decode(rest[0], data, where)


def _decode_fact(choices: tuple[Any, ...], data: Any, where: str) -> Any:
    if not isinstance(data, dict) or len(data) != 1:
        raise DecodeError(f'{where} should be {{"known": ...}} or {{"unknown": "reason"}}')
    if "unknown" in data:
        return Unknown(_text(data["unknown"], where + ".unknown"))
    if "known" not in data:
        raise DecodeError(f'{where} should be {{"known": ...}} or {{"unknown": "reason"}}')
    (known,) = (choice for choice in choices if choice is not Unknown)
    return Known(_decode(typing.get_args(known)[0], data["known"], where + ".known"))


def _decode_tuple(args: tuple[Any, ...], data: Any, where: str) -> Any:
    if not isinstance(data, list) or len(data) > _MAX_ITEMS:
        raise DecodeError(f"{where} should be a list of at most {_MAX_ITEMS} items")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_decode(args[0], item, f"{where}[{n}]") for n, item in enumerate(data))
    if len(data) != len(args):
        raise DecodeError(f"{where} should be a list of {len(args)} items")
    return tuple(
        _decode(kind, item, f"{where}[{n}]")
        for n, (kind, item) in enumerate(zip(args, data, strict=True))
    )


def _decode_named(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise DecodeError(f"{where} should be an object")
    hints = typing.get_type_hints(kind)
    values = {}
    for name in kind._fields:
        if name in data:
            values[name] = _decode(hints[name], data[name], f"{where}.{name}")
        elif name in kind._field_defaults:
            values[name] = kind._field_defaults[name]
        elif Unknown in typing.get_args(hints[name]):
            values[name] = Unknown("not in this report")
        else:
            raise DecodeError(f"{where}.{name} is missing")
    return kind(**values)


def _text(data: Any, where: str) -> str:
    if not isinstance(data, str) or len(data) > _MAX_TEXT:
        raise DecodeError(f"{where} should be a text of at most {_MAX_TEXT} characters")
    return data
