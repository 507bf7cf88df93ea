"""An environment of its own: planned from facts, made with real venv and pip, taken back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import around
import pytest
from acting import acted, begun, tree, undone
from construct import machine
from package_index import PackageIndex, put_trio, wheel
from targets import quick_python

from klein_doctor import recipe as recipes
from klein_doctor.fixes.make_venv import FIXES, ID, plan
from klein_doctor.launched import Started
from klein_doctor.model import Facts, Finding, Harm, Known, Private, Repair, Verdict, known
from klein_doctor.steps import Case, Step, StepFailed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="paths as on Linux")
FIX = FIXES[0]
REPAIR = Repair(ID, "packages", "ask", "make one", (("python3", "-m", "venv", "klein-env"),))
FINDING = Finding(
    "python-externally-managed:1", "python-externally-managed", "python", Verdict.WARN, "t", "d",
    None, None, {}, None, (REPAIR,), Harm.NOTE,
)  # fmt: skip
PINS = ["torch==2.14.1+cu130", "torchvision==0.29.1+cu130"]


def planned(facts: Facts) -> Step:
    (step,) = plan(Case(((FINDING, REPAIR),), facts, recipes.load()))
    return step


def env(index: PackageIndex) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_", "PYTHON"))}
    kept |= dict.fromkeys(("XDG_CONFIG_DIRS", "XDG_CONFIG_HOME", "HOME"), "/nonexistent")
    return {**kept, "PIP_INDEX_URL": index.url(), "PIP_RETRIES": "0"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "Comfy UI"
    folder.mkdir()
    (folder / "requirements.txt").write_text("torch\ntorchvision\nneeded\n")
    return folder


def step(root: Path, index: PackageIndex) -> Step:
    return Step(
        ID, "make", "packages", "ask",
        {"python": str(quick_python()), "folder": str(root / ".venv"),
         "new": str(root / ".venv/bin/python"), "install": PINS, "index": index.url("cu130"),
         "requirements": str(root / "requirements.txt"), "spares": [],
         "start": f"{root}/.venv/bin/python {root}/main.py"},
    )  # fmt: skip


def serve(index: PackageIndex) -> None:
    put_trio(index, "cu130")
    put_trio(index, "simple", torch="2.15.0", torchvision="0.30.0", cuda="13.2")
    index.add(wheel("needed", "1.0"))


def system(facts: Facts) -> Facts:
    """ComfyUI has no environment of its own: the system's Python runs it."""
    python = known(facts.interpreter)._replace(kind="system", prefix=Private.plain("/usr"))
    found = around.search(around.install(python=None, python_from=""))
    return facts._replace(interpreter=Known(python), search=Known(found))


def test_the_plan_says_where_it_will_be_and_how_to_start_with_it() -> None:
    step = planned(system(machine()))
    assert step.grade == "ask"
    assert [path.real for path in step.paths] == ["~/ComfyUI/.venv"]
    assert "start ComfyUI with ~/ComfyUI/.venv/bin/python ~/ComfyUI/main.py" in step.title
    assert step.bytes is None
    assert step.clears == ("python-externally-managed:1",)
    assert step.commands[1][4:7] == (*PINS, "torchaudio==2.11.0+cu130")
    assert step.python is not None and step.python.real == "~/ComfyUI/.venv/bin/python"


def test_where_comfyui_has_one_of_its_own_the_new_one_lies_beside_it() -> None:
    step = planned(machine())
    assert [path.real for path in step.paths] == ["~/ComfyUI/.venv-klein"]
    elsewhere = known(machine().interpreter)._replace(prefix=Private.plain("~/other"))
    step = planned(machine()._replace(interpreter=Known(elsewhere)))  # named by --python
    assert [path.real for path in step.paths] == ["~/ComfyUI/.venv-klein"]
    private = known(machine().interpreter)._replace(prefix=Private.plain("~/ComfyUI/.venv-klein"))
    assert planned(machine()._replace(interpreter=Known(private))).grade == "manual"


@pytest.mark.parametrize("kind", ["portable", "desktop", "stability-matrix", "pinokio"])
def test_a_launcher_would_not_start_it(kind: str) -> None:
    facts = machine()._replace(comfyui=Known(around.comfyui(kind=kind)))
    assert planned(facts).grade == "manual"


def launched(facts: Facts, folder: str, *files: tuple[str, bool]) -> Facts:
    """ComfyUI is started by files that name an environment, each in so many words or not."""
    told = Private.plain
    launchers = tuple(
        around.launcher(
            "sh",
            path,
            started=Started(told(folder), told(f"{folder}/bin/python"), 3, True, True, plain),
        )
        for path, plain in files
    )
    return facts._replace(comfyui=Known(around.comfyui(launchers=launchers)))


