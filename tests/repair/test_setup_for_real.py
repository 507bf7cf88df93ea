"""The wizard in a real pseudo-terminal on a machine on which everything is wrong."""

from __future__ import annotations

from collections.abc import Callable

import scene as s
import terminal as t
from scene import Scene


def asked(scene: Scene, *arguments: str) -> t.Terminal:
    """The wizard, started at a terminal of 80x24."""
    return t.Terminal(scene.command("setup", *arguments), {**scene.env, "TERM": "xterm-256color"})


def test_what_is_said_yes_to_is_mended_and_undo_takes_it_back(
    make_scene: Callable[..., Scene],
) -> None:
    scene = make_scene()
    before = scene.tree()
    seen = asked(scene, "--progress", "plain")
    try:
        seen.until("Esc leaves")  # what happened: nothing yet
        assert scene.tree() == before
        seen.type(t.ENTER)
        seen.until("Space ticks")
        seen.type(t.ENTER)
        seen.until("Do it?")
        seen.until("Esc leaves")
        assert scene.tree() == before
        seen.type(t.DOWN + t.ENTER)
        seen.until("0.34 GB")
        seen.until("Esc leaves")
        assert scene.tree() == before
        seen.type(t.ENTER)
        seen.until("three test pictures")  # the torch of this machine is none that could draw
        seen.until("Esc leaves")
        seen.type(t.DOWN + t.ENTER)
        seen.until("To take it back: klein-doctor undo")
        assert seen.end() == 0
    finally:
        seen.close()
    left = {"comfyui-exposed", "flash-attention-forced", "torch-unguarded"}
    ran = scene.doctor("--format", "json")
    assert set(s.red(ran)) == left
    assert "fail" not in ran.verdicts().values()
    assert scene.doctor("undo").code == 0
    after = scene.tree()
    assert {name: after[name] for name in after if not name.endswith(".parked")} == before


def test_leaving_at_the_plan_leaves_everything(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene(vae=False)
    before = scene.tree()
    seen = asked(scene)
    try:
        seen.until("Esc leaves")
        seen.type(t.ENTER)
        seen.until("Space ticks")
        seen.type(t.ESC)
        assert seen.end() == 130
        assert "nothing was changed" in seen.text
    finally:
        seen.close()
    assert scene.tree() == before
