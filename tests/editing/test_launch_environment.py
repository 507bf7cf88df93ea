"""Another environment in a launcher: what names the old one, and what only looks like it."""

from __future__ import annotations

import pytest

from klein_doctor.editing.launch_environment import can_stand, instead, names

ROOT, OLD, NEW = "/home/u/Comfy UI", "/home/u/Comfy UI/venv", "/home/u/Comfy UI/.venv-klein"


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("sh", "source @/bin/activate\n"),
        ("sh", '. "./@/bin/activate"; python main.py'),
        ("sh", '"$DIR/@/bin/python3" main.py'),
        ("sh", "[ -f @/bin/activate ] && . @/bin/activate"),
        ("bat", 'call "%~dp0@\\Scripts\\activate.bat"\r\n'),
        ("bat", "@\\Scripts\\python.exe main.py\r\n"),
        ("ps1", "& .\\@\\Scripts\\Activate.ps1\n"),
    ],
)
def test_the_name_is_replaced_and_nothing_else(kind: str, line: str) -> None:
    before, after = line.replace("@", "venv"), line.replace("@", ".venv-klein")
    assert names(before, OLD, ROOT)
    assert instead(before.encode(), kind, OLD, NEW, ROOT) == after.encode()


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("sh", "# source venv/bin/activate"),
        ("bat", "rem call venv\\Scripts\\activate"),
        ("sh", "source .venv/bin/activate"),
        ("sh", "source my-venv/bin/activate"),
        ("sh", 'source "$venv/bin/activate"'),
        ("sh", 'source "${venv}/bin/activate"'),
        ("bat", "call %VENV%\\Scripts\\activate"),
        ("sh", "ls venv/bin"),
    ],
)
def test_what_does_not_name_it_stays(kind: str, line: str) -> None:
    assert instead(line.encode(), kind, OLD, NEW, ROOT) == line.encode()


def test_one_that_lies_elsewhere_is_replaced_as_a_whole() -> None:
    line = "source '/opt/envs/a/bin/activate' && /opt/envs/ab/bin/python x"
    assert names(line, "/opt/envs/a", ROOT)
    assert instead(line.encode(), "sh", "/opt/envs/a", "/srv/c/.venv-klein", "/srv/c") == (
        line.replace("/opt/envs/a/", "/srv/c/.venv-klein/").encode()
    )
    assert not names("source ~/envs/a/bin/activate", "/opt/envs/a", ROOT)


def test_a_name_that_a_shell_would_part_is_not_written_where_quotes_may_lack() -> None:
    assert can_stand(NEW, OLD, ROOT)  # its last part alone is written
    assert not can_stand(NEW, "/opt/envs/a", ROOT)
    assert can_stand("/srv/c/.venv-klein", "/opt/envs/a", "/srv/c")
    assert can_stand("C:\\c\\.venv-klein", "D:\\e", "C:\\c")


def test_every_byte_of_a_strange_encoding_stays() -> None:
    data = "\ufeffcall venv\\Scripts\\activate\r\necho ü\r\n".encode("utf-16-le")
    assert instead(data, "bat", OLD, NEW, ROOT) == data.decode("utf-16-le").replace(
        "venv", ".venv-klein"
    ).encode("utf-16-le")
    assert instead(b"echo \xfc\r\nvenv\\Scripts\\python x\r\n", "bat", OLD, NEW, ROOT) == (
        b"echo \xfc\r\n.venv-klein\\Scripts\\python x\r\n"
    )
