"""What is public never names the user, and nothing else is changed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.privacy import Redactor

NAMES = st.one_of(
    st.sampled_from(
        ["home", "cuda", "torch", "users", "lib", "python", "john", "Jane Doe", "user"]
    ),
    st.text(
        st.characters(codec="utf-8", exclude_characters="/\\\0\n\r\t:\"'`<>|,;()[]{}=~"),
        min_size=1,
        max_size=12,
    ).filter(lambda name: name.strip(" .") == name and name not in (".", "..")),
)
PARTS = st.lists(st.sampled_from(["ComfyUI", ".venv", "lib", "torch", "models", "a b", "é"]),
                 max_size=4)  # fmt: skip


def segments(path: str) -> list[str]:
    return [part for part in re.split(r"[\\/]+", path) if part]


def test_home_is_a_tilde_and_only_the_whole_of_it() -> None:
    names = Redactor(("john",), ("/home/john",), ("box",))
    assert names.path("/home/john/ComfyUI/.venv").public == "~/ComfyUI/.venv"
    assert names.path("/home/john").public == "~"
    assert names.path("/home/johnny/x").public == "/home/user-1/x"
    assert names.path("/home/jill/x").public == "/home/user-2/x"
    assert names.path("/home/johnny/y").public == "/home/user-1/y"
    assert names.path("/mnt/john/x").public == "/mnt/user/x"
    assert names.path("/mnt/box/x").public == "/mnt/host/x"
    assert names.path("/home/johnny/x").local == "/home/johnny/x"
    assert names.path("/home/john/x").local == "~/x"
    assert names.path("/home/john/x").real == "/home/john/x"


@pytest.mark.parametrize(
    ("path", "public"),
    [
        (r"C:\Users\John Doe\ComfyUI", r"~\ComfyUI"),
        (r"c:\users\john doe\ComfyUI", r"~\ComfyUI"),
        ("c:/users/john doe/ComfyUI", "~/ComfyUI"),
        (r"D:\Users\Someone\x", r"D:\Users\user-1\x"),
        (r"D:\AI\John Doe\x", r"D:\AI\user\x"),
        ("/mnt/c/Users/JOHN DOE/x", "/mnt/c/Users/user/x"),
    ],
)
def test_windows_paths(path: str, public: str) -> None:
    names = Redactor(("John Doe",), (r"C:\Users\John Doe",), ())
    assert names.path(path).public == public


def test_a_user_called_like_a_folder_keeps_the_structure() -> None:
    for user in ("home", "cuda", "torch", "lib"):
        names = Redactor((user,), (f"/home/{user}",), ())
        assert names.path(f"/home/{user}/x/torch/lib").public == "~/x/torch/lib"
        assert names.path("/usr/local/cuda/lib").public == "/usr/local/cuda/lib"
        assert names.path(f"/data/home/{user}/x").public == "/data/home/user/x"


def test_messages() -> None:
    names = Redactor(("jane",), ("/home/jane", r"C:\Users\Jane Roe"), ("tower",))
    said = names.text("it is a link to /home/jane/bin/python3, seen by jane on tower.")
    assert said.public == "it is a link to ~/bin/python3, seen by user on host."
    assert said.local.startswith("it is a link to ~/bin/python3, seen by jane")
    spaced = names.text(r"made from the Python in C:\Users\Jane Roe\Py, gone")
    assert spaced.public == r"made from the Python in ~\Py, gone"
    assert names.text("/home/janet is another").public == "/home/user-1 is another"
    assert names.text("the janet cuda_jane build").public == "the janet cuda_jane build"


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("ssh jane@tower:22 said no", "ssh user@host:22 said no"),
        ("tower:8080 refused jane!", "host:8080 refused user!"),
        (r"D:\AI\Jane Roe\x is gone", r"D:\AI\user\x is gone"),
        ("owned by Jane Roe.", "owned by user."),
        ("PATH=/home/jane/bin:/home/jill/bin", "PATH=~/bin:/home/user-1/bin"),
        ("rsync tower:/srv/x", "rsync host:/srv/x"),
        ("cuda_jane jane-old janet", "cuda_jane jane-old janet"),
        ("gone: '/home/jane/x'", "gone: '~/x'"),
    ],
)
def test_names_in_the_shapes_of_messages(text: str, public: str) -> None:
    names = Redactor(("jane", "Jane Roe"), ("/home/jane",), ("tower",))
    assert names.text(text).public == public


@pytest.mark.parametrize(
    ("path", "public"),
    [
        ("/home/bob/backup/home/jill/x", "/home/user-1/backup/home/user-2/x"),
        ("/home/john/mnt/c/Users/Jill/x", "~/mnt/c/Users/user-1/x"),
        (r"C:\Users\Public\x", r"C:\Users\Public\x"),
        ("/home", "/home"),
        ("/", "/"),
        ("", ""),
        ("relative/home/jill", "relative/home/user-1"),
    ],
)
def test_every_folder_of_homes_counts(path: str, public: str) -> None:
    assert Redactor(("john",), ("/home/john",), ()).path(path).public == public


def test_identifiers_are_counted() -> None:
    names = Redactor((), (), ())
    first, second = names.uuid("GPU-5a3c"), names.uuid("GPU-77ff")
    assert (first.public, second.public) == ("GPU-1", "GPU-2")
    assert names.uuid("gpu-5A3C").public == "GPU-1"
    assert names.devices("0,GPU-77ff, MIG-1").public == "0,GPU-2,MIG-3"
    assert names.devices("").public == "" and names.uuid("").public == ""
    assert names.devices("gpu-77ff,all,-1,none,0:1").public == "GPU-2,all,-1,none,0:1"
    bare = names.devices("5a3c1f2e-0001-4000-8000-0123456789ab").public
    assert bare == "ID-4" and names.uuid("secret-1").public == "ID-5"
    assert names.devices("12345678").public == "12345678"


@settings(max_examples=100, deadline=None)
@given(NAMES, PARTS, st.sampled_from(["/home/{}", "/Users/{}", "C:\\Users\\{}", "c:/users/{}"]))
def test_no_user_below_homes_is_ever_public(user: str, parts: list[str], home: str) -> None:
    """Own or foreign, whatever the name; the number of segments below it stays."""
    root = home.format(user)
    separator = "\\" if "\\" in root else "/"
    path = separator.join([root, *parts])
    own = Redactor((user,), (root,), ()).path(path).public
    assert own.startswith("~") and segments(own)[1:] == [
        "user" if part.casefold() == user.casefold() and part not in COMMON else part
        for part in parts
    ]
    foreign = Redactor(("somebody-else",), ("/home/somebody-else",), ()).path(path).public
    place = len(segments(root)) - 1
    assert segments(foreign)[place] == "user-1"
    assert segments(foreign)[place + 1 :] == parts


COMMON = {"ComfyUI", "lib", "torch", "models", ".venv"}


@settings(max_examples=100, deadline=None)
@given(NAMES, st.text(max_size=60))
def test_any_message_can_be_redacted(user: str, message: str) -> None:
    names = Redactor((user,), (f"/home/{user}",), (user + "-host",))
    said = names.text(f"{message} /home/{user}/secret {message}")
    assert f"/home/{user}/secret" not in said.public


@settings(max_examples=70, deadline=None)
@given(st.text(st.characters(), max_size=12), st.text(st.characters(), max_size=80))
def test_nothing_is_too_odd_to_redact(name: str, text: str) -> None:
    names = Redactor((name,), (name, f"/home/{name}"), (name,))
    for found in (names.text(text), names.path(text), names.devices(text), names.uuid(text)):
        assert found.real == text


@settings(max_examples=70, deadline=None)
@given(
    st.from_regex(r"[a-z][a-z0-9]{3,9}( [A-Z][a-z]{3,8})?", fullmatch=True),
    st.sampled_from(["{} ", "'{}'", "{}:", "by {}, then", "{}@box", "(x {})", "/srv/{}/x", "{}!"]),
    st.booleans(),
)
def test_a_whole_name_in_a_message_never_stays(name: str, shape: str, upper: bool) -> None:
    name = f"q{name}"  # no word of the trade begins with a q
    names = Redactor((name,), (), ())
    said = names.text(shape.format(name.upper() if upper else name))
    assert name.casefold() not in said.public.casefold()
    assert said.public.count("user") == 1
