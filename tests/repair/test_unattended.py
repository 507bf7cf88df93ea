"""--fix as a script runs it: times, logs, codes, owners, and nothing to do where all is well."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import pytest
import scene as s
from kills import ONLY
from scene import Scene
from standin import describe

Make = Callable[..., Scene]
DOCS = Path(__file__).resolve().parents[2] / "docs"
# No driver and no card, as where an image is built.
BARE = {"LD_LIBRARY_PATH": "", "NVML_STANDIN": ""}
ASSUMED = ("--assume", "RTX 5070,driver=580", "--only", "install-torch,fetch-assets,guard-torch")


def states(document: dict[str, object]) -> dict[str, str]:
    steps = document["steps"]
    assert isinstance(steps, list)
    return {step["fix"]: step["state"] for step in steps}


# --- what the document says ------------------------------------------------------------------


def test_the_document_says_what_was_planned_and_what_became_of_it(make_scene: Make) -> None:
    scene = make_scene(small=True)
    log, file = scene.top / "caches" / "run.log", scene.top / "caches" / "report.json"
    arguments = ("--fix", "--only", ONLY, "--format", "json", "--log", str(log))
    ran = scene.doctor(*arguments, "--deadline", "30m", "--output", str(file))
    assert (ran.code, ran.out) == (0, "")
    document = json.loads(file.read_text())
    jsonschema.validate(document, json.loads((DOCS / "report.schema.json").read_text()))
    assert [step["fix"] for step in document["plan"]] == [step["fix"] for step in document["steps"]]
    assert set(states(document).values()) == {"done"}
    assert set(states(document)) == set(ONLY.split(","))
    told = {key: document[key] for key in ("changed", "reboot_needed", "retry", "exit_code")}
    assert told == {"changed": True, "reboot_needed": False, "retry": False, "exit_code": 0}
    assert {f["check"] for f in document["before"] if f["verdict"] == "fail"} >= {
        "torch-lacks-arch", "vae-wrong",
    }  # fmt: skip
    lines = log.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ +\S", line) for line in lines)
    count = len(document["steps"])
    for number in range(1, count + 1):
        assert sum(f" [{number}/{count}] " in line for line in lines) == 1
    assert sum(": there, proven by digest" in line for line in lines) == 1
    assert "\x1b" not in log.read_text()
    # A second run changes nothing, and says so in every place.
    tree = scene.tree()
    again = scene.doctor(*arguments)
    assert (again.code, again.document["changed"]) == (0, False)
    assert again.document["retry"] is again.document["reboot_needed"] is False
    assert scene.tree() == tree
    assert "nothing to do" in scene.doctor("--fix").err


def test_a_deadline_takes_back_what_is_under_way_and_asks_to_be_run_again(
    make_scene: Make,
) -> None:
    scene = make_scene(vae=False)
    before = scene.tree()
    scene.index.slow["torch-2.11.0"] = 600.0
    ran = scene.doctor("--fix", "--deadline", "15", "--format", "json")
    document = ran.document
    assert ran.code == document["exit_code"] == 7
    assert document["retry"] is True
    assert states(document)["install-torch"] == "rolled back"
    late = [step for step in document["steps"] if step["state"] == "skipped"]
    assert all("deadline" in step["says"] for step in late)
    if not any(step["state"] == "done" for step in document["steps"]):
        assert scene.tree() == before and document["changed"] is False
    scene.index.slow.clear()
    assert scene.doctor("--fix", "--format", "json").code == 0


@pytest.mark.parametrize("value", ["0", "soon", "-1", "1w", "1e9"])
def test_a_deadline_that_is_none_is_told_before_anything_is_read(
    make_scene: Make, value: str
) -> None:
    ran = make_scene(vae=False).doctor("--fix", f"--deadline={value}")
    assert ran.code == 2
    assert "--deadline" in ran.err and ran.err.count("\n") == 1


def test_a_machine_that_must_be_restarted_says_so(make_scene: Make) -> None:
    scene = make_scene(healthy=True)
    folder = scene.top / "caches" / "mismatch"
    folder.mkdir()
    told = describe(folder, [*s.CARD, "init=error 18"], *scene.libraries)  # driver/library mismatch
    env = {name: told[name] for name in ("LD_LIBRARY_PATH", "NVML_STANDIN")}
    ran = scene.doctor("--fix", "--format", "json", env=env)
    assert (ran.code, ran.document["reboot_needed"]) == (8, True)
    assert ran.document["changed"] is False


def test_what_a_killed_run_had_started_is_waited_for(make_scene: Make) -> None:
    scene = make_scene(vae=False)
    before = scene.tree()
    process = subprocess.Popen(
        scene.command("--fix", "--only", "install-torch"), env=scene.env,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    while b"installing" not in process.stderr.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    with used(scene) as pid:
        torn = unlocked(scene)
        for arguments in (("--fix",), ("undo",)):
            ran = scene.doctor(*arguments, "--format", "json")
            assert ran.code == ran.document["exit_code"] == 7
            assert f"process {pid}" in ran.err
            assert unlocked(scene) == torn
    assert scene.doctor("--fix", "--dry-run").code == 1
    assert scene.doctor("undo").code == 0
    assert scene.tree() == before


def unlocked(scene: Scene) -> dict[str, str]:
    """The tree without the lock that a killed run leaves."""
    return {name: told for name, told in scene.tree().items() if ".klein-doctor.lock" not in name}


@contextmanager
def used(scene: Scene) -> Iterator[int]:
    """A program that runs in the target's environment; its process id."""
    python = str(scene.venv / "bin" / "python")
    words = "import time; print('up', flush=True); time.sleep(600)"
    user = subprocess.Popen([python, "-c", words], env=scene.env, stdout=subprocess.PIPE)
    assert user.stdout is not None
    try:
        user.stdout.readline()
        yield user.pid
    finally:
        user.kill()
        user.communicate()


