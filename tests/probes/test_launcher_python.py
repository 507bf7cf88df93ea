"""The environment that a launcher starts ComfyUI with, as each shell names it."""

from __future__ import annotations

from pathlib import Path

import pytest
from homes import machine, venv, write
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import put_comfyui

from klein_doctor.launched import Started
from klein_doctor.probes.comfyui_places import configured_ports, places
from klein_doctor.probes.found import Found
from klein_doctor.probes.launchers import read_launchers

RUN = "\npython main.py\n"
HERE = 'DIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"\n'


def named(root: Path, name: str, text: str, kind: str = "manual") -> list[Started | None]:
    """What the commands of a file start ComfyUI with, on a machine with that folder at its top."""
    write(root / name, text)
    found = Found(root, kind, "home folder", None, "", root)
    platform = "linux" if name.endswith(".sh") else "win32"
    return [each.started for each in read_launchers(machine(root.parent, platform), found, ())]


@pytest.mark.parametrize(
    ("name", "text", "activated", "plain"),
    [
        ("run.sh", 'cd "$(dirname "$0")"; source env/bin/activate; python main.py', True, True),
        ("run.sh", ". ./env/bin/activate && python main.py", True, True),
        ("run.sh", HERE + 'source "$DIR/env/bin/activate"' + RUN, True, True),
        ("run.sh", 'source "$(dirname "$0")/env/bin/activate"' + RUN, True, True),
        ("run.sh", 'source "$(dirname "$(readlink -f "$0")")/env/bin/activate"' + RUN, True, True),
        ("run.sh", "cd models\n. ../env/bin/activate\ncd ..\nexec python main.py", True, True),
        ("run.sh", "if [ -d env ]; then source env/bin/activate; fi" + RUN, True, True),
        ("run.sh", "E=env\nsource $E/bin/activate" + RUN, True, False),
        ("run.sh", "source ~/env/bin/activate" + RUN, True, True),
        ("run.sh", "env/bin/python3 main.py --listen", False, True),
        ("run.sh", 'nohup "$(dirname "$0")/env/bin/python3" main.py &', False, True),
        ("run.sh", ". other/bin/activate\nenv/bin/python3 main.py", False, True),
        ("run.bat", "call env\\Scripts\\activate" + RUN, True, True),
        ("run.bat", '@call "%~dp0env\\Scripts\\activate.bat"' + RUN, True, True),
        ("run.bat", "cd /d %~dp0\nenv\\Scripts\\python.exe -s main.py", False, True),
        ("run.bat", 'cmd /k "env\\Scripts\\activate && python main.py"', True, True),
        ("run.bat", 'set "E=%~dp0env"\n"%E%\\Scripts\\python.exe" main.py', False, False),
        ("run.ps1", ".\\env\\Scripts\\Activate.ps1" + RUN, True, True),
        ("run.ps1", '& "$PSScriptRoot\\env\\Scripts\\Activate.ps1"' + RUN, True, True),
        ("run.ps1", "& .\\env\\Scripts\\python.exe main.py", False, True),
    ],
)
def test_the_environment_is_told(
    tmp_path: Path, name: str, text: str, activated: bool, plain: bool
) -> None:
    root = tmp_path / "home" / "jane"
    put_comfyui(root)
    python = venv(root / "env", windows=not name.endswith(".sh"))
    write(root / name, text)
    found = Found(root, "manual", "home folder", None, "", root)
    platform = "linux" if name.endswith(".sh") else "win32"
    (launcher,) = read_launchers(machine(tmp_path, platform), found, ())
    told = launcher.started
    assert told is not None
    assert (told.folder.real, told.there) == (str(root / "env"), True)
    assert Path(told.python.real).parent == python.parent
    assert (told.activated, told.plain) == (activated, plain)
    assert told.folder.public == "~/env"


