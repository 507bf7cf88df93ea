"""Real git repositories: ComfyUI's history in small, to be cloned and moved along."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from trees import put_comfyui

OLD, NEW = "v0.9.1", "v0.33.0"


def git(folder: Path, *arguments: str) -> str:
    """Run git as nobody in particular, with no settings but its own."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_")
    } | {
        "HOME": str(folder), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.autocrlf", "GIT_CONFIG_VALUE_0": "false",
    }  # fmt: skip
    names = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *names, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def put_remote(folder: Path) -> Path:
    """A repository with a release that does not know Klein and one that does.

    Between them a file is changed, one is deleted and one is new, in a folder of its own.
    """
    root = put_comfyui(folder, OLD.removeprefix("v"), klein=False)
    git(root, "init", "-q", "-b", "master")
    (root / "gone.py").write_text("gone = 1\n")
    (root / ".gitignore").write_text("/models/\n/output/\n/custom_nodes/\n__pycache__/\n.venv/\n")
    for name in ("comfy_extras", "comfy_api"):  # git holds no empty folders
        (root / name / "__init__.py").write_text("")
    (root / "start.sh").write_text("#!/bin/sh\n")
    (root / "start.sh").chmod(0o755)
    _release(root, OLD)
    put_comfyui(root, NEW.removeprefix("v"))
    (root / "gone.py").unlink()
    (root / "comfy" / "new").mkdir()
    (root / "comfy" / "new" / "klein.py").write_text("klein = 2\n")
    (root / "start.sh").write_text("#!/bin/sh\nexec true\n")
    _release(root, NEW)
    return root


def _release(root: Path, tag: str) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", tag)
    git(root, "tag", "-a", "-m", tag, tag)


def put_clone(remote: Path, folder: Path, *, branch: bool = True) -> Path:
    """A clone at the old release: on its branch that lies behind, or detached."""
    git(folder.parent, "clone", "-q", "--branch", OLD, "--single-branch", remote.as_uri(),
        folder.name)  # fmt: skip
    if branch:
        git(folder, "checkout", "-q", "-b", "master")
    for name in ("models/vae", "custom_nodes/mine", "output"):
        (folder / name).mkdir(parents=True)
    (folder / "custom_nodes" / "mine" / "node.py").write_text("mine = 1\n")
    return folder
