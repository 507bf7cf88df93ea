"""Neither a crash nor a hang of one piece ends the run."""

from __future__ import annotations

import sys
import threading

import pytest

from klein_doctor.boxed import Boxed, InTurn, boxed, place_of
from klein_doctor.model import Fault


def test_an_answer_is_handed_on() -> None:
    assert boxed("x", lambda: 7, 10) == 7
    assert boxed("x", lambda: None, 10) is None
    assert boxed("x", lambda: Fault("inner", "a", "b"), 10) == Fault("inner", "a", "b")


@pytest.mark.parametrize("error", [ValueError, OSError, MemoryError, RecursionError, KeyError])
def test_a_crash_is_a_fault_that_quotes_no_data(error: type[Exception]) -> None:
    def crash() -> None:
        raise error("/home/jane/secret")

    found = boxed("packages", crash, 10)
    assert isinstance(found, Fault)
    assert (found.where, found.kind) == ("packages", error.__name__)
    assert found.detail.startswith("test_boxed.py:") and "jane" not in repr(found)


def test_an_endless_recursion_is_a_fault() -> None:
    def deep(n: int) -> int:
        return deep(n + 1) + 1

    found = boxed("deep", lambda: deep(0), 60)
    assert isinstance(found, Fault) and found.kind == "RecursionError"


def test_a_hang_ends_at_its_limit_and_can_be_asked_again() -> None:
    done = threading.Event()
    box = Boxed("nvml", lambda: done.wait(60), 0.01)
    assert box.result() == Fault("nvml", "timeout", "no answer within 0.01 s")
    done.set()
    again = Boxed("nvml", lambda: done.wait(60), 60)
    assert again.result() is True


def test_an_answer_that_came_in_time_is_kept_however_late_it_is_asked_for() -> None:
    ready = threading.Event()

    def call() -> str:
        ready.set()
        return "here"

    box = Boxed("x", call, 0.0)
    assert ready.wait(60)
    assert box.over.wait(60)
    assert box.result() == "here"


def test_the_limits_of_boxes_started_together_do_not_add_up() -> None:
    """The second box's limit is over when it is asked, so it is not waited for once more."""
    hold, over = threading.Event(), threading.Event()
    boxes = [Boxed(f"box {n}", lambda: hold.wait(60), 0.05) for n in range(3)]
    threading.Timer(0.2, over.set).start()
    assert over.wait(60)
    for box in boxes:
        box.limit_s = 60  # only its end counts now; else this would wait for the minute
        found = box.result()
        assert isinstance(found, Fault) and found.kind == "timeout"
    hold.set()


def test_a_thread_that_ends_without_a_word_is_a_fault() -> None:
    found = boxed("x", lambda: sys.exit(3), 10)
    assert found == Fault("x", "ended", "ended without an answer")


def test_calls_in_turn_share_a_thread_until_one_hangs() -> None:
    hold = threading.Event()

    def crash() -> None:
        raise ValueError("/home/jane/secret")

    with InTurn() as boxes:
        first = boxes.run("a", threading.get_ident, 60)
        assert boxes.run("b", threading.get_ident, 60) == first != threading.get_ident()
        assert boxes.run("c", crash, 60).kind == "ValueError"  # type: ignore[union-attr]
        assert boxes.run("d", lambda: sys.exit(3), 60) == Fault(
            "d", "ended", "ended without an answer"
        )
        assert boxes.run("e", threading.get_ident, 60) == first
        assert boxes.run("f", lambda: hold.wait(60), 0.01).kind == "timeout"  # type: ignore[union-attr]
        assert boxes.run("g", threading.get_ident, 60) != first
        names = {thread.ident: thread for thread in threading.enumerate()}
        left, last = names[first], names[boxes.run("h", threading.get_ident, 60)]
    hold.set()
    for thread in (left, last):
        thread.join(60)
        assert not thread.is_alive()


def test_an_error_that_was_never_raised_has_no_place() -> None:
    assert place_of(ValueError("x")) == ""