# --- an image that is built where no card is -------------------------------------------------


def test_an_image_is_built_for_a_card_that_is_not_there(make_scene: Make) -> None:
    scene = make_scene(healthy=True, small=True)
    pip = [str(scene.venv / "bin" / "python"), "-m", "pip"]
    subprocess.run([*pip, "uninstall", "-q", "-y", "torch", "torchvision"], env=scene.env,
                   check=True)  # fmt: skip
    scene.vae.unlink()
    bare = scene.doctor("--fix", "--dry-run", "--format", "json", env=BARE)
    assert bare.code in (1, 3)  # without a card nobody can tell which PyTorch
    assert "install-torch" not in {
        step["fix"] for step in bare.document["plan"] if step["grade"] != "manual"
    }
    ran = scene.doctor("--fix", *ASSUMED, "--format", "json", env=BARE)
    assert ran.code == 0, ran.err
    assert states(ran.document) == dict.fromkeys(ASSUMED[3].split(","), "done")
    assert any("torch==2.14.1+cu130" in line for line in scene.freeze())
    assert scene.vae.read_bytes() == s.small_file().read_bytes()
    (card,) = ran.document["facts"]["nvml"]["known"]["gpus"]
    assert "assumed" in json.dumps(card)
    again = scene.doctor("--fix", *ASSUMED, "--format", "json", env=BARE)
    assert (again.code, again.document["changed"]) == (0, False)
    # In the container that runs it, with the card: nothing is left to do.
    there = scene.doctor("--fix", "--format", "json")
    assert (there.code, there.document["plan"]) == (0, [])


# --- nothing to do ---------------------------------------------------------------------------


def marks(top: Path) -> dict[str, tuple[int, ...]]:
    """What would show that anything was written: every file and folder."""
    found = {}
    for path in (top, *sorted(top.rglob("*"))):
        status = path.lstat()
        told = (status.st_ino, status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns)
        found[str(path)] = (*told, status.st_ctime_ns)
    return found


