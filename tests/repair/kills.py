"""A run of fixes that is killed at some instant, and what must be true after the next one."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time

from scene import Scene

# Packages, files of ComfyUI, a model file moved and one fetched, the guard.
ONLY = "install-torch,release-attention,release-flags,rename-asset,fetch-assets,guard-torch"


def kill(scene: Scene, after_s: float) -> None:
    """Start a run, and kill it and all that it started after so long."""
    process = subprocess.Popen(
        scene.command("--fix", "--only", ONLY), env=scene.env, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    time.sleep(after_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def mended_after_kill(scene: Scene, seed: int, *, again: bool = True) -> None:
    """Kill a run, run it again: as if it had never been killed; undo: as if nothing had been.

    again: hold what came of it against a run that nothing disturbs.
    """
    before, frozen = scene.tree(), scene.packages()
    kill(scene, random.Random(seed).uniform(0.3, 8.0))
    _mended(scene)
    once, packages = scene.tree(), scene.packages()
    scene.index.stop()
    while (back := scene.doctor("undo", "--format", "json", env=_NOWHERE)).code == 0:
        pass
    scene.index.start()
    assert "no run of fixes" in back.err, back.err
    assert scene.packages() == frozen
    assert _unparked(scene.tree()) == before
    if again:
        _mended(scene)
        assert (_unparked(scene.tree()), scene.packages()) == (_unparked(once), packages)


# Whatever asks the network meets nobody.
_NOWHERE = dict.fromkeys(("HF_ENDPOINT", "PIP_INDEX_URL"), "http://127.0.0.1:9")


def _mended(scene: Scene) -> None:
    ran = scene.doctor("--fix", "--only", ONLY, "--format", "json")
    assert ran.code == 0, ran.err
    assert "fail" not in ran.verdicts().values()
    assert not list(scene.comfyui.rglob(".klein-doctor*"))
    assert not list(scene.venv.rglob(".klein-doctor*"))


def _unparked(tree: dict[str, str]) -> dict[str, str]:
    """Without what undo parked, which is never deleted."""
    return {name: told for name, told in tree.items() if ".parked" not in name}
