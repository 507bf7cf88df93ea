"""The guard: what real pip makes of it, what is written where, and taking it back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from acting import acted, begun, tree, undone
from construct import CU126, guard, machine
from package_index import PackageIndex, put_trio, wheel
from targets import make_venv, put_record, site_packages, venv_with_pip

from klein_doctor import recipe as recipes
from klein_doctor.card import card
from klein_doctor.engine import judge
from klein_doctor.fixes.guard_torch import FIXES, ID, plan
from klein_doctor.fixing import fixes
from klein_doctor.guard import repin
from klein_doctor.installation import CONSTRAINTS, Pin
from klein_doctor.model import Facts, Finding, Harm, Known, Private, Repair, Verdict, known
from klein_doctor.outcomes import install_torch
from klein_doctor.pip_conf import named, with_constraints
from klein_doctor.plan import Wishes, make
from klein_doctor.registry import catalogue
from klein_doctor.steps import Case, Step, StepFailed
from klein_doctor.transaction.packages import Change, change_packages

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="paths as on Linux")
FIX = FIXES[0]
REPAIR = Repair(ID, "config", "ask", "keep it")
FINDING = Finding(
    "torch-unguarded:1", "torch-unguarded", "torch", Verdict.WARN, "t", "d", None, None, {}, None,
    (REPAIR,), Harm.NOTE,
)  # fmt: skip
TRIO = ("torch==2.14.1+cu130", "torchvision==0.29.1+cu130", "torchaudio==2.11.0+cu130")


def planned(facts: Facts) -> list[Step]:
    return plan(Case(((FINDING, REPAIR),), facts, recipes.load()))


def env(**more: str) -> dict[str, str]:
    """Without what this machine's pip is told, but with the environment's own configuration."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_", "PYTHON"))}
    kept["XDG_CONFIG_DIRS"] = kept["XDG_CONFIG_HOME"] = kept["HOME"] = "/nonexistent"
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_RETRIES": "0", **more}


def step(top: Path, manager: Path | None = None) -> Step:
    return Step(
        ID, "keep torch", "config", "ask",
        {"python": str(top / "bin/python"), "isolated": False, "prefix": str(top),
         "conf": "pip.conf", "site_packages": [str(site_packages(top))],
         "manager": str(manager) if manager else ""},
    )  # fmt: skip


