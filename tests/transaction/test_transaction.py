"""Every act of a transaction: done, taken back, taken back half done, and twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from acting import begun, tree, undone

from klein_doctor.steps import Step, StepFailed
from klein_doctor.transaction.inverse import INVERSES
from klein_doctor.transaction.journal import NAME, Journal
from klein_doctor.transaction.lock import held
from klein_doctor.transaction.runs import backups, drop_backups, recover, runs
from klein_doctor.transaction.transaction import Transaction

STEP = Step("a-fix", "something", "config", "ask", {})
TESTS = Path(__file__).resolve().parent.parent


def scene(top: Path) -> Path:
    """A folder with a bit of everything; answers with it."""
    place = top / "place"
    (place / "package" / "sub").mkdir(parents=True)
    (place / "settings.json").write_bytes(b'{"a": 1}\r\n')
    os.utime(place / "settings.json", ns=(1_600_000_000 * 10**9, 1_600_000_000 * 10**9))
    (place / "run.sh").write_text("#!/bin/sh\n")
    (place / "run.sh").chmod(0o755)
    (place / "alias.json").symlink_to("settings.json")
    for name in ("a.py", "b.py", "sub/c.py", "sub/run.sh"):
        (place / "package" / name).write_text(f"# {name}\n")
    (place / "wrong.safetensors").write_bytes(b"x" * 999)
    return place


def edit(tx: Transaction, place: Path) -> None:
    tx.edit(place / "settings.json", b'{"a": 2}\r\n')
    tx.edit(place / "run.sh", b"#!/bin/sh\nexit\n")


def edit_by_link(tx: Transaction, place: Path) -> None:
    tx.edit(place / "alias.json", b"{}")


def create(tx: Transaction, place: Path) -> None:
    tx.folder(place / "new" / "folder")
    tx.create(place / "new" / "folder" / "file.txt", b"hello")


def move(tx: Transaction, place: Path) -> None:
    tx.move(place / "wrong.safetensors", place / "flux1-vae.safetensors")
    tx.move(place / "package", place / "parcel")


def link(tx: Transaction, place: Path) -> None:
    tx.link(place / "wrong.safetensors", place / "second.safetensors")


def fill(tx: Transaction, place: Path) -> None:
    tx.tree(place / "environment")
    (place / "environment" / "lib").mkdir(parents=True)
    (place / "environment" / "lib" / "x.py").write_text("")
    tx.filled(place / "environment")


def replace(tx: Transaction, place: Path) -> None:
    package = place / "package"
    tx.take_out(place, [package / "a.py", package / "sub" / "c.py", package / "sub" / "run.sh"])
    with tx.additions([place]):
        (package / "a.py").write_text("# new\n")
        (package / "added").mkdir()
        (package / "added" / "d.py").write_text("# d\n")


ACTS = [edit, edit_by_link, create, move, link, fill, replace]


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_what_was_done_is_taken_back(
    tmp_path: Path, act: Callable[[Transaction, Path], None], sealed: bool
) -> None:
    place = scene(tmp_path)
    before, stats = tree(place), _stats(place)
    tx = begun(STEP, tmp_path)
    act(tx, place)
    assert tree(place) != before
    if sealed:
        tx.journal.add("seal", step=0)
    assert undone(tx.journal) == []
    assert tree(place) == before
    assert _stats(place) == stats
    assert undone(tx.journal) == []  # nothing is left to take back
    assert tree(place) == before


def _stats(place: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in sorted(place.rglob("*")):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            found[path.name] = (status.st_mode, status.st_mtime_ns)
    return found


_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {own!r}]
import test_transaction as told
from acting import begun
from klein_doctor.transaction import journal, transaction
left = {left}
def counted(do, when):
    def call(*args, **options):
        global left
        if when == "before":
            left -= 1
            if left == 0: os.kill(os.getpid(), signal.SIGKILL)
        answer = do(*args, **options)
        if when == "after":
            left -= 1
            if left == 0: os.kill(os.getpid(), signal.SIGKILL)
        return answer
    return call
journal.Journal.add = counted(journal.Journal.add, "after")
for name in ("rename", "replace", "link", "unlink", "rmdir"):
    setattr(os, name, counted(getattr(os, name), "before"))
top = Path({top!r})
getattr(told, {act!r})(begun(told.STEP, top), top / "place")
print("done", left)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_killed_at_every_boundary_it_is_taken_back(
    tmp_path: Path, act: Callable[[Transaction, Path], None]
) -> None:
    for left in range(2, 60):  # the first line says that the step began
        top = tmp_path / str(left)
        place = scene(top)
        before, stats = tree(place), _stats(place)
        script = _KILLED.format(
            tests=str(TESTS), own=str(Path(__file__).parent), left=left, top=str(top),
            act=act.__name__,
        )  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            assert left > 3, "it was never killed"
            return
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert undone(Journal(top / "state" / "runs" / "run-1")) == []
        assert tree(place) == before
        assert _stats(place) == stats
    pytest.fail("it never came to its end")


def test_what_somebody_changed_since_stays_as_it_is(tmp_path: Path) -> None:
    place = scene(tmp_path)
    tx = begun(STEP, tmp_path)
    edit(tx, place)
    create(tx, place)
    link(tx, place)
    tx.journal.add("seal", step=0)
    (place / "settings.json").write_text("mine")
    (place / "new" / "folder" / "file.txt").write_text("mine")
    (place / "second.safetensors").unlink()
    (place / "second.safetensors").write_text("mine")
    said = undone(tx.journal)
    assert len(said) == 3
    assert all("changed since" in line or "another file" in line for line in said)
    for name in ("settings.json", "new/folder/file.txt", "second.safetensors"):
        assert (place / name).read_text() == "mine"
    assert (place / "run.sh").read_text() == "#!/bin/sh\n"  # what could be taken back is
    assert Journal(tx.journal.folder).steps()[0].state == "sealed"


def test_packages_changed_since_stay_whole(tmp_path: Path) -> None:
    place = scene(tmp_path)
    tx = begun(STEP, tmp_path)
    replace(tx, place)
    tx.journal.add("seal", step=0)
    (place / "package" / "a.py").write_text("# newer, by somebody else\n")
    after = tree(place)
    (said, *_) = undone(tx.journal)
    assert "changed since" in said
    assert tree(place) == after


def test_a_tree_that_was_used_since_is_kept_aside(tmp_path: Path) -> None:
    place = scene(tmp_path)
    tx = begun(STEP, tmp_path)
    fill(tx, place)
    tx.journal.add("seal", step=0)
    (place / "environment" / "picture.png").write_text("mine")
    assert undone(tx.journal) == []
    assert not (place / "environment").exists()
    (aside,) = place.glob("environment.undone-*")
    assert (aside / "picture.png").read_text() == "mine"


def test_a_fetched_file_is_parked_not_deleted(tmp_path: Path) -> None:
    place = scene(tmp_path)
    (place / "vae.safetensors.parked").write_text("an earlier one")
    tx = begun(STEP, tmp_path)
    tx.fetched(place / "vae.safetensors")
    (place / "vae.safetensors").write_text("fetched")
    tx.journal.add("seal", step=0)
    assert undone(tx.journal) == []
    assert not (place / "vae.safetensors").exists()
    assert (place / "vae.safetensors.parked-2").read_text() == "fetched"


@pytest.mark.parametrize(
    "act",
    [
        lambda tx, place: tx.create(place / "run.sh", b""),
        lambda tx, place: tx.move(place / "run.sh", place / "settings.json"),
        lambda tx, place: tx.link(place / "run.sh", place / "settings.json"),
        lambda tx, place: tx.tree(place / "package"),
        lambda tx, place: tx.fetched(place / "wrong.safetensors"),
    ],
    ids=["create", "move", "link", "tree", "fetched"],
)
def test_nothing_is_overwritten(tmp_path: Path, act: Callable[[Transaction, Path], None]) -> None:
    place = scene(tmp_path)
    before = tree(place)
    tx = begun(STEP, tmp_path)
    with pytest.raises(StepFailed, match="there already"):
        act(tx, place)
    assert tree(place) == before
    assert undone(tx.journal) == []
    assert tree(place) == before


def test_a_folder_somebody_uses_by_now_stays(tmp_path: Path) -> None:
    place = scene(tmp_path)
    tx = begun(STEP, tmp_path)
    tx.folder(place / "new" / "folder")
    tx.journal.add("seal", step=0)
    (place / "new" / "mine.txt").write_text("mine")
    assert undone(tx.journal) == []
    assert (place / "new" / "mine.txt").exists()
    assert not (place / "new" / "folder").exists()


def test_a_line_broken_off_by_a_kill_is_none(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run-1")
    journal.add("begin", step=0, fix="a", title="t")
    with open(journal.folder / NAME, "ab") as stream:
        stream.write(b'{"do": "move", "step": 0, "sour')
    again = Journal(journal.folder)
    assert [record["do"] for record in again.records] == ["begin"]
    again.add("undone", step=0)
    assert [record["do"] for record in Journal(journal.folder).records] == ["begin", "undone"]
    for line in (journal.folder / NAME).read_text().splitlines():
        assert line == '{"do": "move", "step": 0, "sour' or json.loads(line)


def test_a_later_version_s_acts_are_not_guessed(tmp_path: Path) -> None:
    tx = begun(STEP, tmp_path)
    tx.announce("transmute", path="x")
    (said,) = undone(tx.journal)
    assert "transmute" in said
    assert Journal(tx.journal.folder).state() == "open"


def test_runs_that_are_still_alive_are_left_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    places = {}
    for number, lock in ((1, "here"), (2, "there")):
        place = scene(tmp_path / str(number))
        places[lock] = (place, tree(place))
        journal = Journal(state / "runs" / f"20261124-10000{number}-1")
        journal.add("run", lock=str(tmp_path / lock))
        journal.add("begin", step=0, fix="a", title="edits")
        edit(Transaction(journal, 0, tmp_path, None), place)  # type: ignore[arg-type]
    with held(tmp_path / "there"):  # its run goes on
        done, problems = recover(state)
    assert problems == []
    assert len(done) == 1
    assert "edits" in done[0]
    assert tree(places["here"][0]) == places["here"][1]
    assert tree(places["there"][0]) != places["there"][1]
    assert [journal.state() for journal in runs(state)] == ["open", "undone"]
    done, problems = recover(state)
    assert (len(done), problems) == (1, [])
    assert tree(places["there"][0]) == places["there"][1]


def test_forgetting_drops_the_originals_alone(tmp_path: Path) -> None:
    place = scene(tmp_path)
    tx = begun(STEP, tmp_path)
    edit(tx, place)
    replace(tx, place)
    tx.journal.add("seal", step=0)
    after = tree(place)
    assert backups(tx.journal)
    drop_backups(tx.journal)
    assert tree(place) == after
    again = Journal(tx.journal.folder)
    assert again.state() == "forgotten"
    assert backups(again) == []


def test_originals_stay_on_their_file_system(tmp_path: Path) -> None:
    """A rename brings them back, so they must not lie on another disk."""
    other = Path("/dev/shm")
    if not other.is_dir() or os.stat(other).st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("no second file system at /dev/shm")
    import shutil
    import tempfile

    top = Path(tempfile.mkdtemp(dir=other))
    try:
        place = scene(top)
        before = tree(place)
        tx = begun(STEP, tmp_path)
        edit(tx, place)
        replace(tx, place)
        tx.journal.add("seal", step=0)
        kept = backups(tx.journal)
        assert any(str(path).startswith(str(other)) for path in kept)
        assert undone(tx.journal) == []
        left = {name: data for name, data in tree(place).items() if ".klein-doctor" not in name}
        assert left == before
    finally:
        shutil.rmtree(top)


def test_every_announced_act_has_an_inverse() -> None:
    """Nothing may be announced that could not be taken back."""
    import ast

    import klein_doctor.transaction as package

    said = set()
    for path in Path(str(package.__file__)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "announce"
                and isinstance(node.args[0], ast.Constant)
            ):
                said.add(node.args[0].value)
    assert said
    assert said <= set(INVERSES)


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="needs root, to work in another's folder"
)
def test_what_root_does_in_a_user_s_folder_stays_the_user_s(tmp_path: Path) -> None:
    place = scene(tmp_path)
    for path in (place, *place.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    tx = begun(STEP, tmp_path)
    for act in (edit, create, link, fill, replace):
        act(tx, place)
    strange = [path for path in place.rglob("*") if path.lstat().st_uid != 12345]
    assert strange == []
    tx.journal.add("seal", step=0)
    assert undone(tx.journal) == []
    assert [path for path in place.rglob("*") if path.lstat().st_uid != 12345] == []
