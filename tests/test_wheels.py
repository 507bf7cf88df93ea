"""Which build fits which card, driver and Python; and the card itself."""

from __future__ import annotations

import construct as c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import RECIPE

from klein_doctor.card import card, chosen_gpu, pci_rows, short_name, strength
from klein_doctor.model import Facts, Gpu, Known, PciDisplay, Unknown, Visible
from klein_doctor.recipe import gpu_rows, pair
from klein_doctor.wheels import Choice, choose, runs

NOTHING = Unknown("not read")


@pytest.mark.parametrize(
    ("archs", "capability", "how"),
    [
        ("sm_86", (8, 6), "native"),
        ("sm_80", (8, 6), "native"),
        ("sm_80", (8, 9), "native"),
        ("sm_89", (8, 6), ""),
        ("sm_90", (8, 9), ""),
        ("sm_75 sm_80 sm_86 sm_90", (12, 0), ""),
        ("sm_90 compute_90", (12, 0), "ptx"),
        ("sm_120", (12, 1), "native"),
        ("sm_120", (10, 0), ""),
        ("compute_120", (9, 0), ""),
        ("compute_80 sm_86", (8, 6), "native"),
        ("sm_90a", (9, 0), "native"),
        ("sm_90a", (9, 1), ""),
        ("sm_120a", (12, 1), ""),
        ("compute_90a", (9, 0), "ptx"),
        ("compute_90a", (12, 0), ""),
        ("sm_100f", (10, 3), "native"),
        ("compute_100f", (10, 3), "ptx"),
        ("compute_100f", (12, 0), ""),
        ("", (12, 0), ""),
        ("sm_ gfx1100 x sm_x compute_", (12, 0), ""),
    ],
)
def test_how_code_serves_a_card(archs: str, capability: tuple[int, int], how: str) -> None:
    assert runs(tuple(archs.split()), capability) == how


def pick(
    capability: tuple[int, int],
    driver: int,
    python: tuple[int, ...] | None = (3, 12),
    installed: str = "",
    audio: bool = False,
) -> Choice | None:
    return choose(RECIPE, capability, driver, python, installed, audio)


def versions(choice: Choice | None) -> list[str]:
    assert choice is not None
    return [package.partition("==")[2] for package in choice.packages]


def test_a_current_driver_gets_cuda_13() -> None:
    for capability in ((12, 0), (8, 9), (8, 6), (7, 5), (9, 0)):
        found = pick(capability, 580)
        assert found is not None and found.variant == "cu130"
        assert all(version.endswith("+cu130") for version in versions(found))
        assert found.index_url.endswith("/cu130")


def test_a_570_driver_gets_the_last_cu128() -> None:
    assert versions(pick((12, 0), 572)) == ["2.11.0+cu128", "0.26.0+cu128"]


def test_older_drivers_get_cu126_and_an_rtx_50_gets_nothing() -> None:
    found = pick((8, 6), 535)
    assert found is not None and found.variant == "cu126"
    assert pick((12, 0), 560) is None
    assert pick((8, 6), 470) is None


def test_old_and_unheard_of_cards() -> None:
    assert pick((5, 0), 580) is None or "cu126" in versions(pick((5, 0), 580))[0]
    assert pick((3, 5), 580) is None
    assert pick((99, 0), 999) is None


def test_the_installed_number_is_kept_where_the_variant_has_it() -> None:
    assert versions(pick((12, 0), 580, installed="2.9.1+cpu")) == ["2.9.1+cu130", "0.24.1+cu130"]
    assert versions(pick((12, 0), 572, installed="2.7.1"))[0] == "2.7.1+cu128"
    newest = pick((12, 0), 580)
    assert pick((12, 0), 580, installed="2.6.0+cu126") == newest
    assert pick((12, 0), 580, installed="garbage") == newest


