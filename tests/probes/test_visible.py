"""Device lists in the words of CUDA: repeated, mixed, abbreviated and odd entries; --gpu."""

from __future__ import annotations

import construct as c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.model import Gpu, Known, MigInstance, Nvml, Private, Unknown, Visible
from klein_doctor.probes.visible import SelectorError, read_visible

plain = Private.plain
FIRST = MigInstance(plain("MIG-cccc4444-1111"), Known(10 << 30))
SECOND = MigInstance(plain("MIG-cccc4444-2222"), Known(20 << 30))


def cards() -> tuple[Gpu, ...]:
    """By the bus: a weaker card, the strongest, a third that is cut in two."""
    return (
        c.weaker(0)._replace(uuid=plain("GPU-aaaa1111")),
        c.gpu(1)._replace(uuid=plain("GPU-aaaa2222")),
        c.weaker(2)._replace(uuid=plain("GPU-bbbb3333"), mig_instances=(FIRST, SECOND)),
    )


def seen(
    listed: str | None,
    selector: str = "",
    order: str | None = "PCI_BUS_ID",
    gpus: tuple[Gpu, ...] | None = None,
) -> Visible:
    env = c.environment(
        cuda_visible_devices=None if listed is None else plain(listed), cuda_device_order=order
    )
    found = read_visible(Known(c.nvml(*(gpus or cards()))), env, selector)
    assert isinstance(found, Known)
    return found.value


@pytest.mark.parametrize(
    "listed", ["0,0", "1,2,1", "GPU-aaaa1111,GPU-aaaa1", "MIG-cccc4444-1," * 2]
)
def test_a_device_named_twice_hides_all(listed: str) -> None:
    found = seen(listed.rstrip(","))
    assert (found.order, found.chosen) == ((), None)
    assert "twice" in found.problem


@pytest.mark.parametrize(
    ("listed", "order"),
    [
        ("0,GPU-aaaa2222", (0,)),
        ("GPU-aaaa2222,0", (1,)),
        ("GPU-bbbb3333,MIG-cccc4444-1111", (2,)),
        ("MIG-cccc4444-2222,GPU-aaaa1111", (2,)),
    ],
)
def test_another_kind_of_entry_ends_the_list(listed: str, order: tuple[int, ...]) -> None:
    found = seen(listed)
    assert found.order == order
    assert "mixes" in found.problem


@pytest.mark.parametrize(
    ("listed", "order"),
    [("1gpu,2", (1, 2)), ("+1", (1,)), ("0002", (2,)), ("00000000001", (1,)), ("1,,2", (1,))],
)
def test_numbers_are_read_as_c_reads_them(listed: str, order: tuple[int, ...]) -> None:
    assert seen(listed).order == order


@pytest.mark.parametrize("listed", ["9" * 900, "x", ",", "-", "GPU-", "MIG-", "MIG-cccc4444"])
def test_what_names_no_single_device_shows_none(listed: str) -> None:
    found = seen(listed)
    assert found.order == () and found.problem
    assert len(found.problem) < 100


def test_parts_of_a_card_are_told_apart() -> None:
    assert seen("MIG-cccc4444-1").mig == FIRST
    both = seen("MIG-cccc4444-2222,MIG-cccc4444-1111")
    assert both.order == (2, 2) and both.mig == SECOND and both.problem == ""
    assert seen(None, "MIG-cccc4444-2").mig == SECOND
    assert seen("GPU-bbbb").mig is None


def test_numbers_count_in_cudas_order_and_identifiers_do_not() -> None:
    assert seen("0", order=None).chosen == 1
    assert seen("0").chosen == 0
    assert seen("0", order="FASTEST_FIRST").chosen == 1
    assert seen("GPU-aaaa1111", order=None).chosen == 0
    assert not seen("0", order=None).certain


def test_cards_of_unknown_strength_stay_in_bus_order() -> None:
    nothing = Unknown("NVML does not tell")
    blank = tuple(
        g._replace(compute_capability=nothing, total_bytes=nothing)
        for g in (c.gpu(0), c.gpu(1), c.gpu(2))
    )
    assert seen(None, order=None, gpus=blank).order == (0, 1, 2)


@pytest.mark.parametrize(
    ("selector", "chosen"), [("0", 0), ("2", 2), ("02", 2), ("GPU-aaaa2", 1), ("gpu", None),
                             ("3", None), ("9" * 5000, None), ("GPU-aaaa", None), ("GPU-", None),
                             ("MIG-cccc4444", None), ("-1", None), ("1,2", None), (" 1", None)]
)  # fmt: skip
def test_selector(selector: str, chosen: int | None) -> None:
    """Numbers count as nvidia-smi does, whatever CUDA's order and device list say."""
    if chosen is not None:
        found = seen("-1", selector, order=None)
        assert (found.chosen, found.chosen_by) == (chosen, "--gpu")
        return
    with pytest.raises(SelectorError) as error:
        seen(None, selector)
    assert "nvidia-smi counts 0, 1, 2" in str(error.value) and len(str(error.value)) < 200


ENTRIES = st.one_of(
    st.integers(-3, 5).map(str),
    st.sampled_from(["GPU-aaaa1111", "GPU-a", "GPU-b", "MIG-c", "", " ", "all", "0x1", "٣", "²"]),
    st.text(max_size=6),
)


@settings(max_examples=70, deadline=None)
@given(st.lists(ENTRIES, max_size=5), st.sampled_from([None, "PCI_BUS_ID"]))
def test_any_list_gives_known_cards_or_a_reason(entries: list[str], order: str | None) -> None:
    found = seen(",".join(entries), order=order)
    assert set(found.order) <= {0, 1, 2}
    assert found.chosen == (found.order[0] if found.order else None)
    assert found.order or found.problem


def test_what_nvml_does_not_know_stays_unknown() -> None:
    env = c.environment()
    nothing: Known[Nvml] = Known(c.silent("hung", "no answer"))
    assert isinstance(read_visible(nothing, env, "0"), Unknown)
