"""An outdated checkout of ComfyUI moved forward to a release; its packages are another fix's."""

from __future__ import annotations

import os
from pathlib import Path

from klein_doctor.fixing import Fix
from klein_doctor.model import known
from klein_doctor.steps import Case, Step, StepFailed, by_hand
from klein_doctor.transaction.git import Git
from klein_doctor.transaction.transaction import Transaction

ID = "update-comfyui"


def plan(case: Case) -> list[Step]:
    """One step; by hand without git, and where the check says so."""
    repair = case.asked[0][1]
    comfyui = known(case.facts.comfyui)
    if comfyui is None:
        return []
    row = case.recipe.comfyui.install
    title = f"move {comfyui.root.local} forward to ComfyUI {row.tag}"
    if not case.chosen.get("git"):
        title += "; git, which does it, is not on the PATH"
        return [by_hand(ID, "update", title, case.ids, repair.commands)]
    arguments = {
        "root": comfyui.root.real, "url": row.url, "tag": row.tag,
        "offline": bool(case.chosen.get("offline")),
    }  # fmt: skip
    return [
        Step(
            ID, title, "update", "ask", arguments, paths=(comfyui.root,), commands=repair.commands,
            bytes=None, undo="puts its files, its branch and HEAD back as they were",
            clears=case.ids,
        )
    ]  # fmt: skip


def act(step: Step, transaction: Transaction) -> str:
    """Move files, index and branch; nothing of it before all is known to go."""
    told = step.arguments
    root, tag = Path(os.path.realpath(told["root"])), told["tag"]
    git = Git(root, transaction)
    branch, old = _state(git, root)
    new = git.commit(f"refs/tags/{tag}")
    if not new:
        if told["offline"]:
            raise StepFailed(f"{tag} is not in {root} yet, and --offline was given")
        transaction.note(f"fetching ComfyUI {tag}")
        git.fetch(told["url"], tag)
        new = git.commit(f"refs/tags/{tag}")
    _refuse(git, root, branch, old, new, tag)
    there, added = git.changed(old, new)
    taken = [name for name in added if os.path.lexists(root / name)]
    if taken:
        raise StepFailed(f"{root / taken[0]} is no file of ComfyUI's yet and stands in the way")
    transaction.note(f"moving {root} to {tag}")
    _move(git, root, transaction, (old, new), there, added)
    _name(root, branch, new, transaction)
    if git.commit("HEAD") != new or _dirty(git):
        raise StepFailed(f"git does not see {root} at {tag} after the change")
    where = f"branch {branch.rpartition('/')[2]}" if branch else "HEAD"
    return f"{root} is ComfyUI {tag} now ({where} was {old[:10]}, is {new[:10]})"


def _state(git: Git, root: Path) -> tuple[str, str]:
    """The branch, "" where HEAD stands at a commit, and that commit.

    Raises:
        StepFailed: it is no checkout that can be moved and put back.
    """
    folder = root / ".git"
    if not folder.is_dir() or (folder / "reftable").exists():
        raise StepFailed(f"{root} keeps its git folder in a way that is not changed from here")
    if os.path.realpath(git("rev-parse", "--show-toplevel").strip()) != str(root):
        raise StepFailed(f"{root} is part of another git repository")
    if git("rev-parse", "--is-shallow-repository").strip() == "true":
        raise StepFailed(f"{root} is a shallow clone: run git fetch --unshallow there first")
    if _dirty(git):
        raise StepFailed(f"files of ComfyUI's in {root} are changed: see git status there")
    head = (folder / "HEAD").read_text("utf-8").strip()
    return head.removeprefix("ref: ").strip() if head.startswith("ref:") else "", git.commit("HEAD")


def _dirty(git: Git) -> bool:
    return bool(git("status", "--porcelain", "--untracked-files=no").strip())


def _refuse(git: Git, root: Path, branch: str, old: str, new: str, tag: str) -> None:
    """Raises StepFailed where the move would leave something behind, or is none."""
    if not new or not old:
        raise StepFailed(f"{root} does not know its commit or that of {tag}")
    if git("rev-list", "--count", f"{old}..{new}").strip() == "0":
        raise StepFailed(f"{root} is at {tag} or beyond it already, so the fault is elsewhere")
    if not branch and git("tag", "--points-at", old, "--list", "v*").strip():
        return  # from one release to another
    own = git("rev-list", "--count", f"{new}..{old}").strip()
    if own != "0":
        what = "its branch" if branch else "HEAD, which is at no release,"
        raise StepFailed(
            f"{what} has commits that {tag} lacks ({own} of them): merge or rebase them by hand"
        )


def _move(
    git: Git, root: Path, transaction: Transaction, commits: tuple[str, str],
    there: list[str], added: list[str],
) -> None:  # fmt: skip
    """Files and index, without HEAD: what changes is moved out, so that a rename brings it back."""
    index, place = transaction.scratch / "index", root / ".git" / "index"
    index.write_bytes(place.read_bytes())
    transaction.take_out(root, [root / name for name in there])
    with transaction.additions([root / name for name in (*there, *added)]):
        git("read-tree", "-m", "-u", *commits, GIT_INDEX_FILE=str(index))
    transaction.edit(place, index.read_bytes())


def _name(root: Path, branch: str, new: str, transaction: Transaction) -> None:
    """The branch, or HEAD itself, names the new commit; a branch may so far be a packed one."""
    path = root / ".git" / (branch or "HEAD")
    data = f"{new}\n".encode()
    if path.exists():
        transaction.edit(path, data)
    else:
        transaction.folder(path.parent)
        transaction.create(path, data)


FIXES = (
    Fix(ID, "Move ComfyUI forward to a release that knows the model", plan, act),
)  # fmt: skip