def test_the_python_decides() -> None:
    assert pick((12, 0), 580, (3, 9)) is None
    assert versions(pick((12, 0), 572, (3, 9)))[0] == "2.8.0+cu128"
    assert pick((12, 0), 580, (2, 7)) is None
    assert pick((12, 0), 580, (3, 12, 3)) == pick((12, 0), 580, (3, 12)) == pick((12, 0), 580, None)


def test_audio_only_where_it_was() -> None:
    assert len(versions(pick((12, 0), 580))) == 2
    assert versions(pick((12, 0), 572, audio=True)) == [
        "2.11.0+cu128",
        "0.26.0+cu128",
        "2.11.0+cu128",
    ]


@settings(max_examples=70, deadline=None)
@given(
    st.sampled_from([pair(row.compute_capability) for row in gpu_rows()]),
    st.integers(300, 700),
    st.sampled_from([None, (3, 9), (3, 10), (3, 13), (3, 14), (3, 20)]),
    st.sampled_from(["", *(trio.torch for trio in RECIPE.trios)]),
)
def test_what_is_advised_runs_on_the_card(
    capability: tuple[int, int], driver: int, python: tuple[int, ...] | None, installed: str
) -> None:
    found = pick(capability, driver, python, installed)
    if found is None:
        return
    archs = RECIPE.archs_of(found.torch, found.variant)
    assert archs is not None and runs(archs, capability)
    floor = next(
        r.min_driver for r in RECIPE.cuda_floors if found.variant[2:4] == str(r.cuda_major)
    )
    assert driver >= floor
    trio = RECIPE.trio(found.torch)
    assert trio is not None
    if python is not None:
        assert pair(trio.python[0]) <= python[:2] <= pair(trio.python[1])


# --- the card --------------------------------------------------------------------------------


def with_gpus(chosen: int | None, *gpus: Gpu) -> Facts:
    order = tuple(g.nvml_index for g in gpus)
    return c.machine()._replace(
        nvml=Known(c.nvml(*gpus)), visible=Known(Visible(order, True, "", chosen, "first", None))
    )


def test_the_chosen_card_is_judged_else_the_strongest() -> None:
    two = (c.weaker(0), c.gpu(1))
    found = card(with_gpus(0, *two))
    assert isinstance(found, Known)
    assert (found.value.name, found.value.arch, found.value.seen_by) == (
        "RTX 3060",
        "sm_86",
        "NVML",
    )
    hidden = with_gpus(None, *two)
    assert chosen_gpu(hidden) is None
    strongest = card(hidden)
    assert isinstance(strongest, Known) and strongest.value.name == "RTX 5070"


def test_without_a_driver_the_bus_tells() -> None:
    displays = tuple(
        PciDisplay(vendor, device, "", 0)
        for vendor, device in (("8086", "2f04"), ("10de", "2504"), ("10de", "2f04"), ("10de", "0"))
    )
    kernel = Known(c.kernel(displays=displays))
    facts = c.machine()._replace(nvml=NOTHING, visible=NOTHING, kernel=kernel)
    found = card(facts)
    assert isinstance(found, Known)
    assert (found.value.name, found.value.seen_by) == ("RTX 5070", "PCI bus")
    assert {row.name for row in pci_rows(facts)} == {"RTX 5070", "RTX 3060"}
    intel = c.machine()._replace(nvml=NOTHING, kernel=Known(c.kernel(displays=displays[:1])))
    assert isinstance(card(intel), Unknown)
    assert isinstance(card(intel._replace(kernel=NOTHING)), Unknown)


def test_a_card_that_does_not_say_what_it_is() -> None:
    blank = c.gpu(3)._replace(name=NOTHING, compute_capability=NOTHING, total_bytes=NOTHING)
    assert isinstance(card(with_gpus(3, blank)), Unknown)
    assert short_name(blank) == "GPU 3"
    assert strength(blank) == (0, 0, 0) < strength(c.weaker())
    assert short_name(c.gpu(0, "NVIDIA H100 80GB HBM3")) == "H100 80GB HBM3"
