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


def test_identifiers_are_counted() -> None:
    names = Redactor((), (), ())
    first, second = names.uuid("GPU-5a3c"), names.uuid("GPU-77ff")
    assert (first.public, second.public) == ("GPU-1", "GPU-2")
    assert names.uuid("gpu-5A3C").public == "GPU-1"
    assert names.devices("0,GPU-77ff, MIG-1").public == "0,GPU-2,MIG-3"
    assert names.devices("").public == "" and names.uuid("").public == ""


@settings(max_examples=300, deadline=None)
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


@settings(max_examples=300, deadline=None)
@given(NAMES, st.text(max_size=60))
def test_any_message_can_be_redacted(user: str, message: str) -> None:
    names = Redactor((user,), (f"/home/{user}",), (user + "-host",))
    said = names.text(f"{message} /home/{user}/secret {message}")
    assert f"/home/{user}/secret" not in said.public
