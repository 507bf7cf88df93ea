"""A checkout moved forward by real git, and put back: files, branch, HEAD and index."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import around as a
import construct as c
import package_index as p
import pytest
from acting import acted, begun, tree, undone
from command import doctor
from judging import RECIPE, verdict_of
from repositories import NEW, OLD, git, put_clone, put_remote
from targets import put_package, site_packages, venv_with_pip
from trees import PINS

from klein_doctor.fixing import fixes
from klein_doctor.installation import Checkout
from klein_doctor.model import Known
from klein_doctor.steps import Case, Step, StepFailed
from klein_doctor.transaction.inverse import take_back
from klein_doctor.transaction.journal import Journal

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")
TESTS = Path(__file__).resolve().parent.parent


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return put_remote(tmp_path / "remote")


def step(root: Path, remote: Path, **changed: object) -> Step:
    arguments = {"root": str(root), "url": remote.as_uri(), "tag": NEW, "offline": False}
    return Step("update-comfyui", "t", "update", "ask", {**arguments, **changed})


def update(root: Path, remote: Path, run: Path, **changed: object) -> tuple[str, Journal]:
    return acted(fixes()["update-comfyui"], step(root, remote, **changed), run)


def state(root: Path) -> dict[str, bytes | str]:
    """All files but git's objects, which may stay; with what git itself says."""
    found = {k: v for k, v in tree(root).items() if not k.startswith(".git/objects/")}
    return {
        **found,
        "status": git(root, "--no-optional-locks", "status", "--branch", "--porcelain"),
    }


def stats(root: Path) -> dict[str, tuple[int, int]]:
    paths = (each for each in root.rglob("*") if each.is_file() and ".git" not in each.parts)
    return {str(each): (each.stat().st_mode, each.stat().st_mtime_ns) for each in paths}


@pytest.mark.parametrize("branch", [True, False], ids=["branch", "release"])
@pytest.mark.parametrize("sealed", [True, False])
def test_it_is_moved_and_put_back(tmp_path: Path, remote: Path, branch: bool, sealed: bool) -> None:
    root = put_clone(remote, tmp_path / "Comfy UI", branch=branch)
    before, times = state(root), stats(root)
    journal = acted(fixes()["update-comfyui"], step(root, remote), tmp_path / "run",
                    sealed=sealed)[1]  # fmt: skip
    assert git(root, "rev-parse", "HEAD") == git(remote, "rev-parse", f"{NEW}^{{commit}}")
    assert git(root, "status", "--porcelain", "--untracked-files=no") == ""
    assert git(root, "rev-parse", "--abbrev-ref", "HEAD") == ("master" if branch else "HEAD")
    assert not (root / "gone.py").exists()
    assert (root / "comfy" / "new" / "klein.py").read_text() == "klein = 2\n"
    assert os.access(root / "start.sh", os.X_OK)
    assert (root / "custom_nodes" / "mine" / "node.py").read_text() == "mine = 1\n"
    remote.rename(tmp_path / "away")
    assert undone(journal) == []
    assert state(root) == before
    assert stats(root) == times
    assert git(root, "fsck", "--no-dangling") == ""


def test_a_release_that_is_here_already_needs_no_network(tmp_path: Path, remote: Path) -> None:
    root = put_clone(remote, tmp_path / "ComfyUI")
    with pytest.raises(StepFailed, match="--offline"):
        update(root, remote, tmp_path / "no", offline=True)
    git(root, "fetch", "-q", remote.as_uri(), "tag", NEW)
    remote.rename(tmp_path / "away")
    assert NEW in update(root, remote, tmp_path / "run", offline=True)[0]


def dirty(root: Path) -> None:
    (root / "nodes.py").write_text("mine")


def committed(root: Path) -> None:
    (root / "mine.py").write_text("mine")
    git(root, "add", "mine.py")
    git(root, "commit", "-q", "-m", "mine")


def detached(root: Path) -> None:
    committed(root)
    git(root, "checkout", "-q", "--detach")


def in_the_way(root: Path) -> None:
    (root / "comfy" / "new").mkdir()
    (root / "comfy" / "new" / "klein.py").write_text("mine")


def cut(root: Path) -> None:
    (root / ".git" / "shallow").write_text(git(root, "rev-parse", "HEAD") + "\n")


def no_repository(root: Path) -> None:
    shutil.rmtree(root / ".git")


def at_the_newest(root: Path) -> None:
    git(root, "pull", "-q", git(root, "config", "remote.origin.url"), "master")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (dirty, "are changed"), (committed, "commits that"), (detached, "commits that"),
        (in_the_way, "in the way"), (cut, "shallow"), (no_repository, "git folder"),
        (at_the_newest, "already"),
    ],
)  # fmt: skip
def test_what_would_be_lost_is_left_to_its_owner(
    tmp_path: Path, remote: Path, spoil: object, says: str
) -> None:
    root = put_clone(remote, tmp_path / "ComfyUI")
    spoil(root)  # type: ignore[operator]
    before = tree(root)
    transaction = begun(step(root, remote), tmp_path / "run")
    with pytest.raises(StepFailed, match=says):
        fixes()["update-comfyui"].act(step(root, remote), transaction)
    assert undone(transaction.journal) == []
    after = tree(root)
    assert {k: v for k, v in after.items() if not k.startswith(".git/objects")} == {
        k: v for k, v in before.items() if not k.startswith(".git/objects")
    }


