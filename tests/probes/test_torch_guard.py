"""What keeps torch, read as pip reads it: real files, and pip's own answer beside ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from targets import make_venv

from klein_doctor.privacy import Redactor
from klein_doctor.probes.interpreter import read_interpreter
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.torch_guard import read_guard

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="paths as on Linux")


class Place:
    """An environment, a home and a ComfyUI in a temporary folder."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.python = make_venv(top / "env")
        self.base = top / "ComfyUI"
        (self.base / "custom_nodes").mkdir(parents=True)
        self.conf = top / "env" / "pip.conf"
        self.env = {
            "HOME": str(top / "home"), "XDG_CONFIG_DIRS": str(top / "xdg"),
            "PATH": os.environ["PATH"],
        }  # fmt: skip

    def put(self, name: str, text: str) -> Path:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def read(self, **env: str):  # type: ignore[no-untyped-def]
        outside = Outside(
            root=Path("/"), env={**self.env, **env}, platform="linux",
            redactor=Redactor.of_this_machine(self.env),
        )  # fmt: skip
        return read_guard(outside, read_interpreter(outside, str(self.python)), self.base)

    def pip_says(self, **env: str) -> str:
        # The environment has no pip: this one's is asked as if it ran there.
        source = (
            "import sys; sys.prefix = sys.argv.pop(1)\n"
            "from pip._internal.cli.main import main; sys.exit(main(['config', 'list']))"
        )
        argv = [sys.executable, "-c", source, str(self.top / "env")]
        ran = subprocess.run(
            argv, env={**self.env, **env}, capture_output=True, text=True, check=True
        )
        return ran.stdout


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def pins(found) -> list[str]:  # type: ignore[no-untyped-def]
    return [f"{pin.name}{pin.wants}" for pin in found]


def test_nothing_anywhere(place: Place) -> None:
    found = place.read()
    assert (found.pip, found.uv, found.unread, found.manager, found.listed) == ((), (), 0, None, ())


def test_the_doctors_own_and_what_stands_beside_it(place: Place) -> None:
    own = place.put("env/klein-doctor-constraints.txt", "# x\ntorch==2.14.1+cu130\n")
    more = place.put("more.txt", "numpy<2\nTorchVision [x] == 0.29.1 ; python_version>'3'\n")
    place.put("env/nested.txt", f"-c {more}\ntorchaudio @ https://u:secret@h/x.whl\n")
    place.conf.write_text(f"[install]\nconstraint = {own}\n    {own.parent / 'nested.txt'}\n")
    found = place.read()
    assert pins(found.pip) == ["torch==2.14.1+cu130", "torchaudio@", "torchvision==0.29.1"]
    assert [pin.own for pin in found.pip] == [True, False, False]
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("files", "env", "wins"),
    [
        ({"home/.config/pip/pip.conf": "install"}, {}, "home/.config/pip/pip.conf"),
        ({"home/.pip/pip.conf": "global", "env/pip.conf": "global"}, {}, "env/pip.conf"),
        ({"xdg/pip/pip.conf": "install", "env/pip.conf": "global"}, {}, "xdg/pip/pip.conf"),
        ({"env/pip.conf": "install"}, {"PIP_CONFIG_FILE": "own.conf"}, "own.conf"),
        ({"env/pip.conf": "install"}, {"PIP_CONSTRAINT": "var"}, "var"),
        ({"env/pip.conf": "install"}, {"PIP_CONSTRAINT": ""}, "env/pip.conf"),
        ({"env/pip.conf": "install"}, {"PIP_CONFIG_FILE": "/dev/null"}, ""),
        ({"home/.pip/pip.conf": "install"}, {"PIP_CONFIG_FILE": "own.conf"}, "own.conf"),
    ],
)
def test_which_file_counts_is_what_pip_says(
    place: Place, files: dict[str, str], env: dict[str, str], wins: str
) -> None:
    told = {**files, **({"own.conf": "install"} if env.get("PIP_CONFIG_FILE") else {})}
    for number, (name, section) in enumerate(told.items()):
        listed = place.put(f"c{number}.txt", f"torch=={number}.0\n")
        place.put(name, f"[{section}]\nconstraint = {listed}\n")
    env = {k: str(place.top / v) if v.endswith(".conf") else v for k, v in env.items()}
    if env.get("PIP_CONSTRAINT"):
        env["PIP_CONSTRAINT"] = str(place.put("var.txt", "torch==9.0\n"))
    names = [*told, "var"]
    expected = (
        [] if not wins else ["torch==9.0" if wins == "var" else f"torch=={names.index(wins)}.0"]
    )
    assert pins(place.read(**env).pip) == expected
    # pip lists what it has read; of install and global the first counts.
    said = dict(line.split("=", 1) for line in place.pip_says(**env).splitlines() if "=" in line)
    values = [said.get(f"{part}.constraint", "") for part in (":env:", "install", "global")]
    first = next((value.strip("'") for value in values if value.strip("'")), "")
    assert (Path(first).read_text().split() if first else []) == expected


def test_addresses_and_what_is_gone_are_counted(place: Place) -> None:
    place.conf.write_text("[install]\nconstraint = https://h/c.txt /gone.txt file:///gone%00\n")
    assert place.read().unread == 3


def test_spaces_and_other_signs_come_as_an_address(place: Place) -> None:
    path = place.put("mit Leer é/c.txt", "torch===2.0\n")
    place.conf.write_text(f"[global]\nconstraint: {path.as_uri()}\n", encoding="utf-8")
    assert pins(place.read().pip) == ["torch===2.0"]


def test_circles_and_rubbish_end(place: Place) -> None:
    path = place.put("c.txt", "-c c.txt\n-c d.txt\n\0\xff torch==\n")
    place.put("d.txt", "-c c.txt\ntorch==1.0\n" + "x" * 1000)
    place.conf.write_text(f"[install]\nconstraint = {path}\n")
    assert pins(place.read().pip) == ["torch==1.0"]
    place.conf.write_bytes(b"constraint = x\n[a\n\xff")
    assert place.read().pip == ()


def test_uv_is_told_by_a_variable(place: Place) -> None:
    path = place.put("u.txt", "torch==2.14.1\n")
    assert pins(place.read(UV_CONSTRAINT=str(path)).uv) == ["torch==2.14.1"]


@pytest.mark.parametrize(
    ("folders", "settings", "where", "uv"),
    [
        (["custom_nodes/ComfyUI-Manager"], "", "custom_nodes/ComfyUI-Manager", False),
        (["custom_nodes/comfyui-manager", "user/default/ComfyUI-Manager"],
         "[default]\nuse_uv = True\n", "user/default/ComfyUI-Manager", True),
        (["custom_nodes/comfyui-manager", "user/__manager"], "use_uv = False",
         "user/__manager", False),
        (["user/__manager"], "", "user/__manager", True),
        (["user/__manager"], "[default]\nuse_uv=false\r\n", "user/__manager", False),
    ],
)  # fmt: skip
def test_the_manager(place: Place, folders: list[str], settings: str, where: str, uv: bool) -> None:
    for name in folders:
        (place.base / name).mkdir(parents=True)
    place.put(f"ComfyUI/{where}/config.ini", settings)
    place.put(f"ComfyUI/{where}/pip_blacklist.list", "xformers\r\n torch \r\ntorchaudio")
    found = place.read()
    assert found.manager is not None and found.manager.real == str(place.base / where)
    assert (found.listed, found.manager_uv) == (("torch", "torchaudio"), uv)