@pytest.fixture(params=["plain", "mit Leer zeichen é"])
def top(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A real environment with pip and records of the three."""
    folder = tmp_path / request.param
    venv_with_pip(folder)
    for pin in TRIO:
        name, _, version = pin.partition("==")
        info = f"{name}-{version}.dist-info"
        lines = "".join(f"{info}/{file},,\n" for file in ("METADATA", "INSTALLER", "RECORD"))
        put_record(site_packages(folder), name, version, lines)
    return folder


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One without pip, whose pip is never asked."""
    make_venv(tmp_path / "env")
    for pin in TRIO:
        put_record(site_packages(tmp_path / "env"), *pin.split("=="))
    there = [named(tmp_path / "env" / CONSTRAINTS)]
    monkeypatch.setattr("klein_doctor.fixes.guard_torch._told", lambda *_: there)
    return tmp_path / "env"


def test_the_plan_names_what_is_written_and_kept() -> None:
    facts = machine()._replace(guard=Known(guard()))
    (found,) = planned(facts)
    assert (found.grade, found.kind, found.bytes) == ("ask", "config", 0)
    assert "torch, torchvision in ~/ComfyUI/.venv" in found.title
    assert "ComfyUI-Manager" in found.title
    assert [path.real.replace("~/ComfyUI/", "") for path in found.paths] == [
        f".venv/{CONSTRAINTS}", ".venv/pip.conf", "user/__manager/pip_blacklist.list",
    ]  # fmt: skip
    assert found.clears == ("torch-unguarded:1",)
    (found,) = planned(facts._replace(guard=Known(guard(manager=None))))
    assert "ComfyUI-Manager" not in found.title
    assert len(found.paths) == 2


def test_by_hand_where_the_system_or_uv_has_it() -> None:
    facts = machine()
    around = known(facts.surroundings)._replace(managed=Private.plain("/usr/EXTERNALLY-MANAGED"))
    assert planned(facts._replace(surroundings=Known(around)))[0].grade == "manual"
    python = known(facts.interpreter)._replace(kind="uv venv", has_pip=False)
    (found,) = planned(facts._replace(interpreter=Known(python)))
    assert (found.grade, "UV_CONSTRAINT" in found.title) == ("manual", True)
    assert [command[0] for command in found.commands] == [python.path, "export"]
    pin = Pin("torch", "==2.13.0", Private.plain("/etc/c.txt"), False)
    (found,) = planned(facts._replace(guard=Known(guard(pip=(pin,)))))
    assert (found.grade, "/etc/c.txt asks for torch==2.13.0" in found.title) == ("manual", True)


def test_pip_obeys_it_and_it_can_be_taken_back(top: Path, tmp_path: Path) -> None:
    before = tree(top)
    said, journal = acted(FIX, step(top), tmp_path / "run", env())
    assert "torch==2.14.1+cu130" in said
    with PackageIndex() as index:
        put_trio(index, "simple", torch="2.15.0", cuda="13.2")
        index.add(wheel("node", "1.0", requires=["torch>=2.15"]))
        argv = [top / "bin/python", "-m", "pip", "install", "--index-url", index.url(), "node"]
        ran = subprocess.run(argv, check=False, env=env(), capture_output=True, text=True)
        assert ran.returncode == 1
        assert "(constraint) torch==2.14.1+cu130" in ran.stdout
        assert not [path for path in index.downloads() if "2.15.0" in path]
    assert undone(journal) == []
    assert {k: v for k, v in tree(top).items() if "__pycache__" not in k} == {
        k: v for k, v in before.items() if "__pycache__" not in k
    }


def test_a_new_torch_can_still_be_installed_by_the_doctor(top: Path, tmp_path: Path) -> None:
    acted(FIX, step(top), tmp_path / "run", env())
    new = ("torch==2.15.0+cu132", "torchvision==0.29.2+cu132", "torchaudio==2.11.0+cu132")
    with PackageIndex() as index:
        put_trio(index, "cu132", torch="2.15.0", torchvision="0.29.2", cuda="13.2")
        transaction = begun(step(top), tmp_path / "run", env())
        assert repin(top, new, "pip.conf", transaction)
        change = Change(str(top / "bin/python"), new, index_url=index.url("cu132"))
        changed = change_packages(change, transaction)
    assert ("torch", "2.15.0+cu132") in changed.installed
    assert "torch==2.15.0+cu132" in (top / CONSTRAINTS).read_text("utf-8")


def test_what_is_told_for_by_hand_is_obeyed_beside_the_guard(top: Path, tmp_path: Path) -> None:
    acted(FIX, step(top), tmp_path / "run", env())
    facts = machine("2.6.0+cu126", "0.21.0+cu126", "12.6", CU126)
    python = known(facts.interpreter)._replace(path=Private.plain(str(top / "bin/python")))
    place = Private.plain(str(top / CONSTRAINTS))
    pins = tuple(Pin(each.partition("==")[0], "==1", place, True) for each in TRIO)
    facts = facts._replace(interpreter=Known(python), guard=Known(guard(pip=pins)))
    (repair,) = install_torch(facts, recipes.load(), known(card(facts)))
    write, install = (
        [part if isinstance(part, str) else part.real for part in command]
        for command in repair.commands
    )
    with PackageIndex() as index:
        put_trio(index, "cu130", torch="2.15.0", torchvision="0.29.2", cuda="13.0")
        wanted = {"torch": "torch==2.15.0+cu130", "torchvision": "torchvision==0.29.2+cu130"}

        def new(argv: list[str]) -> list[str]:
            told = [wanted.get(each.partition("==")[0], each) for each in argv]
            return [index.url("cu130") if each.startswith("https:") else each for each in told]

        ran = subprocess.run(new(install), check=False, env=env(), capture_output=True, text=True)
        assert ran.returncode == 1 and "ResolutionImpossible" in ran.stderr
        subprocess.run(new(write), check=True, env=env())
        subprocess.run(new(install), check=True, env=env(), capture_output=True)
    # It is the doctor's still, and keeps what was installed.
    assert repin(top, TRIO, "pip.conf", begun(step(top), tmp_path / "again", env()))


def test_somebody_elses_constraint_is_named_where_it_forbids_what_is_told() -> None:
    facts = machine("2.6.0+cu126", "0.21.0+cu126", "12.6", CU126)
    pin = Pin("torch", "==2.6.0+cu126", Private.plain("/etc/c.txt"), False)
    facts = facts._replace(guard=Known(guard(pip=(pin,))))
    (repair,) = install_torch(facts, recipes.load(), known(card(facts)))
    assert "told to keep torch==2.6.0+cu126: correct that constraint first" in repair.summary
    assert len(repair.commands) == 1


def test_it_waits_until_the_torch_is_the_right_one() -> None:
    recipe = recipes.load()
    facts = machine("2.6.0+cu126", "0.21.0+cu126", "12.6", CU126)
    facts = facts._replace(guard=Known(guard()))
    found = judge(facts, recipe, catalogue())
    alone, _ = make(found, facts, recipe, fixes(), Wishes(only=(ID,)))
    (shown,) = alone.steps
    assert shown.grade == "manual" and not shown.paths
    assert "waits for torch-lacks-arch (This PyTorch cannot use your RTX 5070)" in shown.title
    both, _ = make(found, facts, recipe, fixes(), Wishes(only=("install-torch", ID)))
    assert [(s.fix, s.grade) for s in both.steps] == [("install-torch", "ask"), (ID, "ask")]


def test_a_second_run_changes_nothing(bare: Path, tmp_path: Path) -> None:
    lists = tmp_path / "ComfyUI" / "user" / "__manager"
    lists.mkdir(parents=True)
    (lists / "pip_blacklist.list").write_bytes(b"xformers\r\ntorch")
    first = (bare / "pip.conf", b"[global]\r\n# mine\r\nindex-url = http://127.0.0.1/x\r\n")
    first[0].write_bytes(first[1])
    acted(FIX, step(bare, lists), tmp_path / "run")
    listed = (lists / "pip_blacklist.list").read_bytes()
    assert listed == b"xformers\r\ntorch\r\ntorchvision\r\ntorchaudio\r\n"
    assert first[0].read_bytes() == first[1] + (
        f"[install]\r\nconstraint = {bare / CONSTRAINTS}\r\n".encode()
    )
    there = tree(bare)
    said, journal = acted(FIX, step(bare, lists), tmp_path / "again")
    assert "already" in said
    assert tree(bare) == there
    assert [r["do"] for s in journal.steps() for r in s.records] == []
    undone_all = undone(type(journal)(tmp_path / "run" / "state" / "runs" / "run-1"))
    assert undone_all == []
    assert first[0].read_bytes() == first[1]
    assert (lists / "pip_blacklist.list").read_bytes() == b"xformers\r\ntorch"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "[install]\nconstraint = /c\n"),
        ("[install]\nuser = no", "[install]\nconstraint = /c\nuser = no\n"),
        ("[install]\nconstraint = /a", "[install]\nconstraint = /a\n    /c\n"),
        (
            "[install]\nconstraint =\n  /a\n  /b\nuser = no\n",
            "[install]\nconstraint =\n  /a\n  /b\n    /c\nuser = no\n",
        ),
        ("[global]\nconstraint: /a\n", "[global]\nconstraint: /a\n    /c\n"),
        ("[install]\nconstraint = /a /c\n", "[install]\nconstraint = /a /c\n"),
    ],
)
def test_the_rest_of_the_configuration_stays(before: str, after: str) -> None:
    assert with_constraints(before, ["/c"]) == after
    assert with_constraints(after, ["/c"]) == after


