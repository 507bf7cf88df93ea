"""Requirement files as pip would read them, for a target of another system and Python."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.installation import Wanted
from klein_doctor.privacy import Redactor
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.requirements import parse_requirements, read_requirements, wanted

PYTHON = (3, 12, 3)


def asked(
    folder: Path,
    raw: str | bytes,
    platform: str = "linux",
    python: tuple[int, ...] | None = PYTHON,
    machine: str = "x86_64",
    **versions: str,
) -> list[Wanted]:
    path = folder / "requirements.txt"
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    outside = Outside(folder, {}, platform, Redactor((), (), ()), machine=machine)
    return wanted(path, versions, outside, python)


def applies(folder: Path, marker: str, **around: object) -> bool:
    (only,) = asked(folder, f"x; {marker}", **around)  # type: ignore[arg-type]
    return only.applies


def test_what_is_asked_for_beside_what_is_there(tmp_path: Path) -> None:
    text = (
        "torch\ncomfy-kitchen==0.2.31 # pinned\nPyOpenGL>=3.1\n-r other.txt\n--pre\n\n"
        "# numpy\nnot a requirement!\n./local.whl\naio\\\nhttp>=3\n"
        "Hub[cli] @ https://example.org/hub.zip\n"
    )
    rows = asked(tmp_path, text, **{"comfy-kitchen": "0.2.10"})
    assert [(row.name, row.text, row.installed) for row in rows] == [
        ("torch", "torch", None),
        ("comfy-kitchen", "comfy-kitchen==0.2.31", "0.2.10"),
        ("pyopengl", "PyOpenGL>=3.1", None),
        ("aiohttp", "aiohttp>=3", None),
        ("hub", "Hub[cli] @ https://example.org/hub.zip", None),
    ]


@pytest.mark.parametrize(
    ("marker", "platform", "python", "machine", "holds"),
    [
        ('sys_platform == "win32"', "win32", PYTHON, "AMD64", True),
        ('sys_platform == "win32"', "linux", PYTHON, "x86_64", False),
        ('platform_system == "Darwin"', "darwin", PYTHON, "arm64", True),
        ('platform_machine == "aarch64"', "linux", PYTHON, "aarch64", True),
        ('os_name == "nt"', "win32", PYTHON, "AMD64", True),
        ('python_version < "3.10"', "linux", (3, 9), "x86_64", True),
        ('python_version < "3.10"', "linux", (3, 10, 1), "x86_64", False),
        ('python_full_version >= "3.12.3"', "linux", PYTHON, "x86_64", True),
        ('extra == "gpu"', "linux", PYTHON, "x86_64", False),
        # Where the target's Python is not known, only what no Python meets is left out.
        ('python_version < "3.10"', "linux", None, "x86_64", True),
        ('python_version >= "3.14"', "linux", None, "x86_64", True),
        ('sys_platform == "win32" and python_version < "3.10"', "linux", None, "x86_64", False),
    ],
)
def test_markers_are_judged_for_the_target(
    tmp_path: Path,
    marker: str,
    platform: str,
    python: tuple[int, ...] | None,
    machine: str,
    holds: bool,
) -> None:
    assert applies(tmp_path, marker, platform=platform, python=python, machine=machine) is holds


@pytest.mark.parametrize(
    "raw",
    [
        "numpy>=1\r\ntorch==2\r\n".encode("utf-16"),
        b"\xfe\xff" + "numpy>=1\ntorch==2".encode("utf-16-be"),
        b"\xef\xbb\xbfnumpy>=1\r\ntorch==2",
        b"numpy>=1 # caf\xe9\ntorch==2\n",
    ],
)
def test_files_of_windows_editors(tmp_path: Path, raw: bytes) -> None:
    assert [(row.name, row.text) for row in asked(tmp_path, raw)] == [
        ("numpy", "numpy>=1"), ("torch", "torch==2"),
    ]  # fmt: skip


def test_numbers_are_those_of_the_first_line() -> None:
    text = "# kept in C:\\wheels\\\na==1\nb==2 \\\n  --hash=sha256:00 \\\n  --hash=sha256:11\nc\n"
    assert [(line.number, line.text) for line in parse_requirements(text)] == [
        (2, "a==1"), (3, "b==2"), (6, "c"),
    ]  # fmt: skip


def test_only_lines_that_name_a_word_are_read() -> None:
    text = "numpy\nTorch==2\n--index-url https://example.org/torch\nopencv\n"
    assert [line.number for line in parse_requirements(text, ("torch",))] == [2, 3]


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://jane:secret@example.org/simple",
        "--index-url https://jane:se@secret@example.org/simple",
        "x @ git+https://secret@example.org/x.git@main",
        "x @ https://example.org/x.whl?token=secret",
        "-f https://example.org/simple?key=secret#part",
    ],
)
def test_what_lets_somebody_in_is_left_out(line: str) -> None:
    (only,) = parse_requirements(line)
    assert "secret" not in only.text and "jane" not in only.text
    assert "example.org/" in only.text


def test_long_lines_and_files_are_cut(tmp_path: Path) -> None:
    hashes = " \\\n".join(f" --hash=sha256:{number:064}" for number in range(60))
    rows = asked(tmp_path, f"a==1 \\\n{hashes}\nb\n" + "z" * 5000 + "\n")
    assert [row.name for row in rows][:2] == ["a", "b"]
    assert all(len(row.text) <= 120 for row in rows)
    assert len(asked(tmp_path, "a\n" * 500_000)) == 4000


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent", "folder", "pipe", "a\0b"):
        with pytest.raises(OSError):
            read_requirements(tmp_path / name)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_no_text_makes_it_raise(text: str) -> None:
    for line in parse_requirements(text):
        assert line.number >= 1 and len(line.text) <= 120 and line.text.isprintable()


MARKERS = st.text(alphabet=st.sampled_from("pythonversi_<>=!~ '\"().3andor"), max_size=40)


@settings(max_examples=70, deadline=None)
@given(MARKERS)
def test_no_marker_makes_it_raise(tmp_path_factory: pytest.TempPathFactory, marker: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    for row in asked(folder, f"x; {marker}", python=None):
        assert row.applies in (True, False)
