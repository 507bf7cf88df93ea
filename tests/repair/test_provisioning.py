"""The examples of docs/provisioning: run as they stand, with stand-ins for what is far away."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import package_index as p
import pytest
import scene as s
from command import Ran, clean_environment, fresh
from scene import Scene
from trees import PINS, put_comfyui

from klein_doctor.rehearse.hub import Hub, HubFile, Repository
from klein_doctor.rows import RECIPES, read
from klein_doctor.transaction.lock import NAME, held

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="for sh")
DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLES = DOCS / "provisioning"
Make = Callable[..., Scene]
# A checkout of klein-doctor, as far as pip can tell: what it installs runs the doctor under test.
_BACKEND = """
import pathlib
def build_wheel(folder, config_settings=None, metadata_directory=None):
    made = pathlib.Path(__file__).parent / "made"
    (wheel,) = made.iterdir()
    pathlib.Path(folder, wheel.name).write_bytes(wheel.read_bytes())
    return wheel.name
"""
_PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
_SCRIPT = "import os, sys\ndef main():\n    os.execv({0!r}, [{0!r}, '-m', 'klein_doctor', *sys.argv[1:]])\n"  # noqa: E501


@pytest.mark.parametrize("name", ["provision.sh", "cloud-init.yaml", "Dockerfile"])
def test_the_page_shows_each_example_as_it_is(name: str) -> None:
    text = (EXAMPLES / name).read_text("utf-8")
    assert f"\n{text}```\n" in (DOCS / "fixing.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["provision.sh", "cloud-init.yaml", "Dockerfile"])
def test_an_example_names_fixes_and_options_that_there_are(name: str) -> None:
    from klein_doctor.arguments import parser
    from klein_doctor.fixing import fixes

    text = (EXAMPLES / name).read_text("utf-8")
    for names in re.findall(r"--only ([\w,-]+)", text):
        assert set(names.split(",")) <= set(fixes())
    options = set(re.findall(r"(?<![\w-])--(?!depth|branch|no-)[a-z][a-z-]+", text))
    assert options <= {o for a in parser()._actions for o in a.option_strings}


def project(folder: Path) -> None:
    """The checkout that is installed."""
    (folder / "made").mkdir(parents=True)
    files = {"standin_doctor.py": _SCRIPT.format(sys.executable)}
    wheel = p.wheel("klein-doctor", "0.1.0", files, scripts={"klein-doctor": "standin_doctor:main"})
    (folder / "made" / p.file_name(wheel)).write_bytes(wheel)
    (folder / "backend.py").write_text(_BACKEND)
    (folder / "pyproject.toml").write_text(_PROJECT)


def shims(folder: Path, **scripts: str) -> str:
    """A PATH on which these come first."""
    folder.mkdir()
    python = f'exec {shlex.quote(sys._base_executable)} "$@"'  # type: ignore[attr-defined]
    for name, body in {"python": python, "python3": python, **scripts}.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    return os.pathsep.join((str(folder), os.environ["PATH"]))


def run(script: str | list[str], env: Mapping[str, str], cwd: Path) -> Ran:
    argv = ["sh", "-c", script] if isinstance(script, str) else script
    return fresh(argv, env, cwd=cwd, limit_s=s.LIMIT_S)


def twins(scene: Scene) -> dict[str, str]:
    """The scene's environment, in which a bare klein-doctor keeps to the scene."""
    state, recipe = str(scene.top / s.STATE), str(scene.top / "recipe")
    return {**scene.env, "KLEIN_DOCTOR_STATE_DIR": state, "KLEIN_DOCTOR_RECIPE": recipe}


# --- the shell script ------------------------------------------------------------------------


