"""Room for the model's files, and rights on their folder."""

from __future__ import annotations

import around as a
import construct as c
import constructed
import model_facts as m
import pytest
from judging import FAIL, PASS, UNKNOWN, WARN, alone, judge_one, silent

from klein_doctor.model import Facts, Known, Unknown, Verdict
from klein_doctor.modelfiles import Models

GONE = Unknown("not read")


def with_disks(facts: Facts | None = None, **changes: object) -> Facts:
    return (facts or c.machine())._replace(disks=Known(a.disks(**changes)))


def lacking(models: Models | None = None, **changes: object) -> Facts:
    """Without all of Klein's files, or with these alone."""
    return with_disks(c.machine()._replace(models=Known(models or m.models())), **changes)


@pytest.mark.parametrize(("free", "verdict"), [(180, PASS), (12, PASS), (11, WARN), (0, FAIL)])
def test_room_for_the_files(free: int, verdict: Verdict) -> None:
    facts = lacking(free=free)
    assert alone("disk-too-small", facts._replace(models=GONE)) is verdict


def test_the_diffusers_route_looks_at_the_hub_cache_and_needs_more() -> None:
    empty = constructed.diffusers(models=GONE)
    found = judge_one("disk-too-small", with_disks(empty, free=14))
    assert found.verdict is WARN and found.evidence["role"] == "hub-cache"
    assert "FLUX.2-klein-4B" in found.detail


def test_what_is_there_already_needs_no_room() -> None:
    assert alone("disk-too-small", with_disks(free=2)) is PASS
    assert alone("disk-too-small", with_disks(constructed.diffusers(), free=2)) is PASS
    two = m.models(m.model_file("flux-2-klein-4b-fp8"), m.model_file("qwen3-4b"))
    assert alone("disk-too-small", lacking(free=1, models=two)) is PASS
    found = judge_one("disk-too-small", lacking(free=2))
    assert found.verdict is FAIL and "11.6 GiB of them are still missing" in found.detail


def test_of_a_broken_diffusers_folder_only_what_is_missing_counts() -> None:
    def folder(*missing: str) -> Facts:
        broken = m.pipeline(verdict="damaged", says="an incomplete one", missing=missing)
        return constructed.diffusers(models=Known(m.models(pipelines=(broken,))))

    shard = folder("text_encoder/model-00002-of-00002.safetensors", "vae/config.json")
    assert alone("disk-too-small", with_disks(shard, free=4)) is PASS
    found = judge_one("disk-too-small", with_disks(shard, free=2))
    assert found.verdict is FAIL and "2.9 GiB of them are still missing" in found.detail
    # What is not in the table is not guessed at.
    for unlisted in (folder("vae/config.json and weights"), folder()):
        assert alone("disk-too-small", with_disks(unlisted, free=14)) is WARN
    none = constructed.diffusers(models=Known(m.models()))
    assert alone("disk-too-small", with_disks(none, free=14)) is FAIL


def test_rights() -> None:
    assert alone("models-not-writable", with_disks()) is PASS
    assert alone("models-not-writable", with_disks(writable=Known(False))) is WARN
    found = judge_one("models-not-writable", lacking(writable=Known(False)))
    assert found.verdict is FAIL and found.subject is not None
    assert found.subject.public == "~/ComfyUI/models"


def test_paths_trouble_windows_alone() -> None:
    assert silent("path-troublesome", with_disks(ascii=False))
    windows = c.on_windows(c.machine(windows=True))
    assert alone("path-troublesome", windows) is PASS
    odd = windows._replace(disks=Known(a.disks(a.PORTABLE, ascii=False)))
    assert alone("path-troublesome", odd) is WARN
    long = windows._replace(disks=Known(a.disks(a.PORTABLE, longest=300)))
    assert "300 characters" in judge_one("path-troublesome", long).title


def test_ignorance() -> None:
    for name in ("disk-too-small", "models-not-writable"):
        assert alone(name, c.machine()._replace(disks=GONE)) is UNKNOWN
        assert silent(name, c.machine()._replace(disks=Known(())))
    assert alone("disk-too-small", with_disks(free=1)._replace(
        disks=Known(tuple(d._replace(free=GONE) for d in a.disks())))) is UNKNOWN  # fmt: skip
    assert alone("models-not-writable", with_disks(writable=GONE)) is UNKNOWN
    assert alone("path-troublesome", c.machine()._replace(system=GONE)) is UNKNOWN
