"""Nothing a stranger's file contains may crash the reader, or reach the terminal unescaped."""

from __future__ import annotations

from header_strategies import HEADERS, REAL, SIZES, hold
from hypothesis import given, settings
from hypothesis import strategies as st

EXAMPLES = 2_000


@settings(max_examples=EXAMPLES, deadline=None)
@given(HEADERS, SIZES)
def test_any_bytes_get_a_verdict(data: bytes, more: int) -> None:
    hold(data, more)


@settings(max_examples=70, deadline=None)
@given(st.sampled_from(REAL), st.integers(0, 1 << 36))
def test_a_real_header_before_any_length_of_data(data: bytes, more: int) -> None:
    hold(data, more)