def provisioned(scene: Scene, **more: str) -> Ran:
    """Run the script; it finds klein-doctor on the PATH."""
    path = scene.top / "caches" / "bin"
    if not path.exists():
        doctor = f'exec {shlex.quote(sys.executable)} -m klein_doctor "$@"'
        shims(path, **{"klein-doctor": doctor})
    env = {**twins(scene), "LOGS": str(scene.top / "caches"), "PAUSE": "0",
           "PATH": os.pathsep.join((str(path), os.environ["PATH"])), **more}  # fmt: skip
    return run(["sh", str(EXAMPLES / "provision.sh")], env, scene.top)


def test_the_script_is_one_for_any_shell() -> None:
    for shell in ("sh", "bash", "dash"):
        try:
            done = subprocess.run([shell, "-n", str(EXAMPLES / "provision.sh")], check=False)
        except FileNotFoundError:
            continue
        assert done.returncode == 0


def test_the_script_mends_guards_and_changes_nothing_the_second_time(make_scene: Make) -> None:
    scene = make_scene(small=True)
    ran = provisioned(scene)
    assert (ran.code, ran.out) == (0, ""), ran.err
    document = json.loads((scene.top / "caches" / "klein-doctor.json").read_text())
    assert document["changed"] is True
    assert (scene.venv / "klein-doctor-constraints.txt").is_file()
    after = scene.tree()
    assert provisioned(scene).code == 0
    assert scene.tree() == after
    log = (scene.top / "caches" / "klein-doctor.log").read_text()
    assert log.count("nothing to do") == 1


def test_the_script_finds_a_home_where_none_is_set(tmp_path: Path) -> None:
    """As cloud-init and systemd start it; the doctor of this test tells what it is given."""
    home = tmp_path / "home"
    home.mkdir()
    tells = shims(tmp_path / "bin", getent=f"echo x:x:0:0::{home}:/bin/sh",
                  **{"klein-doctor": 'echo "$HOME $*" >> "$LOGS/asked"'})  # fmt: skip
    ran = run(["sh", str(EXAMPLES / "provision.sh")], {"PATH": tells, "LOGS": str(tmp_path)}, home)
    assert ran.code == 0, ran.err
    first, guard = (tmp_path / "asked").read_text().splitlines()
    assert first.startswith(f"{home} --fix --comfyui {home}/ComfyUI --deadline 45m")
    assert guard.startswith(f"{home} --fix --comfyui {home}/ComfyUI --only guard-torch")
    assert (home / "ComfyUI").is_dir()


def test_the_script_tries_again_and_ends_with_the_code(make_scene: Make) -> None:
    scene = make_scene(vae=False)
    before = scene.tree()
    with held(scene.comfyui / NAME):
        ran = provisioned(scene, TRIES="2")
    assert ran.code == 7
    log = (scene.top / "caches" / "klein-doctor.log").read_text()
    assert log.count("another klein-doctor is at work") == 2
    assert scene.tree() == before


# --- cloud-init ------------------------------------------------------------------------------


def test_cloud_init_runs_as_the_user(make_scene: Make) -> None:
    from ruamel.yaml import YAML

    scene = make_scene(small=True)
    text = (EXAMPLES / "cloud-init.yaml").read_text("utf-8")
    assert text.startswith("#cloud-config\n")
    commands = YAML(typ="safe").load(text)["runcmd"]
    home = scene.top / "home"
    project(home / "klein-doctor")
    # su - USER -c COMMAND, as somebody who may not become another user can do it.
    su = f'[ "$1 $2 $3" = "- ubuntu -c" ] && cd {shlex.quote(str(home))} && exec sh -c "$4"'
    env = {**twins(scene), "PATH": shims(scene.top / "caches" / "bin", su=su)}
    for command in commands:
        ran = run([str(word) for word in command], env, scene.top)
        assert ran.code == 0, ran.err
    document = json.loads((home / "klein-doctor.json").read_text())
    assert (document["changed"], document["exit_code"]) == (True, 0)
    assert "proven by digest" in (home / "klein-doctor.log").read_text()


# --- the image -------------------------------------------------------------------------------