@pytest.mark.parametrize("hostile", [b"constraint = x\n", b"[a]\n[a]\n", b"\xff\xfe[\x00", b"\0"])
def test_what_pip_cannot_read_is_left_alone(bare: Path, tmp_path: Path, hostile: bytes) -> None:
    (bare / "pip.conf").write_bytes(hostile)
    with pytest.raises(StepFailed, match=r"pip\.conf is no configuration"):
        acted(FIX, step(bare), tmp_path / "run", sealed=False)
    assert (bare / "pip.conf").read_bytes() == hostile
    assert not (bare / CONSTRAINTS).exists()


def test_a_file_of_the_same_name_is_not_overwritten(bare: Path, tmp_path: Path) -> None:
    (bare / CONSTRAINTS).write_text("numpy<2\n")
    with pytest.raises(StepFailed, match="not written by klein-doctor"):
        acted(FIX, step(bare), tmp_path / "run")
    assert (bare / CONSTRAINTS).read_text() == "numpy<2\n"


def test_constraints_of_the_users_own_stay_in_force_beside_it(top: Path, tmp_path: Path) -> None:
    config = tmp_path / "config"
    (config / "pip").mkdir(parents=True)
    (tmp_path / "mine.txt").write_text("other<2\n")
    mine = f"[install]\nconstraint = {tmp_path / 'mine.txt'}\n"
    (config / "pip" / "pip.conf").write_text(mine)
    told = env(XDG_CONFIG_HOME=str(config))
    _, journal = acted(FIX, step(top), tmp_path / "run", told)
    with PackageIndex() as index:
        put_trio(index, "simple", torch="2.15.0", cuda="13.2")
        index.add(wheel("node", "1.0", requires=["torch>=2.15"]), wheel("other", "2.0"))
        for name in ("node", "other"):
            argv = [top / "bin/python", "-m", "pip", "install", "--index-url", index.url(), name]
            ran = subprocess.run(argv, check=False, env=told, capture_output=True, text=True)
            assert ran.returncode == 1 and "constraint" in (ran.stdout + ran.stderr).lower()
    # Another turn finds nothing more to do.
    there = (top / "pip.conf").read_text()
    assert "already" in acted(FIX, step(top), tmp_path / "again", told)[0]
    assert (top / "pip.conf").read_text() == there
    assert (config / "pip" / "pip.conf").read_text() == mine
    assert undone(journal) == []
    assert not (top / "pip.conf").exists()