@pytest.mark.parametrize(
    "text",
    [
        "if [ -d @1 ]; then\n source @1/bin/activate\nelse\n source @2/bin/activate\nfi",
        "if [ -d @1 ]; then . @1/bin/activate; elif [ -d @2 ]; then . @2/bin/activate; fi",
        "source @1/bin/activate 2>/dev/null || source @2/bin/activate",
        "if [ -d @0 ]; then\n source @0/bin/activate\nelse\n source @1/bin/activate\nfi",
        "if true; then echo; else echo; fi\nsource @2/bin/activate\nsource @1/bin/activate",
    ],
)
def test_of_several_the_first_that_is_there_counts(tmp_path: Path, text: str) -> None:
    root = tmp_path / "c"
    for name in ("env1", "env2"):
        venv(root / name)
    (told,) = named(root, "run.sh", text.replace("@", "env") + RUN)
    assert told is not None and told.folder.real == str(root / "env1")


@pytest.mark.parametrize(
    "text",
    [
        "python main.py",
        "# source env/bin/activate\npython main.py",
        "echo source env/bin/activate\npython main.py",
        "[ -f env/bin/activate ] && echo there\npython main.py",
        'source "$SOMEWHERE/bin/activate"\npython main.py',
        "source $(find / -name activate)\npython main.py",
        "conda activate comfy\npython main.py",
        "ls env/bin/python\npython main.py",
    ],
)
def test_where_none_is_named_none_is_told(tmp_path: Path, text: str) -> None:
    assert named(tmp_path / "c", "run.sh", text) == [None]


def test_programs_that_bring_their_own_are_not_asked(tmp_path: Path) -> None:
    text = "..\\python_embeded\\python.exe -s main.py"
    assert named(tmp_path / "c", "run.bat", text, "portable") == [None]


@settings(max_examples=70, deadline=None)
@given(
    st.sampled_from(["run.sh", "run.bat", "run.ps1"]),
    st.text(st.sampled_from("$(){}\"'%~!.\\/ ;&venvbicdatSrpsl0\n\0"), max_size=60),
)
def test_no_file_ends_the_reading(
    tmp_path_factory: pytest.TempPathFactory, name: str, text: str
) -> None:
    root = tmp_path_factory.mktemp("any")
    named(root, name, f"{text}/bin/activate\n{text}/bin/python main.py\npython main.py\n")


# --- which Python is judged for it -----------------------------------------------------------


def judged(root: Path, *files: tuple[str, str], **env: str) -> tuple[str, str]:
    """The environment that is judged, and where that is from."""
    for name, text in files:
        write(root / name, text)
    (found,) = places(machine(root.parents[2], **env))
    assert found.python is not None
    return str(found.python.parent.parent.relative_to(root.parents[2])), found.python_from


def test_the_launchers_environment_comes_before_what_lies_there(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "home" / "jane" / "ComfyUI")
    venv(root / "venv")
    venv(tmp_path / "else" / "where")
    venv(root / "old")
    active = str(venv(tmp_path / "active").parent.parent)
    own = ("home/jane/ComfyUI/venv", "own")
    assert judged(root) == own
    assert judged(root, ("run.sh", "source venv/bin/activate" + RUN), VIRTUAL_ENV=active) == own
    elsewhere = ("run.sh", "source /else/where/bin/activate" + RUN)
    assert judged(root, elsewhere) == ("else/where", "launcher")
    assert judged(root, elsewhere, VIRTUAL_ENV=active) == ("else/where", "launcher")
    # One that names none is started in whatever is active.
    assert judged(root, ("plain.sh", "python main.py")) == ("else/where", "launcher")
    # Two that disagree decide nothing.
    assert judged(root, ("second.sh", "old/bin/python3 main.py")) == own


def test_an_environment_that_is_not_there_decides_nothing(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "home" / "jane" / "ComfyUI")
    venv(root / "venv")
    gone = ("run.sh", "source /gone/bin/activate" + RUN)
    assert judged(root, gone) == ("home/jane/ComfyUI/venv", "own")


def test_ports_of_launchers_are_asked(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "home" / "jane" / "ComfyUI")
    write(root / "run.sh", "python main.py --port 18188 --listen\n")
    write(root / "usual.sh", "python main.py --port 8188\npython main.py --port=99999\n")
    outside = machine(tmp_path)
    found = places(outside)
    assert found[0].ports == (18188, 8188)
    assert configured_ports(outside, found) == (18188,)
    assert configured_ports(outside) == ()