def parts() -> dict[str, tuple[str, bytes]]:
    """Stand-ins of the three files, by role: path and content."""
    from test_recipe_added import NAMES, data_of

    return {role: (name, data_of(role)) for role, name in NAMES.items()}


def layers() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile that do something, with what they say."""
    text = (EXAMPLES / "Dockerfile").read_text("utf-8")
    whole = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", text))
    lines = [line.split(None, 1) for line in whole.splitlines() if line.strip()]
    return [(word, rest) for word, rest in lines]


def repository(folder: Path) -> dict[str, str]:
    """ComfyUI's repository as git finds it here; the environment that leads there."""
    put_comfyui(folder)
    (folder / "requirements.txt").write_text(
        "torch\n" + "".join(f"{name}=={version}\n" for name, version in PINS.items())
    )
    for place in folder.rglob("*"):
        if place.is_dir() and not any(place.iterdir()):
            (place / "put_files_here").touch()
    install = read(RECIPES / "comfyui.toml")["install"][0]
    who = ("-c", "user.name=x", "-c", "user.email=x@x")
    for words in (("init", "-q", "-b", "master"), ("add", "-A"), (*who, "commit", "-qm", "x"),
                  ("tag", install["tag"])):  # fmt: skip
        subprocess.run(["git", *words], cwd=folder, check=True, env=clean_environment())
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.file://{folder}.insteadOf",
            "GIT_CONFIG_VALUE_0": install["url"]}  # fmt: skip


def test_the_image_is_built(tmp_path: Path, index: p.PackageIndex) -> None:
    from test_recipe_added import COMMIT, downloads

    root, recipe = tmp_path / "root", tmp_path / "recipe"
    (root / "opt").mkdir(parents=True)
    recipe.mkdir()
    p.put_trio(index, "cu130")
    for name, version in PINS.items():
        index.add(p.wheel(name, version))
    (recipe / "downloads.toml").write_text(downloads())
    (recipe / "torch.toml").write_text(
        f'[[install]]\nvariant = "cu130"\nindex_url = "{index.url("cu130")}"\n'
    )
    there = str(root / "opt")
    with Hub() as hub:
        files = {name: HubFile(data) for name, data in parts().values()}
        hub.add(Repository("me/mini", COMMIT, files))
        env = {
            **clean_environment(), **repository(tmp_path / "upstream"), "HOME": str(root),
            "PATH": shims(tmp_path / "bin", **{"apt-get": "exit 0"}), "NO_PROXY": "*",
            "HF_ENDPOINT": hub.endpoint, "PIP_INDEX_URL": index.url("simple"),
            "XDG_CONFIG_DIRS": str(recipe), "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "KLEIN_DOCTOR_RECIPE": str(recipe),
        }  # fmt: skip
        for word, rest in layers():
            rest = rest.replace("/opt/", f"{there}/")
            if word == "ENV":
                pairs = (part.partition("=") for part in shlex.split(rest))
                env.update({name: value for name, _, value in pairs})
            if word == "COPY":
                project(Path(rest.split()[-1]))
            if word == "RUN":
                ran = run(rest, env, root)
                assert ran.code == 0, f"{rest}\n{ran.out}\n{ran.err}"
    comfyui = root / "opt" / "ComfyUI"
    for name, data in parts().values():
        assert (comfyui / "models" / name).read_bytes() == data
    site = next((comfyui / ".venv" / "lib").glob("python*/site-packages"))
    assert list(site.glob("torch-2.14.1+cu130.dist-info"))
    for name in PINS:
        assert list(site.glob(f"{name.replace('-', '_')}-*.dist-info")), name
    assert "torch==2.14.1+cu130" in (comfyui / ".venv/klein-doctor-constraints.txt").read_text()
    assert not list((root / "opt" / "klein-state").glob("runs/*/files"))
    (start,) = [json.loads(rest) for word, rest in layers() if word == "CMD"]
    assert all(Path(part.replace("/opt", there)).exists() for part in start)
