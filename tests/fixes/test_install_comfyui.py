"""ComfyUI installed where there is none: real git, venv and pip, an index on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import construct as c
import package_index as p
import pytest
from acting import acted, begun, tree, undone
from command import doctor
from judging import RECIPE, verdict_of
from repositories import NEW, git, put_remote
from targets import quick_python

from klein_doctor.fixing import fixes
from klein_doctor.model import Facts, Known, Search, Unknown
from klein_doctor.steps import Case, Step, StepFailed
from klein_doctor.transaction.inverse import take_back
from klein_doctor.transaction.journal import Journal

pytestmark = pytest.mark.skipif(
    shutil.which("git") is None or sys.platform == "win32", reason="needs git, paths as on Linux"
)
TESTS = Path(__file__).resolve().parent.parent
TRIO = ["torch==2.14.1+cu130", "torchvision==0.29.1+cu130", "torchaudio==2.11.0+cu130"]
PLACE = {f"place.{form}": "/home/jane/ComfyUI" for form in ("real", "local", "public")}
AROUND = {"git": "/usr/bin/git", **PLACE}


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    root = put_remote(tmp_path / "remote")
    (root / "requirements.txt").write_text("torch\ntorchvision\ntorchaudio\nneeded\n")
    git(root, "commit", "-q", "-am", "requirements")
    git(root, "tag", "-f", "-a", "-m", NEW, NEW)
    return root


def serve(index: p.PackageIndex) -> None:
    """What fits on the index of the build; on the other one what must not come."""
    p.put_trio(index, "cu130")
    p.put_trio(index, "simple", torch="2.15.0", torchvision="0.30.0", cuda="13.2")
    index.add(p.wheel("needed", "1.0"))


def env(index_url: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_", "PYTHON"))}
    kept |= dict.fromkeys(("XDG_CONFIG_DIRS", "XDG_CONFIG_HOME", "HOME"), "/nonexistent")
    return {**kept, "PIP_INDEX_URL": index_url, "PIP_RETRIES": "0"}


def step(place: Path, remote: Path, index_url: str, python: str = "", **changed: object) -> Step:
    python = python or str(quick_python())
    arguments = {"place": str(place), "url": remote.as_uri(), "tag": NEW,
                 "python": python, "install": TRIO, "index": index_url}  # fmt: skip
    return Step("install-comfyui", "t", "packages", "ask", {**arguments, **changed})


FIX = fixes()["install-comfyui"]


@pytest.mark.parametrize("empty", [True, False])
def test_it_is_installed_with_its_own_torch_and_taken_back(
    tmp_path: Path, remote: Path, empty: bool
) -> None:
    place = tmp_path / "home" / "Comfy UI"
    if empty:
        place.mkdir(parents=True)
        place.chmod(0o750)
    with p.PackageIndex() as index:
        serve(index)
        wanted = step(place, remote, index.url("cu130"))
        said, journal = acted(FIX, wanted, tmp_path / "run", env(index.url()))
        argv = [place / ".venv/bin/python", "-m", "pip", "freeze"]
        ran = subprocess.run(argv, env=env(index.url()), capture_output=True, text=True, check=True)
    assert {*TRIO, "needed==1.0"} == set(ran.stdout.split())
    assert git(place, "describe", "--tags") == NEW
    assert TRIO[0] in said and str(place / "main.py") in said
    with pytest.raises(StepFailed, match="is there already"):
        FIX.act(wanted, begun(wanted, tmp_path / "again"))
    remote.rename(tmp_path / "away")
    assert undone(journal) == []
    assert place.exists() is empty
    if empty:
        assert list(place.iterdir()) == [] and place.stat().st_mode & 0o777 == 0o750
    else:
        assert not place.parent.exists()


def test_what_was_put_into_it_since_is_kept(tmp_path: Path, remote: Path) -> None:
    place = tmp_path / "ComfyUI"
    with p.PackageIndex() as index:
        serve(index)
        wanted = step(place, remote, index.url("cu130"))
        _, journal = acted(FIX, wanted, tmp_path / "run", env(index.url()))
    (place / "models" / "vae").mkdir(parents=True, exist_ok=True)
    (place / "models" / "vae" / "mine.safetensors").write_text("mine")
    assert undone(journal) == []
    (aside,) = tmp_path.glob("ComfyUI.undone-*")
    assert (aside / "models" / "vae" / "mine.safetensors").read_text() == "mine"


def test_what_cannot_be_had_leaves_nothing(tmp_path: Path, remote: Path) -> None:
    place = tmp_path / "ComfyUI"
    before = tree(tmp_path)
    with p.PackageIndex() as index:
        p.put_trio(index, "cu130")
        for changed, says in (
            ({"tag": "v99"}, "git says"),
            ({"url": "http://127.0.0.1:9/x"}, "git says"),
            ({"python": "/bin/false"}, "no environment"),
            ({}, "pip says"),
        ):
            wanted = step(place, remote, index.url("cu130"), **changed)
            transaction = begun(wanted, tmp_path / "run", env(index.url()))
            with pytest.raises(StepFailed, match=says):
                FIX.act(wanted, transaction)
            assert undone(transaction.journal) == []
            left = {k: v for k, v in tree(tmp_path).items() if not k.startswith("run/")}
            assert left == before
            shutil.rmtree(tmp_path / "run")


_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {own!r}]
import test_install_comfyui as told
from klein_doctor.transaction import journal
left = {left}
add = journal.Journal.add
def counted(*args, **options):
    global left
    answer = add(*args, **options)
    left -= 1
    if left == 0: os.kill(os.getpid(), signal.SIGKILL)
    return answer
journal.Journal.add = counted
step = told.step(Path({place!r}), Path({remote!r}), {url!r} + "/cu130/", {python!r})
told.FIX.act(step, told.begun(step, Path({run!r}), told.env({url!r} + "/simple/")))
"""


