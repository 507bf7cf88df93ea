"""git, run for a step: bounded and logged, without hooks, prompts or programs of the repository's.

What its objects folder gains stays when a step is taken back: nothing refers to it any more.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from klein_doctor.state import own_like
from klein_doctor.steps import StepFailed
from klein_doctor.transaction.content import listing
from klein_doctor.transaction.transaction import Transaction

# Settings of a repository, and of its user, by which git would start other programs.
_SETTINGS = (
    f"core.hooksPath={os.devnull}", "core.fsmonitor=false", "core.askPass=", "credential.helper=",
    "gc.auto=0", "maintenance.auto=false", "submodule.recurse=false", "advice.detachedHead=false",
    "protocol.ext.allow=never",
)  # fmt: skip
# An empty value takes the variable out.
ENV = {
    "GIT_TERMINAL_PROMPT": "0", "GCM_INTERACTIVE": "never", "GIT_OPTIONAL_LOCKS": "0",
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes", "GIT_ASKPASS": "", "SSH_ASKPASS": "",
    "GIT_DIR": "", "GIT_WORK_TREE": "", "GIT_INDEX_FILE": "", "GIT_OBJECT_DIRECTORY": "",
    "GIT_CONFIG_PARAMETERS": "", "GIT_NAMESPACE": "", "GIT_CEILING_DIRECTORIES": "",
    "GIT_TEMPLATE_DIR": "", "LC_ALL": "C",
}  # fmt: skip
_NETWORK = (
    "could not resolve",
    "connect",
    "timed out",
    "early eof",
    "unable to access",
    "reset by",
)
_HOUR_S = 3600.0


def clone(transaction: Transaction, url: str, tag: str, folder: Path) -> None:
    """Clone a repository at a tag into a folder that is empty or not there.

    Raises:
        StepFailed: in git's own words; again where the network is the likely reason.
    """
    argv = ["clone", "--quiet", "--template=", "--branch", tag, "--", url, str(folder)]
    _called(transaction, argv, transaction.scratch, {})


class Git:
    """git in one working tree.

    Raises:
        StepFailed: from each method, where git says no.
    """

    def __init__(self, root: Path, transaction: Transaction):
        self._root = root
        self._transaction = transaction

    def __call__(self, *argv: str, **env: str) -> str:
        """Run a command in the tree and answer what it printed."""
        own = ["-c", f"safe.directory={self._root}", "-C", str(self._root)]
        return _called(self._transaction, [*own, *argv], self._root, env)

    def commit(self, name: str) -> str:
        """The commit that something names, "" where nothing has this name."""
        try:
            return self("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()
        except StepFailed:
            return ""

    def fetch(self, url: str, tag: str) -> None:
        """Bring a tag and its history here; it is taken back with the step."""
        folder = self._root / ".git"
        told = folder / "FETCH_HEAD"
        self._transaction.take_out(folder, [told])
        with self._transaction.additions([told, folder / "refs" / "tags" / tag]):
            self("fetch", "--quiet", "--no-tags", "--", url, f"refs/tags/{tag}:refs/tags/{tag}")
        own_like(folder, listing([folder]))

    def changed(self, old: str, new: str) -> tuple[list[str], list[str]]:
        """The tracked files that a commit has otherwise than another: those there, those new."""
        said = self("diff-tree", "-r", "-z", "--name-status", "--no-renames", old, new)
        fields = said.split("\0")[:-1]
        pairs = list(zip(fields[::2], fields[1::2], strict=True))
        there = [name for kind, name in pairs if kind != "A"]
        return there, [name for kind, name in pairs if kind == "A"]


def _called(transaction: Transaction, argv: Sequence[str], cwd: Path, env: dict[str, str]) -> str:
    settings = [part for each in _SETTINGS for part in ("-c", each)]
    try:
        return transaction.run(
            ["git", *settings, *argv], cwd=cwd, env={**ENV, **env}, limit_s=_HOUR_S
        )
    except StepFailed as error:
        again = error.again or any(word in error.says.lower() for word in _NETWORK)
        raise StepFailed(error.says, again=again) from error
