"""A server of the doctor's own: a real process that starts, fails, hangs and never stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from command import clean_environment
from watching import Watch, given, job, means

from klein_doctor.generate.comfyui_run import run
from klein_doctor.generate.comfyui_server import LOG
from klein_doctor.generate.job import Attempt

HERE = Path(__file__).resolve().parent
MAIN = str(HERE / "fake_comfyui" / "main.py")


class Scene:
    """Runs the route over the fake; afterwards nothing of it may be left."""

    def __init__(self, folder: Path) -> None:
        self.scratch, self.out = folder / "scratch", folder / "out"
        self.scratch.mkdir()
        self.out.mkdir()

    def env(self, mode: str) -> dict[str, str]:
        return {"FAKE_COMFYUI": mode, "FAKE_SCRATCH": str(self.scratch)}

    def run(self, mode: str, watch: Watch | None = None, **limits: float) -> Attempt:
        env = {**self.env(mode), "http_proxy": "http://nowhere:1", "ALL_PROXY": "x"}
        made = run(
            job(self.out, sys.executable), watch or Watch(), given(main=MAIN), means(env, **limits)
        )
        assert made.gone
        self.nothing_left()
        return made

    def pids(self) -> list[int]:
        return [int(line) for line in (self.scratch / "pids").read_text().split()]

    def nothing_left(self) -> None:
        assert not [pid for pid in self.pids() if psutil.pid_exists(pid)]
        assert not [path for path in self.out.iterdir() if path.is_dir()]

    def argv(self) -> list[str]:
        return (self.scratch / "argv").read_text("utf-8").splitlines()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.mark.parametrize("mode", ["ok", "slow"])
def test_it_is_started_used_and_ended(scene: Scene, mode: str) -> None:
    watch = Watch()
    made = scene.run(mode, watch)
    assert (made.outcome, made.says) == ("done", "")
    assert [each.path.parent for each in made.made] == [scene.out] * 3
    assert all(each.path.read_bytes().startswith(b"\x89PNG") for each in made.made)
    assert watch.roots == scene.pids()
    assert [each.kind for each in made.remarks] == ["encoder-incomplete"]
    assert "clip missing" in (scene.out / LOG).read_text("utf-8")


def test_what_it_is_told(scene: Scene) -> None:
    scene.run("ok")
    argv = scene.argv()
    assert argv[0] == MAIN and argv[argv.index("--listen") + 1] == "127.0.0.1"
    assert {"--disable-auto-launch", "--disable-all-custom-nodes", "--cpu"} <= set(argv)
    for name in ("output", "input", "temp", "user"):
        folder = Path(argv[argv.index(f"--{name}-directory") + 1])
        assert folder.is_relative_to(scene.out) and folder.name == name
    assert not {"--base-directory", "--extra-model-paths-config"} & set(argv)
    seen = (scene.scratch / "env").read_text("utf-8").lower()
    assert "proxy" not in seen


def test_its_models_are_looked_for_where_the_user_has_them(scene: Scene) -> None:
    start = given(main=MAIN, base="/base", path_files=("/a.yaml", "/b.yaml"), custom_nodes=True)
    env = scene.env("ok")
    asked = job(scene.out, sys.executable, device="cuda", gpu="GPU-1")
    start = start._replace(start=start.start._replace(arguments=("--lowvram",)))
    run(asked, Watch(), start, means(env))
    argv = scene.argv()
    assert argv[argv.index("--base-directory") + 1] == "/base"
    at = argv.index("--extra-model-paths-config")
    assert argv[at + 1 : at + 3] == ["/a.yaml", "/b.yaml"]
    assert "--lowvram" in argv and not {"--cpu", "--disable-all-custom-nodes"} & set(argv)
    assert "CUDA_VISIBLE_DEVICES=GPU-1" in (scene.scratch / "env").read_text("utf-8")
    scene.nothing_left()


def test_one_that_ends_at_once_says_why(scene: Scene) -> None:
    made = scene.run("early")
    assert (made.outcome, made.kind, made.stage) == ("failed", "server-died", "start")
    assert "torchvision::nms" in made.says and "torchvision::nms" in made.text


def test_one_that_never_answers_is_ended(scene: Scene) -> None:
    made = scene.run("hangs", start=2)
    assert (made.outcome, made.kind, made.stage) == ("failed", "hung", "start")


def test_a_port_that_somebody_took_meanwhile(scene: Scene) -> None:
    assert scene.run("taken").outcome == "done"
    assert len(scene.pids()) == 2


def test_what_it_started_ends_with_it(scene: Scene) -> None:
    assert scene.run("child").outcome == "done"
    assert len(scene.pids()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no signals on Windows")
def test_one_that_the_system_kills(scene: Scene) -> None:
    made = scene.run("killed")
    assert (made.outcome, made.kind) == ("failed", "killed")
    assert "signal 9" in made.says and "clip missing" in made.text


def test_no_such_python(scene: Scene, tmp_path: Path) -> None:
    asked = job(scene.out, str(tmp_path / "absent" / "python"))
    made = run(asked, Watch(), given(main=MAIN), means(scene.env("ok")))
    assert (made.outcome, made.kind, made.stage) == ("failed", "not-started", "start")


def test_a_wish_to_stop_while_it_starts(scene: Scene) -> None:
    watch = Watch()
    watch.root = lambda pid: watch.stop.set()  # type: ignore[method-assign]
    env = scene.env("hangs")
    made = run(job(scene.out, sys.executable), watch, given(main=MAIN), means(env))
    assert (made.outcome, made.kind, made.gone) == ("interrupted", "stopped", True)
    assert not [path for path in scene.out.iterdir() if path.is_dir()]


def test_a_running_server_that_went_away_is_replaced(scene: Scene) -> None:
    made = run(
        job(scene.out, sys.executable), Watch(), given(port=1, main=MAIN), means(scene.env("ok"))
    )
    assert made.outcome == "done"
    scene.nothing_left()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a process of its own on Windows")
@pytest.mark.parametrize("often", [1, 2])
def test_ctrl_c_leaves_no_server_behind(scene: Scene, often: int) -> None:
    process = subprocess.Popen(
        [sys.executable, str(HERE / "interrupted_run.py"), MAIN, str(scene.out)],
        env={**clean_environment(), **scene.env("stuck")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while process.stdout.readline() != "load\n":
        assert process.poll() is None
    for _ in range(often):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    out, err = process.communicate(timeout=60)
    if often == 1:
        assert out.endswith("interrupted stopped True\n") and err == ""
    scene.nothing_left()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_killed_doctor_leaves_no_server_behind(scene: Scene) -> None:
    process = subprocess.Popen(
        [sys.executable, str(HERE / "interrupted_run.py"), MAIN, str(scene.out)],
        env={**clean_environment(), **scene.env("stuck")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while process.stdout.readline() != "load\n":
        assert process.poll() is None
    process.kill()
    process.communicate(timeout=60)
    _, alive = psutil.wait_procs(
        [psutil.Process(pid) for pid in scene.pids() if psutil.pid_exists(pid)], timeout=20
    )
    assert not alive


def test_nothing_is_written_beside_the_code(scene: Scene) -> None:
    before = sorted(os.listdir(Path(MAIN).parent))
    scene.run("ok")
    assert sorted(os.listdir(Path(MAIN).parent)) == before
