"""How the doctor was started: said beside the report where it changes what is seen, never else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import construct
import pytest
import recorded
from command import clean_environment, doctor
from terminal import Terminal

from klein_doctor.model import Known, Private, Report
from klein_doctor.started import Start, of_this_process, remarks

PLAIN = Start("linux", 1000, "/home/u/kd/.venv", "/usr", False, "/home/u", {"HOME": "/home/u"})
WINDOWS = PLAIN._replace(platform="win32", uid=None, prefix=r"C:\kd\.venv", base=r"C:\Python312")
SUDO = PLAIN._replace(uid=0, env={"HOME": "/root", "SUDO_USER": "u"})


def report(
    comfyui: str = "", *, wsl: int = 0, python_from: str = "comfyui", **interpreter: object
) -> Report:
    well = recorded.report("healthy-rtx5070-linux-cu130")
    python = well.facts.interpreter
    assert isinstance(python, Known)
    facts = well.facts._replace(
        system=Known(construct.system(wsl=wsl)),
        interpreter=Known(python.value._replace(**interpreter)),
    )
    aim = well.target._replace(comfyui=Private.plain(comfyui), python_from=python_from)
    return well._replace(facts=facts, target=aim)


BASE = report(kind="conda", prefix=Private.plain("/home/u/miniconda3"), python_from="CONDA_PREFIX")


@pytest.mark.parametrize(
    ("start", "seen", "words"),
    [
        (SUDO, report(), "started with sudo, so ~ is root's home"),
        (WINDOWS._replace(env={"WSLENV": ""}), report(), "Windows' Python, started from WSL"),
        (WINDOWS._replace(cwd=r"\\wsl.localhost\Ubuntu\home\u"), report(), "started from WSL"),
        (PLAIN, report("/mnt/c/ComfyUI", wsl=2), "on a drive of Windows"),
        (PLAIN, report(wsl=2), "a ComfyUI that Windows starts"),
        (PLAIN, BASE, "the Python judged is conda's base environment"),
        (PLAIN._replace(conda=True, prefix="/opt/conda"), report(), "installed in conda's base"),
        (
            WINDOWS._replace(base=r"C:\Program Files\WindowsApps\PythonSoftwareFoundation.3.12"),
            report(),
            "Python of the Microsoft Store",
        ),
        (PLAIN._replace(called=".venv/bin/klein-doctor"), report(), "type .venv/bin/klein-doctor"),
        (PLAIN._replace(called="/kd/klein-doctor"), report(), "'source /kd/activate'"),
        (
            WINDOWS._replace(called=r".venv\Scripts\klein-doctor"),
            report(),
            r"'.venv\Scripts\activate' puts it",
        ),
    ],
)
def test_it_is_said_where_it_changes_what_is_seen(start: Start, seen: Report, words: str) -> None:
    (text,) = remarks(start, seen)
    assert words in text
    assert text.endswith(".")


@pytest.mark.parametrize(
    ("start", "seen"),
    [
        (PLAIN, report()),
        (WINDOWS, report()),
        (SUDO, report("/opt/ComfyUI")),  # what was to be found was found
        (PLAIN._replace(uid=0, env={"HOME": "/root"}), report()),  # root of its own right
        (SUDO._replace(env={"SUDO_USER": "root"}), report()),
        (PLAIN, report("/home/u/ComfyUI", wsl=2)),
        (PLAIN._replace(conda=True, prefix="/opt/conda/envs/kd"), report()),
        (PLAIN, BASE._replace(target=BASE.target._replace(python_from="--python"))),
    ],
)
def test_nothing_is_said_where_it_does_not(start: Start, seen: Report) -> None:
    assert remarks(start, seen) == ()


def test_this_process_is_read() -> None:
    here = of_this_process()
    assert here.prefix and here.base and here.cwd == os.getcwd()


def test_who_types_a_path_is_told_what_to_type(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("klein-doctor")
    judged = ("--assume", "RTX 5070,driver=580", "--route", "comfyui", "--format", "brief")
    seen = Terminal([str(command), *judged], {**clean_environment(), "PATH": "/usr/bin:/bin"})
    try:
        seen.end()
        assert f"type {command}" in " ".join(seen.text.split())
    finally:
        seen.close()


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs root, as sudo is")
def test_it_stands_beside_the_report_and_not_in_it(tmp_path: Path) -> None:
    ran = doctor("--format", "json", "--route", "diffusers", env={"SUDO_USER": "somebody"})
    assert ran.whole and ran.err.startswith("klein-doctor: started with sudo")
    assert all(len(line) <= 80 for line in ran.err.splitlines())
    saved = tmp_path / "report.json"
    saved.write_text(ran.out, encoding="utf-8")
    assert "sudo" not in doctor("--from", saved, env={"SUDO_USER": "somebody"}).err
