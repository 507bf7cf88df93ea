"""The state of real git repositories, read without git."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from repositories import git

from klein_doctor.installation import Checkout
from klein_doctor.model import Known, Unknown
from klein_doctor.privacy import Redactor
from klein_doctor.probes.git_state import _entries, _Odd, read_checkout
from klein_doctor.probes.outside import Outside

# There is no doubt about times that lie this far back.
LONG_AGO = 1_600_000_000
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")


def put(root: Path, name: str, content: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def repository(root: Path, *options: str) -> Path:
    root.mkdir()
    git(root, "init", "-q", "-b", "master", *options)
    put(root, "a.py", "one\n")
    put(root, "empty.py", "")
    for number in range(30):  # names that share beginnings of any length
        put(root, f"comfy/text_encoders/{'n' * number}.py", f"{number}\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return repository(tmp_path / "repo")


def outside(*users: str) -> Outside:
    return Outside(Path("/"), {}, "linux", Redactor(users, (), ()))


def state(root: Path) -> tuple[str, str, object]:
    told = read_checkout(outside(), root)
    assert isinstance(told, Known) and told.value is not None
    return told.value.commit, told.value.branch, told.value.dirty


# --- commit and branch ------------------------------------------------------------------------


def test_no_checkout(tmp_path: Path) -> None:
    assert read_checkout(outside(), tmp_path) == Known(None)
    (tmp_path / ".git").write_text("something else\n")
    assert read_checkout(outside(), tmp_path) == Known(None)


def test_a_branch_loose_packed_and_detached(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    assert state(checkout) == (head, "master", Known(False))
    git(checkout, "pack-refs", "--all")
    assert not (checkout / ".git/refs/heads/master").exists()
    assert state(checkout) == (head, "master", Known(False))
    git(checkout, "checkout", "-q", "-b", "work/klein(4b)")
    assert state(checkout) == (head, "work/klein(4b)", Known(False))
    git(checkout, "checkout", "-q", "--detach")
    assert state(checkout) == (head, "", Known(False))


def test_a_branch_may_carry_a_name(checkout: Path) -> None:
    git(checkout, "checkout", "-q", "-b", "jane/fix")
    told = read_checkout(outside("jane"), checkout)
    assert isinstance(told, Known) and told.value is not None
    assert told.value.branch == "user/fix"


def test_worktrees_and_submodules(checkout: Path, tmp_path: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    git(checkout, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    assert (tmp_path / "tree/.git").is_file()
    assert state(tmp_path / "tree") == (head, "other", Known(False))
    outer = repository(tmp_path / "outer")
    allow = ("-c", "protocol.file.allow=always")
    git(outer, *allow, "submodule", "add", "-q", str(checkout), "ComfyUI")
    git(outer, "commit", "-q", "-m", "with a submodule")
    assert state(outer / "ComfyUI") == (head, "master", Known(False))
    (outer / "ComfyUI/a.py").write_text("changed within\n")
    assert state(outer)[2] == Known(False)  # what is in a submodule is not this checkout's
    assert state(outer / "ComfyUI")[2] == Known(True)


def test_a_repository_with_long_hashes(tmp_path: Path) -> None:
    root = repository(tmp_path / "repo", "--object-format=sha256")
    commit, _, dirty = state(root)
    assert len(commit) == 64 and commit == git(root, "rev-parse", "HEAD")
    assert dirty == Known(False)
    os.utime(root / "a.py", (1, 1))
    assert state(root)[2] == Known(False)
    put(root, "a.py", "ONE\n")
    os.utime(root / "a.py", (1, 1))
    assert state(root)[2] == Known(True)


@pytest.mark.parametrize(
    "head",
    [
        "", "ref: refs/heads/none", "ref: ../../etc/passwd", "ref: refs/../../../etc/passwd",
        "garbage", "ref: refs/" + "x/" * 400, "ref: refs/heads/a\0b", "ref: refs/heads/.invalid",
    ],
)  # fmt: skip
def test_a_broken_git_folder_is_unknown(tmp_path: Path, head: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/HEAD").write_text(head)
    assert isinstance(read_checkout(outside(), tmp_path), Unknown)


def test_loops_and_pipes_are_survived(tmp_path: Path) -> None:
    (tmp_path / ".git").symlink_to(tmp_path / ".git")
    assert read_checkout(outside(), tmp_path) == Known(None)
    (tmp_path / ".git").unlink()
    (tmp_path / ".git").write_text("gitdir: .git\n")
    assert isinstance(read_checkout(outside(), tmp_path), Unknown)
    (tmp_path / ".git").unlink()
    (tmp_path / ".git").mkdir()
    os.mkfifo(tmp_path / ".git/HEAD")
    assert isinstance(read_checkout(outside(), tmp_path), Unknown)


# --- changes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2", "3", "4"])
@pytest.mark.parametrize("change", ["", "touched", "untracked", "edited", "longer", "deleted"])
def test_changes_by_version_of_the_index(checkout: Path, version: str, change: str) -> None:
    git(checkout, "update-index", "--force-write-index", "--index-version", version)
    path = checkout / "comfy/text_encoders/nnn.py"
    if change == "touched":
        os.utime(path, (1, 1))
        os.utime(checkout / "empty.py", (1, 1))
    elif change == "untracked":
        put(checkout, "new.py", "new\n")
    elif change == "deleted":
        path.unlink()
    elif change:
        path.write_text("9\n" if change == "edited" else "3 and more\n")
        os.utime(path, (1, 1))
    changed = change in ("edited", "longer", "deleted")
    assert state(checkout)[2] == Known(changed)
    assert bool(git(checkout, "status", "--porcelain", "-uno")) == changed  # git agrees


def test_other_line_ends_are_no_change(checkout: Path) -> None:
    (checkout / "a.py").write_bytes(b"one\r\n")
    git(checkout, "-c", "core.autocrlf=true", "add", "a.py")
    os.utime(checkout / "a.py", (1, 1))
    assert state(checkout)[2] == Known(False)
    (checkout / "a.py").write_bytes(b"two\r\n")
    os.utime(checkout / "a.py", (2, 2))
    assert state(checkout)[2] == Known(True)


def test_what_git_was_told_to_pass_over(checkout: Path) -> None:
    git(checkout, "update-index", "--assume-unchanged", "a.py")
    git(checkout, "update-index", "--skip-worktree", "empty.py")
    (checkout / "a.py").write_text("changed\n")
    (checkout / "empty.py").unlink()
    assert state(checkout)[2] == Known(False)
    put(checkout, "comfy/text_encoders/.py", "changed\n")
    assert state(checkout)[2] == Known(True)


def test_links(checkout: Path) -> None:
    (checkout / "link").symlink_to("a.py")
    git(checkout, "add", "link")
    git(checkout, "commit", "-q", "-m", "link")
    os.utime(checkout / "link", (1, 1), follow_symlinks=False)
    assert state(checkout)[2] == Known(False)
    (checkout / "link").unlink()
    (checkout / "link").write_text("a.py")  # as Windows keeps it
    assert state(checkout)[2] == Known(False)
    (checkout / "link").unlink()
    (checkout / "link").symlink_to("b.py")
    os.utime(checkout / "link", (2, 2), follow_symlinks=False)
    assert state(checkout)[2] == Known(True)


def test_a_merge_that_was_not_finished(checkout: Path) -> None:
    git(checkout, "checkout", "-q", "-b", "one")
    put(checkout, "a.py", "first\n")
    git(checkout, "commit", "-q", "-a", "-m", "one")
    git(checkout, "checkout", "-q", "master")
    put(checkout, "a.py", "other\n")
    git(checkout, "commit", "-q", "-a", "-m", "two")
    with pytest.raises(subprocess.CalledProcessError):
        git(checkout, "merge", "one")
    assert state(checkout)[2] == Known(True)


def test_files_in_place_of_others(checkout: Path) -> None:
    for name in ("empty.py", "a.py"):
        (checkout / name).unlink()
        os.mkfifo(checkout / name)  # reading it would never end
    assert state(checkout)[2] == Known(True)
    (checkout / "empty.py").unlink()
    (checkout / "empty.py").mkdir()
    assert state(checkout)[2] == Known(True)


def test_a_folder_that_became_a_file(checkout: Path) -> None:
    shutil.rmtree(checkout / "comfy")
    (checkout / "comfy").write_text("")
    assert state(checkout)[2] == Known(True)


def test_a_copy_with_new_dates_of_more_files_than_are_compared(tmp_path: Path) -> None:
    root = tmp_path / "many"
    root.mkdir()
    git(root, "init", "-q", "-b", "master")
    for number in range(501):
        put(root, f"{number}.py", "same\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    for number in range(500):
        os.utime(root / f"{number}.py", (1, 1))
    assert state(root)[2] == Known(False)
    os.utime(root / "500.py", (1, 1))
    assert isinstance(state(root)[2], Unknown)
    (root / "500.py").unlink()
    assert state(root)[2] == Known(True)


def test_indexes_of_another_kind_are_unknown(checkout: Path, tmp_path: Path) -> None:
    shutil.copytree(checkout, tmp_path / "split", symlinks=True)
    git(tmp_path / "split", "update-index", "--split-index")
    put(tmp_path / "split", "b.py", "b\n")
    git(tmp_path / "split", "add", "b.py")
    assert isinstance(state(tmp_path / "split")[2], Unknown)
    git(checkout, "sparse-checkout", "set", "--cone", "--sparse-index", "nothing")
    assert isinstance(state(checkout)[2], Unknown)
    (checkout / ".git/index").unlink()
    assert isinstance(state(checkout)[2], Unknown)
    os.mkfifo(checkout / ".git/index")
    assert isinstance(state(checkout)[2], Unknown)


def test_an_index_cut_short_leaves_the_rest(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    index = checkout / ".git/index"
    raw = index.read_bytes()
    for size in (0, 5, 12, 40, 100, 130):
        index.write_bytes(raw[:size])
        commit, branch, dirty = state(checkout)
        assert (commit, branch) == (head, "master") and isinstance(dirty, Unknown)


def entry(name: bytes) -> bytes:
    """An entry of an index of version 2, of an empty file."""
    blob = bytes.fromhex("e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")
    raw = struct.pack(">10I", 0, 0, 0, 0, 0, 0, 0o100644, 0, 0, 0) + blob
    raw += struct.pack(">H", len(name)) + name
    return raw + b"\0" * (8 - len(raw) % 8)


@pytest.mark.parametrize("name", [b"../outside", b"/etc/hostname", b"a/../../b"])
def test_an_index_cannot_lead_out_of_the_tree(checkout: Path, name: bytes) -> None:
    index = checkout / ".git/index"
    index.write_bytes(b"DIRC" + struct.pack(">II", 2, 1) + entry(name) + bytes(20))
    assert isinstance(state(checkout)[2], Unknown)
    index.write_bytes(b"DIRC" + struct.pack(">II", 2, 1) + entry(b"empty.py") + bytes(20))
    assert state(checkout)[2] == Known(False)


def test_names_cannot_grow_without_bound() -> None:
    name = b"n" * 4000 + b"\0"
    fixed = bytes(60) + b"\x0f\xff"
    data = b"DIRC" + struct.pack(">II", 4, 100) + (fixed + b"\0" + name) * 100
    with pytest.raises(ValueError):
        list(_entries(data))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.integers(2, 4), st.integers(0, 2**32 - 1))
def test_no_index_makes_it_hang(body: bytes, version: int, count: int) -> None:
    data = b"DIRC" + struct.pack(">II", version, count) + body
    try:
        assert len(list(_entries(data))) <= len(body)
    except (_Odd, struct.error, ValueError, IndexError):
        pass


@settings(max_examples=100, deadline=None)
@given(place=st.integers(0, 3000), value=st.integers(0, 255))
def test_a_damaged_index_makes_it_raise_nothing(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    root = tmp_path_factory.getbasetemp() / "damaged"
    if not root.exists():
        repository(root)
        shutil.copy(root / ".git/index", root / ".git/whole")
    raw = bytearray((root / ".git/whole").read_bytes())
    raw[place % len(raw)] = value
    (root / ".git/index").write_bytes(raw)
    assert isinstance(state(root)[2], (Known, Unknown))


def told(root: Path) -> Checkout:
    found = read_checkout(outside(), root)
    assert isinstance(found, Known) and found.value is not None
    return found.value


def test_a_release_is_told_by_its_tag_and_a_cut_history_by_its_mark(
    checkout: Path, tmp_path: Path
) -> None:
    for name in ("mine", "v0.9"):
        git(checkout, "tag", name)
    assert told(checkout).release == "v0.9"
    put(checkout, "a.py", "second\n")
    git(checkout, "commit", "-q", "-am", "second")
    assert (told(checkout).release, told(checkout).shallow) == ("", False)
    git(checkout, "tag", "-a", "-m", "with words", "v1.0")
    git(checkout, "pack-refs", "--all")
    assert told(checkout).release == "v1.0"
    git(tmp_path, "clone", "-q", "--depth", "1", checkout.as_uri(), "cut")
    assert told(tmp_path / "cut").shallow