def test_a_launcher_that_names_the_present_one_is_changed_with_it() -> None:
    step = planned(launched(machine(), "~/ComfyUI/.venv", ("~/ComfyUI/run.sh", True)))
    assert step.grade == "ask"
    assert [path.real for path in step.paths] == ["~/ComfyUI/.venv-klein", "~/ComfyUI/run.sh"]
    assert "name it in place of ~/ComfyUI/.venv in line 3 of ~/ComfyUI/run.sh" in step.title
    assert "launcher" in step.undo
    # One that names another is not this step's.
    step = planned(launched(machine(), "~/other", ("~/ComfyUI/run.sh", True)))
    assert [path.real for path in step.paths] == ["~/ComfyUI/.venv-klein"]


def test_a_launcher_that_cannot_be_changed_leaves_it_to_the_user() -> None:
    """The doctor would judge an environment that nothing starts."""
    files = (("~/ComfyUI/run.sh", True), ("~/ComfyUI/start.sh", False))
    step = planned(launched(machine(), "~/ComfyUI/.venv", *files))
    assert (step.grade, step.python, step.paths) == ("manual", None, ())
    assert "line 3 of ~/ComfyUI/start.sh" in step.title
    assert [str(getattr(word, "real", word)) for word in step.commands[0]][-2:] == [
        "venv", "~/ComfyUI/.venv-klein",
    ]  # fmt: skip


def test_the_launcher_is_changed_last_and_put_back(root: Path, tmp_path: Path) -> None:
    launcher = root / "run.sh"
    text = (
        b'# venv/bin/activate\r\ncd "$(dirname "$0")"; source venv/bin/activate; python main.py\n'
    )
    launcher.write_bytes(text)
    before = tree(root)
    with PackageIndex() as index:
        serve(index)
        made = step(root, index)
        made.arguments["old"], made.arguments["root"] = str(root / "venv"), str(root)
        made.arguments["launchers"] = [{"path": str(launcher), "kind": "sh"}]
        said, journal = acted(FIX, made, tmp_path / "run", env(index))
        assert launcher.read_bytes() == text.replace(b"source venv/", b"source .venv/")
        assert str(launcher) in said
        assert undone(journal) == [] and tree(root) == before
        launcher.write_bytes(b"python main.py\n")
        transaction = begun(made, tmp_path / "again", env(index))
        with pytest.raises(StepFailed, match="does not name"):
            FIX.act(made, transaction)
    assert not (root / ".venv").exists()


def test_by_hand_without_comfyui() -> None:
    step = planned(machine()._replace(comfyui=Known(None)))
    assert (step.grade, step.commands) == ("manual", REPAIR.commands)


def test_it_is_made_kept_to_its_torch_and_taken_back(root: Path, tmp_path: Path) -> None:
    before = tree(root)
    with PackageIndex() as index:
        serve(index)
        said, journal = acted(FIX, step(root, index), tmp_path / "run", env(index))
        argv = [root / ".venv/bin/python", "-m", "pip", "freeze"]
        ran = subprocess.run(argv, env=env(index), capture_output=True, text=True, check=True)
        assert set(PINS) | {"needed==1.0"} <= set(ran.stdout.split())
        assert PINS[0] in said
        with pytest.raises(StepFailed, match="is there already"):
            FIX.act(step(root, index), begun(step(root, index), tmp_path / "again"))
    assert undone(journal) == []
    assert tree(root) == before


def test_what_the_index_lacks_fails_and_leaves_nothing(root: Path, tmp_path: Path) -> None:
    before = tree(root)
    with PackageIndex() as index:
        put_trio(index, "cu130")
        transaction = begun(step(root, index), tmp_path / "run", env(index))
        with pytest.raises(StepFailed, match="pip says"):
            FIX.act(step(root, index), transaction)
    assert undone(transaction.journal) == []
    assert tree(root) == before


def test_a_python_without_venv_is_told_of(root: Path, tmp_path: Path) -> None:
    with PackageIndex() as index:
        broken = step(root, index)
        broken.arguments["python"] = "/bin/false"
        transaction = begun(broken, tmp_path / "run", env(index))
        with pytest.raises(StepFailed, match="python3-venv"):
            FIX.act(broken, transaction)
    assert undone(transaction.journal) == []
    assert not (root / ".venv").exists()
