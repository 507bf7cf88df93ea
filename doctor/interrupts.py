"""A polite request to end: taken by work that can be left in good order."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def ends_politely(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and requests to end set stop; a second one ends the work at once."""

    def ask(*_: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is None or signal.getsignal(number) == signal.SIG_IGN:
            continue  # nohup and the like wish it ignored
        if threading.current_thread() is threading.main_thread():
            before[number] = signal.signal(number, ask)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