def test_what_counts_before_the_environments_file_is_told_and_taken_back(
    top: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.conf"
    own.write_text("[install]\nconstraint = /mine.txt\n")
    transaction = begun(step(top), tmp_path / "run", env(PIP_CONFIG_FILE=str(own)))
    with pytest.raises(StepFailed, match=r"PIP_CONFIG_FILE, and does not read it: add "):
        FIX.act(step(top), transaction)
    assert undone(transaction.journal) == []
    assert not (top / "pip.conf").exists()
    transaction = begun(step(top), tmp_path / "run", env(PIP_CONSTRAINT="/mine.txt"))
    with pytest.raises(StepFailed, match="PIP_CONSTRAINT"):
        FIX.act(step(top), transaction)
    assert undone(transaction.journal) == []


def test_uv_obeys_what_is_told_for_by_hand(bare: Path, tmp_path: Path) -> None:
    uv = pytest.importorskip("uv").find_uv_bin()
    python = known(machine().interpreter)._replace(
        path=Private.plain(str(bare / "bin/python")), prefix=Private.plain(str(bare)),
        kind="uv venv", has_pip=False,
    )  # fmt: skip
    facts = machine()._replace(interpreter=Known(python))
    write, setting = (
        [part if isinstance(part, str) else part.real for part in command]
        for command in planned(facts)[0].commands
    )
    subprocess.run(write, check=True, env=env())
    name, _, place = setting[1].partition("=")
    with PackageIndex() as index:
        put_trio(index, "simple", torch="2.15.0", cuda="13.2")
        index.add(wheel("node", "1.0", requires=["torch>=2.15"]))
        argv = [uv, "pip", "install", "--python", bare / "bin/python", "--index-url", index.url(),
                "node"]  # fmt: skip
        told = env(UV_CACHE_DIR=str(tmp_path / "cache"), UV_NO_CONFIG="1", **{name: place})
        ran = subprocess.run(argv, check=False, env=told, capture_output=True, text=True)
        assert ran.returncode == 1 and "torch==2.14.1" in ran.stderr
        del told[name]
        assert subprocess.run(argv, check=False, env=told, capture_output=True).returncode == 0


def test_without_torch_there_is_nothing_to_keep(bare: Path, tmp_path: Path) -> None:
    for folder in site_packages(bare).glob("torch-*"):
        folder.rename(tmp_path / folder.name)
    with pytest.raises(StepFailed, match="not installed"):
        acted(FIX, step(bare), tmp_path / "run")
