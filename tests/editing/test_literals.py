"""Values replaced in JSON and Python: those that are meant, and no equal ones beside them."""

from __future__ import annotations

import pytest

from klein_doctor.editing.json_text import strings
from klein_doctor.editing.literals import NotThere, Place, in_json
from klein_doctor.editing.python_source import in_python

FLASH = "flash_attention_2"


def source(text: str, how: str = "attn_implementation", asks: str = FLASH) -> str:
    return in_python(text.encode(), [Place(1, how, asks, "sdpa")]).decode()


@pytest.mark.parametrize(
    ("how", "before", "after"),
    [
        ("attn_implementation", "f(note='X', attn_implementation='X')",
         "f(note='X', attn_implementation='sdpa')"),
        ("attn_implementation", "name = 'X'  # X", "name = 'sdpa'  # X"),
        ("set_attn_implementation", "m.set_attn_implementation('X'); print('X')",
         "m.set_attn_implementation('sdpa'); print('X')"),
        ("environ", "os.environ['DIFFUSERS_ATTN_BACKEND'] = 'X'; mode = 'X'",
         "os.environ['DIFFUSERS_ATTN_BACKEND'] = 'sdpa'; mode = 'X'"),
        ("environ", "os.environ.setdefault('DIFFUSERS_ATTN_BACKEND', 'X'); log('X')",
         "os.environ.setdefault('DIFFUSERS_ATTN_BACKEND', 'sdpa'); log('X')"),
        ("widget default", "w = {'attn': (['X', 'sdpa'], {'default': 'X'})}",
         "w = {'attn': (['X', 'sdpa'], {'default': 'sdpa'})}"),
        ("parameter default", "def f(a='X', attn_implementation='X'): pass",
         "def f(a='X', attn_implementation='sdpa'): pass"),
        ("argument default", "p.add_argument('--attn', choices=['X'], default='X')",
         "p.add_argument('--attn', choices=['X'], default='sdpa')"),
        ("attn_implementation",
         "a = f(attn_implementation='X'); b = {'attn_implementation': 'X'}",
         "a = f(attn_implementation='sdpa'); b = {'attn_implementation': 'sdpa'}"),
    ],
)  # fmt: skip
def test_of_equal_values_on_a_line_the_meant_one_changes(how: str, before: str, after: str) -> None:
    assert source(before.replace("X", FLASH), how) == after.replace("X", FLASH)


def test_where_nothing_tells_which_is_meant_a_person_decides() -> None:
    with pytest.raises(ValueError, match="more than once"):
        source(f"x = ('{FLASH}', '{FLASH}')")
    with pytest.raises(NotThere):
        source("x = 1")


def test_json_changes_under_its_key_alone() -> None:
    text = (
        '{"note": "X", "attn_implementation" :"X", "t": {"_attn_implementation": "X",\n'
        ' "attn_implementation": {"a": "X", "b": "sdpa"}}, "list": ["X", "attn_implementation"]}'
    ).replace("X", FLASH)
    wanted = text.replace(f':"{FLASH}"', ':"sdpa"').replace(f'{{"a": "{FLASH}"', '{"a": "sdpa"')
    place = Place(1, "attn_implementation", FLASH, "sdpa")
    assert in_json(text.encode(), [place]).decode() == wanted
    with pytest.raises(NotThere):
        in_json(wanted.encode(), [place])
    with pytest.raises(ValueError, match="Expecting"):
        in_json(b"{", [place])


def test_strings_of_json_are_told_with_their_paths() -> None:
    text = '{"a": ["x", {"b\\"": "y"}, []], "c": {"d": {}, "e": "z"}, "f": 1}'
    found = [(path, text[start:end]) for path, start, end in strings(text)]
    assert found == [(("a", 0), '"x"'), (("a", 1, 'b"'), '"y"'), (("c", "e"), '"z"')]
