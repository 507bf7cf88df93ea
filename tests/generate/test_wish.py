"""What keeps a test generation from being begun, and what does not concern it."""

from __future__ import annotations

from typing import Any

import pytest
import recorded

from klein_doctor import recipe as recipes
from klein_doctor.codec import decode
from klein_doctor.diagnose import Request, build
from klein_doctor.generate.wish import Wish, in_the_way
from klein_doctor.model import Facts, Known, Private, Report, Target, known

REHEARSAL = Wish(device="cpu", expect="reference")


def report(name: str) -> Report:
    data = recorded.load(name)
    facts: Any = decode(Facts, data["facts"], "facts")
    target = decode(Target, data["target"], "target")
    return build(facts, target, data["created"], recipes.load(), Request())


def stopped_by(name: str, wish: Wish | None = None) -> set[str]:
    found = report(name)
    return {f.check for f in in_the_way(found.findings, found.facts, wish or Wish())}


@pytest.mark.parametrize(
    ("machine", "check"),
    [
        ("cu126-wheel-on-sm120", "torch-lacks-arch"),
        ("flux1-vae-named-flux2", "vae-wrong"),
        ("rtx4060-8gb-crowded", "vram-busy"),
        ("no-driver-at-all", "gpu-not-found"),
        ("base-named-distilled", "base-for-distilled"),
        ("old-comfyui-new-nodes", "comfyui-too-old"),
    ],
)
def test_what_would_stop_or_spoil_a_run(machine: str, check: str) -> None:
    assert check in stopped_by(machine)


@pytest.mark.parametrize(
    "machine",
    ["healthy-rtx5070-linux-cu130", "healthy-diffusers", "comfy-cli-listening", "wsl2-healthy"],
)
def test_what_does_not_reach_it(machine: str) -> None:
    assert stopped_by(machine) == set()


def test_what_asks_for_flash_attention_only_where_it_is_loaded() -> None:
    found = report("flash-attention-in-config")  # that of a folder beside the one that is loaded
    assert not in_the_way(found.findings, found.facts, Wish())
    models = known(found.facts.models)
    (folder,) = models.pipelines
    moved = folder._replace(path=Private.plain("~/models/FLUX.2-klein-4B"))
    facts = found.facts._replace(models=Known(models._replace(pipelines=(moved,))))
    (forced,) = in_the_way(found.findings, facts, Wish())
    assert forced.check == "flash-attention-forced"


def test_a_rehearsal_needs_neither_card_nor_whole_files() -> None:
    assert not stopped_by("no-driver-at-all", REHEARSAL) & {"gpu-not-found", "torch-cpu-only"}
    assert stopped_by("flux1-vae-named-flux2", REHEARSAL) == set()
    # What runs the model must be there all the same.
    assert "comfyui-too-old" in stopped_by("old-comfyui-new-nodes", REHEARSAL)