@pytest.mark.parametrize("arguments", [(), ("--dry-run",), ("--answers", "a.toml")])
def test_on_a_healthy_machine_not_even_a_time_changes(
    make_scene: Make, arguments: tuple[str, ...]
) -> None:
    scene = make_scene(healthy=True)
    (scene.top / "a.toml").write_text('steps = "all"\nsymptom = "slow"\n')
    assert scene.doctor("--fix").code == 0
    before = unremembered(scene)
    ran = scene.doctor("--fix", *arguments, "--format", "json")
    assert ran.code == 0, ran.err
    assert ran.document["plan"] == ran.document["steps"] == []
    assert unremembered(scene) == before


def unremembered(scene: Scene) -> dict[str, tuple[int, ...]]:
    """Without the doctor's memory of what it saw, which `history` reads."""
    memory = str(scene.top / s.STATE / "history")
    return {path: told for path, told in marks(scene.top).items() if not path.startswith(memory)}


# --- nothing but what is listed --------------------------------------------------------------


class Watch:
    """Every path that was ever seen below a folder, by looking all the time."""

    def __init__(self, top: Path):
        self.top, self.seen = top, set[str]()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._end.is_set():
            self.once()
            self._end.wait(0.02)

    def once(self) -> None:
        for top, folders, files in os.walk(self.top):
            folders[:] = [name for name in folders if name != "__pycache__"]
            self.seen.update(os.path.join(top, name) for name in (*folders, *files))

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._end.set()
            self._thread.join()
            self.once()


def test_nothing_appears_but_where_the_plan_says(make_scene: Make) -> None:
    scene = make_scene(small=True)
    before = set(marks(scene.top))
    watch = Watch(scene.top)
    with watch.running():
        ran = scene.doctor("--fix", "--only", ONLY, "--format", "json")
        assert ran.code == 0, ran.err
        back = scene.doctor("undo", "--format", "json")
        assert back.code == 0, back.err
    listed = [Path(path) for step in ran.document["plan"] for path in step["paths"]]
    # What is written beside a file under another name first, the scripts that come with packages,
    # the lock, what the doctor remembers, and the caches of the tools.
    own = [scene.top / name for name in (*s.CACHES, "libraries")]
    allowed = [*listed, *(path.parent for path in listed if path.suffix), *own,
               scene.venv / "bin", scene.comfyui / ".klein-doctor.lock",
               scene.comfyui / ".klein-doctor.lock.pid"]  # fmt: skip
    strange = [
        path
        for path in watch.seen - before
        if not any(Path(path) == place or place in Path(path).parents for place in allowed)
    ]
    assert strange == []
    beside = [Path(p).name for p in watch.seen - before if Path(p).parent == scene.venv]
    assert all("klein-doctor" in name or name == "pip.conf" or name.startswith(".pip.conf")
               for name in beside)  # fmt: skip


# --- as root over a user's tree --------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root has a choice")
@pytest.mark.parametrize("undo", [False, True])
def test_what_root_makes_in_a_users_tree_is_the_users(make_scene: Make, undo: bool) -> None:
    scene = make_scene(small=True)
    user = 12345
    subprocess.run(["chown", "-R", f"{user}:{user}", str(scene.top)], check=True)
    state = scene.top / "home" / ".local" / "state"
    env = {"KLEIN_DOCTOR_STATE_DIR": "", "XDG_STATE_HOME": str(state)}
    before = set(marks(scene.top))
    ran = scene.doctor("--fix", "--only", ONLY, "--format",
                       "json", state="", env=env)  # fmt: skip
    assert ran.code == 0, ran.err
    if undo:
        assert scene.doctor("undo", state="", env=env).code == 0
    caches = str(scene.top / "caches")
    after = {path: told for path, told in marks(scene.top).items() if not path.startswith(caches)}
    assert [path for path, told in after.items() if told[2] != user] == []
    made = {path for path in after if path not in before}
    assert any("klein-doctor/runs" in path for path in made)  # the journal and the originals
    assert undo or any("torch-2.11.0+cu130.dist-info" in path for path in made)
