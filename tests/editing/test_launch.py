"""Launch arguments taken out or changed: the file's bytes after it, and nothing else moved."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.editing.launch import loopback, without
from klein_doctor.probes.launch_flags import commands, listen_class


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("bat", "python main.py --lowvram --port 1\r\n", "python main.py --port 1\r\n"),
        ("bat", 'python main.py "--lowvram" --x', "python main.py --x"),
        ("bat", "set ARGS=--lowvram --x", "set ARGS=--x"),
        ("bat", 'set "ARGS=--x --lowvram"', 'set "ARGS=--x"'),
        ("bat", "rem --lowvram\necho --lowvram\n", "rem --lowvram\necho --lowvram\n"),
        ("bat", "main.py --lowvram-x --lowvram>log\n", "main.py --lowvram-x>log\n"),
        ("bat", "main.py ^\r\n  --lowvram ^\r\n  --x\r\np", "main.py ^\r\n  --x\r\np"),
        ("bat", "main.py ^\r\n  --lowvram\r\npause\r\n", "main.py\r\npause\r\n"),
        ("bat", "main.py ^\n --x ^\n --lowvram", "main.py ^\n --x"),
        ("bat", "main.py ^\n --lowvram --x ^\n --y\n", "main.py ^\n --x ^\n --y\n"),
        ("sh", "main.py \\\n  --lowvram \\\n  --x\n", "main.py \\\n  --x\n"),
        ("sh", "main.py --lowvram # --lowvram\n", "main.py # --lowvram\n"),
        ("sh", "A=(--x '--lowvram')\n", "A=(--x)\n"),
        ("sh", "A=(\n  --lowvram\n  --x\n)\n", "A=(\n  --x\n)\n"),
        ("ps1", '$a = @("m", "--lowvram", "--x")', '$a = @("m", "--x")'),
        ("ps1", '$a = @("--lowvram", "--x")', '$a = @("--x")'),
        ("ps1", "python main.py `\r\n --lowvram\r\n", "python main.py\r\n"),
        ("comfy-cli", "x = --lowvram\ndefault_launch_extras = --lowvram --x\n",
         "x = --lowvram\ndefault_launch_extras = --x\n"),
    ],
)  # fmt: skip
def test_a_switch_goes_and_nothing_is_left_of_it(kind: str, before: str, after: str) -> None:
    assert without(before.encode(), kind, "--lowvram", "none").decode() == after
    assert without(after.encode(), kind, "--lowvram", "none").decode() == after


@pytest.mark.parametrize(
    ("kind", "values", "before", "after"),
    [
        ("bat", "many", 'main.py "--fast" "fp16" a && pause', "main.py && pause"),
        ("bat", "one", "main.py --fast %V% --x", "main.py --x"),
        ("bat", "one", "main.py --fast ^\n 2 ^\n --x\n", "main.py ^\n --x\n"),
        ("sh", "one", "main.py --fast '2' \"$@\"", 'main.py "$@"'),
        ("sh", "optional", 'main.py --fast "$@"', 'main.py "$@"'),
        ("sh", "optional", "main.py --fast 2>&1", "main.py 2>&1"),
        ("sh", "one", "main.py --fast=2 --x", "main.py --x"),
        ("sh", "many", "main.py --fast a; b", "main.py; b"),
        ("ps1", "one", '@("m", "--fast", "2", "--x")', '@("m", "--x")'),
    ],
)
def test_its_values_go_with_it(kind: str, values: str, before: str, after: str) -> None:
    assert without(before.encode(), kind, "--fast", values).decode() == after


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("bat", "main.py --listen", "main.py --listen 127.0.0.1"),
        ("bat", 'main.py --listen "0.0.0.0" --x', 'main.py --listen "127.0.0.1" --x'),
        ("bat", "main.py --listen %HOST%", "main.py --listen 127.0.0.1"),
        ("bat", "main.py --listen %*", "main.py --listen 127.0.0.1 %*"),
        ("bat", "main.py --listen mybox --x", "main.py --listen 127.0.0.1 --x"),
        ("bat", 'main.py "--listen" --x', 'main.py "--listen" 127.0.0.1 --x'),
        ("bat", "main.py --listen ^\n  ::\n", "main.py --listen ^\n  127.0.0.1\n"),
        ("bat", 'set "A=--listen"', 'set "A=--listen 127.0.0.1"'),
        ("bat", 'cmd /k "main.py --listen"', 'cmd /k "main.py --listen 127.0.0.1"'),
        ("sh", "main.py --listen '0.0.0.0,::'", "main.py --listen '127.0.0.1'"),
        ("sh", 'main.py --listen "$HOST" "$@"', 'main.py --listen "127.0.0.1" "$@"'),
        ("sh", "main.py --listen ${HOST:-0.0.0.0} -x", "main.py --listen 127.0.0.1 -x"),
        ("sh", "main.py --listen=$HOST", "main.py --listen=127.0.0.1"),
        ("sh", 'main.py "--listen=::"', 'main.py "--listen=127.0.0.1"'),
        ("sh", "main.py --listen ''", "main.py --listen '127.0.0.1'"),
        ("sh", "main.py --listen localhost", "main.py --listen localhost"),
        ("ps1", '"m","--listen","0.0.0.0"', '"m","--listen","127.0.0.1"'),
        ("ps1", '"m","--listen"', '"m","--listen", "127.0.0.1"'),
        ("ps1", "main.py --listen 0.0.0.0,:: --x", "main.py --listen 127.0.0.1 --x"),
        ("comfy-cli", "default_launch_extras=--listen", "default_launch_extras=--listen 127.0.0.1"),
    ],
)  # fmt: skip
def test_whatever_listen_says_it_is_closed(kind: str, before: str, after: str) -> None:
    changed = loopback(before.encode(), kind).decode()
    assert changed == after
    if kind in ("bat", "sh") and '"A=' not in after and "/k" not in after:
        (words,) = commands(changed.replace("^\n", " "), kind)
        assert listen_class(words) == "loopback"


def test_other_encodings_stay_what_they_are() -> None:
    for encoding, mark in (("utf-16-le", b"\xff\xfe"), ("utf-8", b"\xef\xbb\xbf"), ("cp1252", b"")):
        before = mark + "rem Grüße\r\nmain.py --lowvram\r\n".encode(encoding)
        after = mark + "rem Grüße\r\nmain.py\r\n".encode(encoding)
        assert without(before, "bat", "--lowvram", "none") == after


TWO = """[
  {"id": "a", "installPath": "/home/jane/A", "launchArgs": "--listen  \\"0.0.0.0\\" --lowvram"},
  {"id": "b", "launchArgs": "--listen --lowvram", "installPath": "/home/jane/A/B"},
  {"id": "c", "installPath": "/home/jane/C"}
]
"""


def test_of_several_installations_one_is_edited() -> None:
    changed = loopback(TWO.encode(), "desktop-2", "/home/jane/A/ComfyUI").decode()
    assert changed == TWO.replace('\\"0.0.0.0\\"', '\\"127.0.0.1\\"')
    changed = without(TWO.encode(), "desktop-2", "--lowvram", "none", "/home/jane/A/B/ComfyUI")
    assert changed.decode() == TWO.replace("--listen --lowvram", "--listen")
    assert json.loads(changed)[0] == json.loads(TWO)[0]
    for root, why in (("/home/jane/C/ComfyUI", "no arguments"), ("/home/jane/AB", "not list")):
        with pytest.raises(ValueError, match=why):
            loopback(TWO.encode(), "desktop-2", root)


@settings(max_examples=100, deadline=None)
@given(
    st.text("\"'^`\\ \n\r\t$%@(),;|&<>#=-abelinstv01:.", max_size=60),
    st.sampled_from(["bat", "sh", "ps1", "comfy-cli"]),
)
def test_whatever_stands_there_no_byte_of_other_files_moves(text: str, kind: str) -> None:
    data = text.encode()
    if "--listen" not in text:
        assert loopback(data, kind) == data
    once = without(data, kind, "--listen", "optional")
    assert len(once) <= len(data)
