"""Where a change of PyTorch would break what was compiled for it: an environment beside the old."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import package_index as p
import pytest
import scene as s
from libraries import shared
from scene import Scene
from trees import PINS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="paths as on Linux")
Make = Callable[..., Scene]
XFORMERS = p.wheel(
    "xformers", "0.0.30", {"xformers/__init__.py": "", "xformers/_C.so": shared(["ops"])}
)
ONLY = ("--fix", "--only", "install-torch", "--format", "json")


def with_xformers(make_scene: Make, *, requirements: bool = True) -> Scene:
    """A torch that cannot use the card, and an extension that was compiled for it."""
    scene = make_scene(vae=False)
    scene.index.add(XFORMERS)
    if requirements:
        scene.index.add(*(p.wheel(name, version) for name, version in PINS.items()))
    scene._install("xformers", index="simple")
    return scene


def freeze(scene: Scene, name: str) -> list[str]:
    argv = [str(scene.comfyui / name / "bin/python"), "-m", "pip", "freeze"]
    ran = subprocess.run(argv, env=scene.env, capture_output=True, text=True, check=True)
    return ran.stdout.split()


def test_it_is_made_judged_found_again_and_taken_back(make_scene: Make) -> None:
    scene = with_xformers(make_scene)
    before, frozen = scene.tree(), scene.packages()
    ran = scene.doctor(*ONLY)
    assert ran.code in (0, 1), ran.err
    (step,) = ran.document["steps"]
    assert (step["fix"], step["state"]) == ("make-venv", "done"), step
    new = scene.comfyui / ".venv-klein"
    assert f"{new.name}/bin/python" in step["says"].replace("~/", "")
    # The old one is as it was, the launcher starts the new one, whose findings these are.
    after = {k: v for k, v in scene.tree().items() if ".venv-klein" not in k}
    changed = [name for name in before if after[name] != before[name]]
    assert after.keys() == before.keys() and [os.path.basename(name) for name in changed] == [
        "run.sh"
    ]
    assert b'/.venv-klein/bin/python" main.py' in (scene.comfyui / "run.sh").read_bytes()
    assert scene.packages() == frozen
    assert ran.verdicts()["torch-lacks-arch"] == "pass"
    there = ran.document["facts"]["interpreter"]["known"]["prefix"]
    assert there.endswith("/.venv-klein")
    assert ran.document["target"]["python_from"] == "comfyui"
    listed = freeze(scene, ".venv-klein")
    assert "torch==2.14.1+cu130" in listed and "comfy-kitchen==0.2.31" in listed
    assert not [line for line in listed if line.startswith("xformers")]
    # A plain diagnosis finds it by itself, and nothing is left to do for torch.
    again = scene.doctor("--format", "json")
    assert again.document["facts"]["interpreter"]["known"]["prefix"] == there
    assert scene.doctor(*ONLY).document["steps"] == []
    scene.index.stop()
    assert scene.doctor("undo").code == 0
    assert scene.tree() == before


def test_the_answers_choose(make_scene: Make) -> None:
    scene = with_xformers(make_scene)
    answers = scene.top / "caches" / "answers.toml"
    plans = {}
    for answer in ("private", "here"):
        answers.write_text(f'environment = "{answer}"\n')
        ran = scene.doctor(*ONLY, "--dry-run", "--answers", str(answers))
        (plans[answer],) = ran.document["plan"]
    assert plans["private"]["fix"] == "make-venv"
    assert "xformers 0.0.30" in plans["private"]["title"]
    assert plans["private"]["touches"] == []
    assert plans["here"]["fix"] == "install-torch"
    assert plans["here"]["touches"] == ["xformers 0.0.30"]
    ran = scene.doctor(*ONLY, "--answers", str(answers))
    assert [step["state"] for step in ran.document["steps"]] == ["done"], ran.document["steps"]
    assert "torch==2.11.0+cu130" in scene.freeze()
    assert not (scene.comfyui / ".venv-klein").exists()


def test_what_was_planned_for_the_old_one_is_left_alone(make_scene: Make) -> None:
    scene = with_xformers(make_scene)
    frozen = scene.packages()
    only = "install-torch,guard-torch,release-flags"
    ran = scene.doctor("--fix", "--only", only, "--format", "json")
    states = {step["fix"]: (step["state"], step["says"]) for step in ran.document["steps"]}
    assert states["make-venv"][0] == "done", states
    assert states["release-flags"][0] == "done"
    assert states["guard-torch"][0] == "skipped"
    assert "another environment" in states["guard-torch"][1]
    assert scene.packages() == frozen
    # Once more, for the one it runs in by now.
    ran = scene.doctor("--fix", "--only", "guard-torch", "--format", "json")
    assert [step["state"] for step in ran.document["steps"]] == ["done"]
    assert (scene.comfyui / ".venv-klein" / "pip.conf").is_file()
    assert ran.verdicts()["torch-unguarded"] == "pass"


def test_one_that_would_not_do_is_taken_back(make_scene: Make) -> None:
    scene = with_xformers(make_scene)
    # A torch under the right name that has no code for the card, either.
    scene.index.files["cu130"].clear()
    p.put_trio(scene.index, "cu130", archs=s.OLD)
    before = scene.tree()
    ran = scene.doctor(*ONLY)
    (step,) = ran.document["steps"]
    assert (ran.code, step["state"]) == (4, "rolled back")
    assert "torch-lacks-arch still says" in step["says"]
    assert scene.tree() == before


def test_requirements_that_are_nowhere_leave_nothing(make_scene: Make) -> None:
    scene = with_xformers(make_scene, requirements=False)
    before = scene.tree()
    ran = scene.doctor(*ONLY)
    (step,) = ran.document["steps"]
    assert (ran.code, step["state"]) == (4, "rolled back") and "pip says" in step["says"]
    assert scene.tree() == before


def test_where_the_old_one_is_named_the_step_says_how_to_name_the_new(make_scene: Make) -> None:
    scene = with_xformers(make_scene)
    named = ("--python", str(scene.venv / "bin" / "python"))
    ran = scene.doctor(*ONLY, *named)
    (step,) = ran.document["steps"]
    assert step["state"] == "done", step
    assert "--python " in step["says"] and step["says"].endswith(".venv-klein/bin/python")
    assert ran.verdicts()["torch-lacks-arch"] == "pass"
    assert json.loads(scene.doctor("--format", "json", *named).out)["first"] == "torch-lacks-arch:1"
    assert os.path.samefile(scene.venv, named[1].removesuffix("/bin/python"))
