"""``klein-doctor generate`` over a process that poses as ComfyUI, with what can go wrong in it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
from command import Ran, doctor
from targets import make_venv, put_package, put_record, site_packages
from trees import PINS, put_comfyui, put_klein

from klein_doctor.exits import Exit

HERE = Path(__file__).resolve().parent
SCHEMA: dict[str, Any] = json.loads(
    (HERE.parents[1] / "docs" / "record.schema.json").read_text("utf-8")
)
WRAPPER = """import runpy, sys
sys.path[:0] = {paths!r}
sys.argv[0] = {main!r}
runpy.run_path({main!r}, run_name="__main__")
"""


class Scene:
    """A ComfyUI whose main.py is the fake's, with an environment and Klein's files."""

    def __init__(self, top: Path) -> None:
        self.top, self.root = top, put_comfyui(top / "ComfyUI")
        put_klein(self.root)
        main = str(HERE / "fake_comfyui" / "main.py")
        paths = [path for path in sys.path if path]
        (self.root / "main.py").write_text(WRAPPER.format(paths=paths, main=main))
        make_venv(self.root / ".venv")
        site = site_packages(self.root / ".venv")
        put_package(site, "torch", "2.14.1+cu130", "13.0")
        put_package(site, "torchvision", "0.29.1+cu130", "13.0")
        for name, version in PINS.items():
            put_record(site, name.replace("-", "_"), version)
        self.scratch = top / "scratch"
        self.scratch.mkdir()

    def generate(self, mode: str, *arguments: str) -> Ran:
        env = {"HOME": str(self.top), "FAKE_COMFYUI": mode, "FAKE_SCRATCH": str(self.scratch)}
        return doctor(
            "generate", "--comfyui", self.root, "--device", "cpu", "--expect", "reference",
            "--format", "json", *arguments, env=env, cwd=self.scratch, limit_s=120,
        )  # fmt: skip

    def nothing_left(self) -> bool:
        pids = (self.scratch / "pids").read_text().split()
        return bool(pids) and not [pid for pid in pids if psutil.pid_exists(int(pid))]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_whole_run(scene: Scene) -> None:
    ran = scene.generate("ok")
    record = ran.document["generation"]
    assert record is not None, ran.err
    jsonschema.validate(record, SCHEMA)
    assert record["route"] == "comfyui" and record["software"]["comfyui"] == "0.33.0"
    assert [file["role"] for file in record["files"]] == ["transformer", "encoder", "vae"]
    assert scene.nothing_left()


def test_one_that_is_killed(scene: Scene) -> None:
    ran = scene.generate("killed")
    assert ran.code == Exit.GENERATION_FAILED, ran.err
    record = ran.document["generation"]
    jsonschema.validate(record, SCHEMA)
    assert record["verdict"] == "failed" and record["failure"]["kind"]
    assert scene.nothing_left()


def test_one_that_ends_at_once_is_explained(scene: Scene) -> None:
    ran = scene.generate("early")
    assert ran.code == Exit.GENERATION_FAILED
    assert "torch-trio-mismatch" in ran.document["generation"]["failure"]["explained"]
    assert scene.nothing_left()


def test_one_that_never_answers_ends_with_the_deadline(scene: Scene) -> None:
    ran = scene.generate("hangs", "--deadline", "4s")
    assert ran.code == Exit.TRY_AGAIN
    assert ran.document["generation"]["verdict"] == "interrupted"
    assert scene.nothing_left()
