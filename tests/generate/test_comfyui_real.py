"""The route over a real ComfyUI on a CPU, with a model set in Klein's shape.

KLEIN_DOCTOR_TEST_COMFYUI names ComfyUI's folder, KLEIN_DOCTOR_TEST_COMFYUI_PYTHON its Python.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from miniature_comfyui import PARTS, write
from PIL import Image
from watching import Watch, given, job, means

from klein_doctor.generate.comfyui_client import Client, NoAnswer
from klein_doctor.generate.comfyui_given import Given
from klein_doctor.generate.comfyui_graph import text_to_image
from klein_doctor.generate.comfyui_run import Means, run
from klein_doctor.klein_graph import Sampling

FOLDER = os.environ.get("KLEIN_DOCTOR_TEST_COMFYUI", "")
PYTHON = os.environ.get("KLEIN_DOCTOR_TEST_COMFYUI_PYTHON", "")
MAIN = str(Path(FOLDER) / "main.py")
MISSING = [
    name
    for name, there in (
        ("KLEIN_DOCTOR_TEST_COMFYUI with ComfyUI's main.py", Path(MAIN).is_file() and FOLDER),
        ("KLEIN_DOCTOR_TEST_COMFYUI_PYTHON with its Python", Path(PYTHON).is_file()),
    )
    if not there
]
pytestmark = [
    pytest.mark.needs_comfyui,
    pytest.mark.skipif(bool(MISSING), reason=f"not given: {' and '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A YAML file that leads to the miniature."""
    folder = tmp_path_factory.mktemp("miniature")
    write(folder)
    places = ("diffusion_models", "text_encoders", "vae")
    lines = [f"  {place}: models/{place}" for place in places]
    path = folder / "paths.yaml"
    path.write_text("\n".join(["miniature:", f"  base_path: {folder}", *lines]), encoding="utf-8")
    return str(path)


def patient(**limits: float) -> Means:
    return means(start=300, quiet=300, queue=2, silent=3, **limits)


def own(models: str) -> Given:
    return given(main=MAIN, path_files=(models,))._replace(parts=PARTS)


def pixels(path: Path) -> str:
    with Image.open(path) as picture:
        assert picture.size == (256, 256)
        return hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()


def tree() -> set[tuple[str, float]]:
    return {(str(p), p.stat().st_mtime) for p in Path(FOLDER).rglob("*") if p.is_file()}


def ended(pids: list[int]) -> bool:
    return bool(pids) and not any(psutil.pid_exists(pid) for pid in pids)


# --- a server of its own ---------------------------------------------------------------------


def test_three_pictures_and_nothing_left(models: str, tmp_path: Path) -> None:
    before, watch = tree(), Watch()
    made = run(job(tmp_path, PYTHON), watch, own(models), patient())
    assert (made.outcome, made.says, made.gone) == ("done", "", True)
    first, other, again = (pixels(each.path) for each in made.made)
    assert first == again and first != other
    assert not any(each.cached for each in made.made)
    assert {phase for phase, picture in watch.phases if picture == 1} == {
        "load", "encode", "denoise", "decode", "save",
    }  # fmt: skip
    assert (4, 4) in watch.steps
    assert ended(watch.roots) and tree() == before
    assert dict(made.versions)["torch"]


def test_a_stop_in_the_middle_leaves_no_server(models: str, tmp_path: Path) -> None:
    watch = Watch()
    watch._at = lambda phase, picture: phase == "denoise" and watch.stop.set()
    made = run(job(tmp_path, PYTHON, steps=400), watch, own(models), patient())
    assert (made.outcome, made.kind, made.stage) == ("interrupted", "stopped", "denoise")
    assert made.gone and ended(watch.roots)


def test_a_server_that_the_system_kills(models: str, tmp_path: Path) -> None:
    watch = Watch()
    watch._at = lambda phase, picture: phase == "denoise" and psutil.Process(watch.roots[0]).kill()
    made = run(job(tmp_path, PYTHON, steps=400), watch, own(models), patient())
    assert (made.outcome, made.kind, made.stage) == ("failed", "killed", "denoise")
    assert made.gone and "Starting server" in made.text


