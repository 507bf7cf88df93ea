"""Facts to JSON and back, and what strangers send instead."""

from __future__ import annotations

import json
import typing
from typing import Any

import construct
import pytest
import recorded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from klein_doctor.codec import DecodeError, decode, encode
from klein_doctor.model import Facts, Known, Private, System, Unknown


@pytest.mark.parametrize("name", recorded.names())
def test_there_and_back(name: str) -> None:
    data = recorded.load(name)["facts"]
    assert encode(decode(Facts, data), "public") == data


def test_forms() -> None:
    secret = Private("/home/jane/x", "~/x", "~/x!")
    facts = construct.machine()._replace(
        environment=Known(construct.environment(cuda_visible_devices=secret))
    )
    for form in ("real", "local", "public"):
        found = encode(facts, form)["environment"]["known"]["cuda_visible_devices"]
        assert found == getattr(secret, form)


def test_facts_that_an_older_report_lacks_are_unknown() -> None:
    data = recorded.load("h100-80gb-linux")["facts"]
    del data["torch"]
    assert decode(Facts, data).torch == Unknown("not in this report")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "facts should be an object"),
        ({"system": {"known": {}}}, "facts.system.known.os is missing"),
        ({"system": {"known": 1, "unknown": ""}}, "facts.system should be"),
        ({"system": {"guess": 1}}, "facts.system should be"),
        ({"system": {"unknown": 7}}, "facts.system.unknown should be a text"),
        ({"system": {"unknown": "x" * 5000}}, "at most 4096"),
    ],
)
def test_the_place_is_named(data: object, said: str) -> None:
    with pytest.raises(DecodeError, match=said.replace(".", r"\.")):
        decode(Facts, data, "facts")


def test_numbers_and_texts_are_not_mixed() -> None:
    good = encode(System("linux", "6", "", "x86_64", 2, ""), "public")
    assert decode(System, good).wsl == 2
    for bad in (True, 2.0, "2", None, 2**70):
        with pytest.raises(DecodeError):
            decode(System, {**good, "wsl": bad})


TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
PLAIN = {
    str: TEXTS,
    int: st.integers(1 - 2**63, 2**63 - 1),
    bool: st.booleans(),
    float: st.floats(-1e18, 1e18),
    Private: TEXTS.map(Private.plain),
    type(None): st.none(),
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that facts are made of."""
    args = typing.get_args(kind)
    if kind in PLAIN:
        return PLAIN[kind]
    if typing.get_origin(kind) is Known:
        return values(args[0]).map(Known)
    if kind is Unknown:
        return TEXTS.map(Unknown)
    if typing.get_origin(kind) is tuple:
        if args[-1] is Ellipsis:
            return st.lists(values(args[0]), max_size=2).map(tuple)
        return st.tuples(*(values(arg) for arg in args))
    if args:
        return st.one_of(*(values(arg) for arg in args))
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{name: values(hints[name]) for name in kind._fields})


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(values(Facts))
def test_any_facts_come_back_as_they_went(facts: Facts) -> None:
    sent = json.loads(json.dumps(encode(facts, "public")))
    assert decode(Facts, sent) == facts


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


OPTIONAL = ("comfyui", "proof", "generation", "past", "proven", "guard")


@settings(max_examples=100, deadline=None)
@given(JSONS, st.sampled_from(Facts._fields))
def test_arbitrary_json_is_a_decode_error(value: object, field: str) -> None:
    data = {**recorded.load("h100-80gb-linux")["facts"], field: {"known": value}}
    try:
        decode(Facts, data)
    except DecodeError:
        return
    lists = ("faults", "servers", "disks", "settings", "secrets", "workflows", "extensions")
    assert (
        (field in lists and value == [])
        or (field in OPTIONAL and value is None)
        or (field == "route" and isinstance(value, str))
    )


@settings(max_examples=70, deadline=None)
@given(JSONS, st.data())
def test_a_report_changed_in_one_place_decodes_or_names_the_place(
    value: object, data: st.DataObject
) -> None:
    document: Any = recorded.load("h100-80gb-linux")["facts"]
    place = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            break
        place = inner
    place[key] = value
    try:
        decode(Facts, document)
    except DecodeError as error:
        assert str(error).startswith("$.")
