"""Packages: the diffusers stack, contradictions, leftovers, known bad combinations."""

from __future__ import annotations

import around as a
import construct as c
import constructed
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import (
    FAIL,
    PASS,
    RECIPE,
    SKIPPED,
    UNKNOWN,
    WARN,
    alone,
    commands,
    judge_one,
    silent,
    verdict_of,
)

from klein_doctor.installation import Installed, Packages
from klein_doctor.model import Facts, Known, Private, Unknown, Verdict
from klein_doctor.registry import catalogue

GONE = Unknown("not read")
STACK = (
    "diffusers-missing",
    "diffusers-too-old",
    "transformers-incompatible",
    "accelerate-missing",
)
HERE = {"diffusers": "0.42.1", "accelerate": "1.15.0"}


def stack(**versions: str | None) -> Facts:
    """The diffusers route with these versions; underscores stand for dashes."""
    named = {name.replace("_", "-"): version for name, version in versions.items()}
    facts = constructed.diffusers()._replace(route=Known("diffusers"))
    return facts._replace(packages=Known(a.packages({**HERE, **named})))


def asking(facts: Facts, name: str, version: str, *requires: str) -> Facts:
    """The facts with one more distribution and what it asks for."""
    assert isinstance(facts.packages, Known)
    rest = tuple(item for item in facts.packages.value.listed if item.name != name)
    listed = (*rest, Installed(name, version, requires, 0))
    return facts._replace(packages=Known(Packages(9, listed)))


def test_the_other_route_says_nothing_of_them() -> None:
    assert all(silent(name, c.machine()) for name in STACK)
    assert all(alone(name, stack()) is PASS for name in STACK)


def test_no_diffusers() -> None:
    found = judge_one("diffusers-missing", stack(diffusers=None))
    assert found.verdict is FAIL
    (command,) = commands(found)
    assert "-m pip install diffusers>=0.37.0" in command and "torch==2.14.1+cu130" in command
    assert verdict_of("accelerate-missing", stack(diffusers=None)).verdict is SKIPPED


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("0.36.0", FAIL), ("0.37.0.dev0", PASS), ("0.37.0", PASS), ("9.0", PASS), ("odd%", UNKNOWN)],
)
def test_diffusers_versions(version: str, verdict: Verdict) -> None:
    assert alone("diffusers-too-old", stack(diffusers=version)) is verdict


def test_transformers_must_know_the_encoder_and_fit() -> None:
    old = judge_one("transformers-incompatible", stack(transformers="4.50.3"))
    assert old.verdict is FAIL and "Qwen3Config" in old.detail
    assert alone("transformers-incompatible", stack(transformers=None)) is FAIL
    facts = asking(stack(huggingface_hub="0.36.0"), "diffusers", "0.42.1", "huggingface-hub>=1.23")
    found = judge_one("transformers-incompatible", facts)
    assert found.verdict is FAIL and "huggingface-hub 0.36.0" in found.title
    met = asking(stack(huggingface_hub="1.30.0"), "diffusers", "0.42.1", "huggingface-hub>=1.23")
    assert alone("transformers-incompatible", met) is PASS


def test_accelerate() -> None:
    assert alone("accelerate-missing", stack(accelerate=None)) is FAIL


def test_contradictions_are_named() -> None:
    facts = asking(c.machine(), "transformers", "4.57.0", "numpy<2,>=1.17", "tokenizers")
    found = judge_one("package-conflicts", facts)
    assert found.verdict is WARN and "numpy<2" in found.detail
    other = asking(c.machine(), "transformers", "4.57.0", 'numpy<2; sys_platform == "win32"')
    assert alone("package-conflicts", other) is PASS
    unrelated = asking(c.machine(), "botorch", "1.0", "numpy<2")
    assert alone("package-conflicts", unrelated) is PASS


def test_cuda_libraries_before_torchs_own() -> None:
    around = a.surroundings(shadowing=(Private.plain("/usr/local/cuda-12.2/lib64"),))
    found = judge_one("package-conflicts", c.machine()._replace(surroundings=Known(around)))
    assert found.verdict is WARN and "LD_LIBRARY_PATH" in found.title


@pytest.mark.parametrize(
    ("version", "verdict"), [(None, PASS), ("11.5.3", WARN), ("13.0.1", PASS), ("odd%", WARN)]
)
def test_pynvml(version: str | None, verdict: Verdict) -> None:
    facts = c.machine()._replace(packages=Known(a.packages({"pynvml": version})))
    found = judge_one("pynvml-shadowed", facts)
    assert found.verdict is verdict
    if verdict is WARN:
        assert [text.split(" -m ")[1] for text in commands(found)] == [
            "pip uninstall pynvml", "pip install --force-reinstall nvidia-ml-py",
        ]  # fmt: skip


def bad(row: str) -> Facts:
    """A machine to which a row applies."""
    card = {"rowwise-fp8-sm120": (12, 0), "old-sage-with-dynamic-vram": (12, 0),
            "cudnn-attention-sm103": (10, 3)}[row]  # fmt: skip
    versions = {"rowwise-fp8-sm120": {"torchao": "0.16.0"},
                "old-sage-with-dynamic-vram": {"sageattention": "1.0.6"}}.get(row, {})  # fmt: skip
    torch = {"rowwise-fp8-sm120": "2.10.0+cu130", "cudnn-attention-sm103": "2.11.0+cu128"}.get(row)
    facts = c.machine(torch or "2.14.1+cu130")
    listed = a.packages({**versions})
    return facts._replace(
        nvml=Known(c.nvml(c.gpu(compute_capability=Known(card)))),
        packages=Known(listed),
        route=Known("diffusers" if row.startswith("rowwise") else "comfyui"),
    )


@pytest.mark.parametrize("row", [row.id for row in RECIPE.stack.known_bad])
def test_every_known_bad_row_fires_and_is_silent(row: str) -> None:
    facts = bad(row)
    found = judge_one("known-bad-combination", facts)
    assert found.verdict in (WARN, FAIL) and found.evidence["id"] == row and found.fixes
    healthy = facts._replace(nvml=Known(c.nvml(c.gpu(compute_capability=Known((8, 9))))))
    assert alone("known-bad-combination", healthy) is PASS
    assert alone("known-bad-combination", c.machine()) is PASS
    assert alone("known-bad-combination", facts._replace(packages=GONE, torch=GONE)) is UNKNOWN


def test_ignorance() -> None:
    for name in (*STACK, "package-conflicts", "pynvml-shadowed"):
        assert alone(name, stack()._replace(packages=GONE)) is UNKNOWN
    assert alone("package-conflicts", c.machine()._replace(surroundings=GONE)) is UNKNOWN


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=20), st.text(max_size=30), st.sampled_from(["diffusers", "numpy", "torchao"])
)
def test_no_version_or_requirement_makes_a_check_raise(version: str, asked: str, name: str) -> None:
    facts = asking(stack(**{name: version}), "diffusers", version, asked, f"numpy{asked}")
    for check in (*STACK, "package-conflicts", "pynvml-shadowed", "known-bad-combination"):
        catalogue()[check].judge(facts, RECIPE)