def test_files_that_do_not_fit_together(models: str, tmp_path: Path) -> None:
    setup = own(models)
    absent = setup._replace(parts=PARTS._replace(vae="absent.safetensors"))
    made = run(job(tmp_path, PYTHON), Watch(), absent, patient())
    assert (made.outcome, made.kind, made.stage) == ("failed", "value_not_in_list", "load")
    assert "absent.safetensors" in made.says


def test_a_start_that_fails_says_why(models: str, tmp_path: Path) -> None:
    bad = own(models)._replace(start=own(models).start._replace(path_files=("/absent.yaml",)))
    made = run(job(tmp_path, PYTHON), Watch(), bad, patient())
    assert (made.outcome, made.kind, made.stage) == ("failed", "server-died", "start")
    assert "absent.yaml" in made.text and made.gone


# --- a user's server -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def users(models: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """A server as a user runs it, and the folder its pictures go to."""
    folder = tmp_path_factory.mktemp("user")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    argv = [PYTHON, MAIN, "--cpu", "--port", str(port), "--disable-all-custom-nodes",
            "--disable-api-nodes", "--extra-model-paths-config", models,
            "--database-url", "sqlite:///user.db"]  # fmt: skip
    for name in ("output", "temp", "user", "input"):
        (folder / name).mkdir()
        argv += [f"--{name}-directory", str(folder / name)]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(argv, cwd=folder, env=env, stdout=log, stderr=log)
    try:
        until(lambda: process.poll() is not None or stats(port))
        assert process.poll() is None, (folder / "log").read_text("utf-8", "replace")
        yield port, folder
    finally:
        process.kill()
        process.wait()


def stats(port: int) -> bool:
    try:
        return bool(Client(port).stats())
    except NoAnswer:
        return False


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


def theirs(port: int, steps: int) -> str:
    """Queue a job as a user does."""
    number = str(uuid.uuid4())
    graph = text_to_image(PARTS, Sampling("theirs", 256, 256, steps, 1.0, 3), number, "theirs")
    assert Client(port).submit(graph, uuid.uuid4().hex, number) is None
    return number


def test_a_users_server_is_used_and_goes_on(users: tuple[int, Path], tmp_path: Path) -> None:
    port, folder = users
    made = run(job(tmp_path), Watch(), given(port)._replace(parts=PARTS), patient())
    assert made.outcome == "done" and len(made.made) == 3
    first, other, again = (pixels(each.path) for each in made.made)
    assert first == again and first != other
    assert not list((folder / "output").iterdir())
    assert stats(port)


def test_a_busy_queue_is_left_alone(users: tuple[int, Path], tmp_path: Path) -> None:
    port, _ = users
    client, number = Client(port), theirs(port, 400)
    made = run(job(tmp_path), Watch(), given(port)._replace(parts=PARTS), patient())
    assert (made.outcome, made.kind) == ("refused", "queue-busy")
    assert number in client.queue().running
    client.withdraw(number)
    until(lambda: not client.queue().running)


def test_a_stop_withdraws_ours_and_theirs_is_made(users: tuple[int, Path], tmp_path: Path) -> None:
    port, folder = users
    client, watch, queued = Client(port), Watch(), []

    def at(phase: str, picture: int) -> None:
        if phase == "denoise":
            queued.append(theirs(port, 4))
            watch.stop.set()

    watch._at = at
    made = run(job(tmp_path, steps=400), watch, given(port)._replace(parts=PARTS), patient())
    assert (made.outcome, made.kind) == ("interrupted", "stopped")
    until(lambda: client.ended(queued[0]) is not None)
    done = client.ended(queued[0])
    assert done is not None and done.how == "success"
    (picture,) = (folder / "output").iterdir()
    assert pixels(picture)