def test_killed_at_any_boundary_nothing_half_stays(tmp_path: Path, remote: Path) -> None:
    with p.PackageIndex() as index:
        serve(index)
        for left in range(2, 9):
            place, run = tmp_path / str(left) / "ComfyUI", tmp_path / f"run-{left}"
            script = _KILLED.format(
                tests=str(TESTS), own=str(Path(__file__).parent), left=left, place=str(place),
                remote=str(remote), run=str(run), url=index.url("").rstrip("/"),
                python=str(quick_python()),
            )  # fmt: skip
            done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                                  check=False)  # fmt: skip
            if done.returncode == 0:
                assert left == 5 and (place / ".venv").exists()
                return
            assert done.returncode == -signal.SIGKILL, done.stderr
            journal = Journal(run / "state" / "runs" / "run-1")
            (told,) = journal.steps()
            assert take_back(journal, told) == []
            assert not place.parent.exists()
    pytest.fail("it never came to its end")


# --- the plan --------------------------------------------------------------------------------


def without(**changes: object) -> Facts:
    empty = Known(Search((), None, "", ("the home folder",)))
    made = c.machine()._replace(comfyui=Known(None), search=empty, route=Known("comfyui"))
    return made._replace(**changes)


def planned(facts: Facts, **around: str) -> Step:
    finding = verdict_of("comfyui-missing", facts)
    repair = next(each for each in finding.fixes if each.id == "install-comfyui")
    (found,) = FIX.plan(Case(((finding, repair),), facts, RECIPE, {**AROUND, **around}))
    return found


def test_the_plan_names_the_place_the_release_and_the_build() -> None:
    found = planned(without())
    assert (found.grade, found.kind, found.bytes) == ("ask", "packages", None)
    assert [path.real for path in found.paths] == ["/home/jane/ComfyUI"]
    assert found.arguments["install"] == TRIO
    assert NEW in found.title and TRIO[0] in found.title


@pytest.mark.parametrize(
    ("around", "says"),
    [({"git": ""}, "PATH"), ({"offline": "true"}, "--offline"), ({"place.real": ""}, "--comfyui")],
)
def test_by_hand_where_it_cannot_be_fetched(around: dict[str, str], says: str) -> None:
    found = planned(without(), **around)
    assert found.grade == "manual" and says in found.title
    clone, _, torch, rest = ([str(word) for word in line] for line in found.commands)
    assert clone[:4] == ["git", "clone", "--branch", NEW]
    assert "torch==2.14.1+cu130" in torch and rest[-2] == "-r"


def test_by_hand_without_a_card() -> None:
    nothing = Unknown("no driver")
    assert planned(without(nvml=nothing, kernel=nothing)).grade == "manual"


# --- the command -----------------------------------------------------------------------------


@pytest.mark.parametrize("named", [True, False])
def test_one_command_installs_it_and_another_takes_it_back(
    tmp_path: Path, remote: Path, named: bool
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    place = home / ("here" if named else "ComfyUI")
    if named:
        missing = doctor("--fix", "--dry-run", "--comfyui", place)
        assert missing.code == 2 and "there is no such folder" in missing.err
        place.mkdir()
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    with p.PackageIndex() as index:
        serve(index)
        (recipe / "comfyui.toml").write_text(
            f'[[install]]\ntag = "{NEW}"\nurl = "{remote.as_uri()}"\n'
        )
        (recipe / "torch.toml").write_text(
            f'[[install]]\nvariant = "cu130"\nindex_url = "{index.url("cu130")}"\n'
        )
        arguments = ["--assume", "RTX 5070,driver=580", "--fix", "--only", "install-comfyui",
                     "--format", "json", "--unredacted", "--state-dir", tmp_path / "state",
                     "--route", "comfyui",
                     "--recipe", recipe, *(["--comfyui", place] if named else [])]  # fmt: skip
        around = {"HOME": str(home), "PIP_INDEX_URL": index.url(), "PIP_RETRIES": "0",
                  "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}  # fmt: skip
        dry = doctor(*arguments, "--dry-run", env=around, cwd=home)
        assert dry.code == 1 and not (place / "main.py").exists(), dry.err
        ran = doctor(*arguments, env=around, cwd=home, limit_s=120)
    (done,) = ran.document["steps"]
    assert done["state"] == "done", ran.err
    verdicts = ran.verdicts()
    assert verdicts["comfyui-missing"] == verdicts["comfyui-too-old"] == "pass"
    assert ran.document["facts"]["comfyui"]["known"]["root"] == str(place)
    assert ran.document["facts"]["torch"]["known"]["version"] == {"known": "2.14.1+cu130"}
    back = doctor("undo", "--state-dir", tmp_path / "state", env=around)
    assert back.code == 0, back.err
    assert list(place.iterdir()) == [] if named else not place.exists()
