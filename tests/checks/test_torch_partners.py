"""torch-trio-mismatch: numbers, tags, what is not known, and the repair."""

from __future__ import annotations

import construct as c
import pytest
from judging import FAIL, PASS, UNKNOWN, commands, judge_one, verdict_of

from klein_doctor.model import Facts, Known, Package, Unknown

NAME = "torch-trio-mismatch"
NOT_READ = Unknown("not read")
SITE = "~/ComfyUI/.venv/lib/python3.12/site-packages"


def built(name: str, version: str, cuda: str | Unknown | None = "13.0") -> Package:
    package = c.package(name, version, None, SITE)
    return package._replace(cuda=cuda if isinstance(cuda, Unknown) else Known(cuda))


def trio(
    torch: Package, vision: Package | Unknown, audio: Package | Unknown | None = None
) -> Facts:
    def told(fact: Package | Unknown) -> Known[Package] | Unknown:
        return fact if isinstance(fact, Unknown) else Known(fact)

    return c.machine()._replace(
        torch=Known(torch),
        torchvision=told(vision),
        torchaudio=told(c.absent("torchaudio", SITE) if audio is None else audio),
    )


TORCH = built("torch", "2.14.1+cu130")
VISION = built("torchvision", "0.29.1+cu130")
AUDIO = built("torchaudio", "2.11.0+cu130")


@pytest.mark.parametrize(
    "facts",
    [
        trio(TORCH._replace(version=NOT_READ), VISION),
        trio(TORCH._replace(cuda=NOT_READ), VISION),
        trio(TORCH, VISION._replace(version=NOT_READ)),
        trio(TORCH, VISION._replace(cuda=NOT_READ)),
        trio(TORCH, NOT_READ),
        trio(TORCH, VISION, NOT_READ),
        trio(TORCH, VISION, AUDIO._replace(version=NOT_READ)),
    ],
)
def test_what_was_not_read_is_neither_good_nor_bad(facts: Facts) -> None:
    found = judge_one(NAME, facts)
    assert found.verdict is UNKNOWN
    assert str(found.reason).endswith("not read")


@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_what_is_not_a_version_is_unknown(name: str) -> None:
    odd = built(name, "nonsense")
    facts = trio(odd, VISION) if name == "torch" else trio(TORCH, odd)
    found = judge_one(NAME, facts)
    assert (found.verdict, found.reason) == (UNKNOWN, "'nonsense' is not a version")


def test_a_fault_is_a_fault_whatever_else_is_unread() -> None:
    wrong = built("torchvision", "0.28.0+cu130")
    assert judge_one(NAME, trio(TORCH, wrong, NOT_READ)).verdict is FAIL
    assert judge_one(NAME, trio(TORCH._replace(cuda=NOT_READ), wrong)).verdict is FAIL


@pytest.mark.parametrize("version", ["0.29.1", "0.29.1+git1a2b3c"])
def test_a_partner_whose_version_names_no_build_has_the_benefit(version: str) -> None:
    untold = built("torchvision", version, Unknown("nothing written down tells"))
    assert judge_one(NAME, trio(TORCH, untold)).verdict is PASS


def test_torchaudio_is_free_of_tags_from_its_last_release_on() -> None:
    for cuda in ("12.8", None, NOT_READ):
        audio = built("torchaudio", "2.11.0+cu128", cuda)
        assert judge_one(NAME, trio(TORCH, VISION, audio)).verdict is PASS
    last = built("torch", "2.11.0+cu130")
    vision = built("torchvision", "0.26.0+cu130")
    assert judge_one(NAME, trio(last, vision, built("torchaudio", "2.11.0+cu128"))).verdict is PASS
    before = built("torchaudio", "2.10.0+cu130")
    found = judge_one(NAME, trio(last, vision, before))
    assert found.verdict is FAIL and "2.11.0+cu130 needs 2.11.0" in found.detail


@pytest.mark.parametrize(
    ("torch", "vision", "cuda", "said"),
    [
        ("2.14.1+cu130", "0.28.0+cu130", "13.0", "2.14.1+cu130 needs 0.29.1"),
        ("2.14.1+cu130", "0.29.1+cpu", None, "built for the CPU, torch 2.14.1+cu130 for CUDA 13.0"),
        ("2.14.1+cu130", "0.29.1+cu126", "12.6", "built for CUDA 12.6"),
        ("2.13.5+cu130", "0.28.0+cu130", "13.0", "was built for torch 2.13.0, not 2.13.5+cu130"),
    ],
)
def test_the_fault_is_named(torch: str, vision: str, cuda: str | None, said: str) -> None:
    found = judge_one(NAME, trio(built("torch", torch), built("torchvision", vision, cuda)))
    assert found.verdict is FAIL and said in found.detail
    assert found.subject is not None and found.subject.public == "~/ComfyUI/.venv"


def test_both_partners_are_named() -> None:
    facts = trio(
        built("torch", "2.10.0+cu130"),
        built("torchvision", "0.24.0+cu130"),
        built("torchaudio", "2.9.0+cu130"),
    )
    found = judge_one(NAME, facts)
    assert "torchvision 0.24.0" in found.detail and "torchaudio 2.9.0" in found.detail
    assert commands(found) == [
        "~/ComfyUI/.venv/bin/python -m pip install --force-reinstall torch==2.10.0+cu130 "
        "torchvision==0.25.0+cu130 torchaudio==2.10.0+cu130 "
        "--index-url https://download.pytorch.org/whl/cu130"
    ]


def test_torch_newer_than_the_table_is_no_fault() -> None:
    for number, cuda in (("2.15.3", "13.2"), ("3.0.0", "14.0")):
        tag = "+cu" + cuda.replace(".", "")
        facts = trio(
            built("torch", number + tag, cuda),
            built("torchvision", "0.31.0" + tag, cuda),
            built("torchaudio", "2.11.0+cu130"),
        )
        assert judge_one(NAME, facts).verdict is PASS


def test_without_a_card_the_repair_is_by_hand() -> None:
    facts = trio(TORCH, built("torchvision", "0.28.0+cu130"))._replace(
        nvml=Known(c.silent("library-missing", "")),
        visible=Unknown("no GPU"),
        kernel=Known(c.kernel(displays=())),
    )
    found = judge_one(NAME, facts)
    assert [(r.id, r.grade, r.commands) for r in found.fixes] == [("install-torch", "manual", ())]
    assert judge_one(NAME, facts._replace(interpreter=NOT_READ)).subject is None


def test_it_follows_from_the_build_that_is_wrong() -> None:
    facts = c.machine("2.6.0+cu126", "0.29.1+cu130", "12.6", c.CU126)
    found = verdict_of(NAME, facts)
    assert (found.verdict, found.because) == (FAIL, "torch-lacks-arch:1")


def test_words_of_a_pass() -> None:
    assert judge_one(NAME, trio(TORCH, c.absent("torchvision", SITE))).title == "torch stands alone"
    assert judge_one(NAME, trio(TORCH, VISION)).title == (
        "torchvision 0.29.1+cu130 belongs to torch 2.14.1+cu130"
    )
    assert (
        " and torchaudio 2.11.0+cu130 belong to "
        in judge_one(NAME, trio(TORCH, VISION, AUDIO)).title
    )