def test_nothing_of_the_repository_is_run(tmp_path: Path, remote: Path) -> None:
    root = put_clone(remote, tmp_path / "ComfyUI")
    for name in ("post-checkout", "post-merge", "reference-transaction", "post-index-change"):
        hook = root / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
        hook.chmod(0o755)
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    program.chmod(0o755)
    for name in ("core.fsmonitor", "core.askPass", "credential.helper"):
        git(root, "config", name, str(program))
    update(root, remote, tmp_path / "run")
    assert not (tmp_path / "ran").exists()


def test_a_server_that_asks_for_a_password_asks_nobody(tmp_path: Path, remote: Path) -> None:
    root = put_clone(remote, tmp_path / "ComfyUI")
    transaction = begun(step(root, remote), tmp_path / "run")
    gone = step(root, remote, url="http://127.0.0.1:9/x")
    with pytest.raises(StepFailed, match="git says") as caught:
        fixes()["update-comfyui"].act(gone, transaction)
    assert caught.value.again
    assert undone(transaction.journal) == []


_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {own!r}]
import test_update_comfyui as told
from klein_doctor.fixing import fixes
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
rename, replace = os.rename, os.replace
def step(do):
    def call(*args, **options):
        global left
        left -= 1
        if left == 0: os.kill(os.getpid(), signal.SIGKILL)
        return do(*args, **options)
    return call
os.rename, os.replace = step(rename), step(replace)
step = told.step(Path({root!r}), Path({remote!r}))
fixes()["update-comfyui"].act(step, told.begun(step, Path({run!r})))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_at_any_boundary_it_is_put_back(tmp_path: Path, remote: Path) -> None:
    first = put_clone(remote, tmp_path / "first")
    for left in range(2, 60):
        root = tmp_path / f"{left}" / "ComfyUI"
        root.parent.mkdir()
        subprocess.run(["cp", "-a", str(first), str(root)], check=True)
        git(root, "update-index", "--refresh")
        before = state(root)
        script = _KILLED.format(
            tests=str(TESTS), own=str(Path(__file__).parent), left=left, root=str(root),
            remote=str(remote), run=str(root.parent / "run"),
        )  # fmt: skip
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                              check=False)  # fmt: skip
        if done.returncode == 0:
            assert left > 8, "it was never killed"
            return
        assert done.returncode == -signal.SIGKILL, done.stderr
        journal = Journal(root.parent / "run" / "state" / "runs" / "run-1")
        (told,) = journal.steps()
        assert take_back(journal, told) == []
        assert state(root) == before
    pytest.fail("it never came to its end")


def test_the_plan_goes_to_the_release_of_the_table_and_the_packages_follow() -> None:
    old = a.comfyui(version=Known(OLD), klein=Known(False),
                    checkout=Known(Checkout(a.COMMIT, "master", Known(False))))  # fmt: skip
    facts = c.machine()._replace(comfyui=Known(old))
    finding = verdict_of("comfyui-too-old", facts)
    asked = ((finding, finding.fixes[0]),)
    fix = fixes()["update-comfyui"]
    (step,) = fix.plan(Case(asked, facts, RECIPE, {"git": "/usr/bin/git"}))
    assert (step.grade, step.kind, step.arguments["tag"]) == ("ask", "update", NEW)
    (by_hand,) = fix.plan(Case(asked, facts, RECIPE, {}))
    assert (by_hand.grade, by_hand.commands) == ("manual", finding.fixes[0].commands)
    then = fixes()["install-requirements"]
    (step,) = then.plan(Case(((finding, finding.fixes[1]),), facts, RECIPE))
    assert step.grade == "ask" and step.clears == (finding.id,)
    names = list(fixes())
    assert names.index("update-comfyui") < names.index("install-requirements")


def test_one_command_moves_it_and_installs_what_the_newer_one_asks_for(
    tmp_path: Path, remote: Path
) -> None:
    """The packages are a step of their own, planned before anybody knows that they will be due."""
    home = tmp_path / "home"
    home.mkdir()
    root = put_clone(remote, home / "ComfyUI")
    venv_with_pip(root / ".venv")
    site = site_packages(root / ".venv")
    for name, version in (("torch", "2.14.1+cu130"), ("torchvision", "0.29.1+cu130")):
        put_package(site, name, version, "13.0")
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    (recipe / "comfyui.toml").write_text(f'[[install]]\ntag = "{NEW}"\nurl = "{remote.as_uri()}"\n')
    before = state(root)
    with p.PackageIndex() as index:
        p.put_trio(index, "simple", torch="2.15.0", cuda="13.2")
        for name, version in PINS.items():
            index.add(p.wheel(name, version))
        around = {"HOME": str(home), "PIP_INDEX_URL": index.url(), "PIP_RETRIES": "0",
                  "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}  # fmt: skip
        ran = doctor(
            "--assume", "RTX 5070,driver=580", "--comfyui", root, "--recipe", recipe, "--state-dir",
            tmp_path / "state", "--format", "json", "--unredacted", "--fix", "--only",
            "update-comfyui,install-requirements", env=around, limit_s=120,
        )  # fmt: skip
    steps = {step["fix"]: step["state"] for step in ran.document["steps"]}
    assert steps == {"update-comfyui": "done", "install-requirements": "done"}, ran.err
    verdicts = ran.verdicts()
    assert verdicts["comfyui-too-old"] == verdicts["comfyui-requirements-stale"] == "pass"
    assert ran.document["facts"]["torch"]["known"]["version"] == {"known": "2.14.1+cu130"}
    assert doctor("undo", "--state-dir", tmp_path / "state").code == 0
    assert state(root) == before
