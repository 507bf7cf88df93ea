"""Everything wrong at once, mended by one command and taken back by another."""

from __future__ import annotations

import json
from collections.abc import Callable

import scene as s
from scene import Scene

Make = Callable[..., Scene]
ALL = "install-torch,release-attention,release-flags,rename-asset,fetch-assets,loopback-only"


def test_all_of_it_is_mended_by_one_command_and_taken_back(make_scene: Make) -> None:
    scene = make_scene()
    before, frozen = scene.tree(), scene.freeze()
    ran = scene.doctor("--format", "json")
    assert ran.code == 1, ran.err
    assert s.red(ran) == [
        "comfyui-exposed", "flash-attention-forced", "torch-cuda-below-13", "torch-lacks-arch",
        "torch-trio-mismatch", "vae-wrong",
    ]  # fmt: skip
    dry = scene.doctor("--fix", "--only", ALL, "--dry-run", "--format", "json")
    assert scene.tree() == before
    ran = scene.doctor("--fix", "--only", ALL, "--format", "json")
    assert ran.code == 0, (ran.err, [r for r in ran.document["steps"]])
    assert s.red(ran) == []
    document = ran.document
    assert document["changed"] is True
    assert document["plan"] == dry.document["plan"]
    assert [step["state"] for step in document["steps"]] == ["done"] * len(document["plan"])
    assert s.red(scene.doctor("--format", "json")) == []
    print(json.dumps(document["steps"], indent=1), ran.err)
    again = scene.doctor("--fix", "--only", ALL, "--format", "json")
    assert (again.code, again.document["changed"], again.document["plan"]) == (0, False, [])
    assert "nothing to do" in again.err
    scene.index.stop()
    back = scene.doctor("undo", "--format", "json")
    assert back.code == 0, back.out + back.err
    assert scene.freeze() == frozen
    after = scene.tree()
    parked = {name for name in after if name.endswith(".parked")}
    assert {name: after[name] for name in after if name not in parked} == before
    assert parked == {"home/ComfyUI/models/vae/flux2-vae.safetensors.parked"}
