"""The kernel proof as a fact, for --prove and before a generation."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from klein_doctor.card import chosen_gpu
from klein_doctor.generation import Proof
from klein_doctor.model import Fact, Facts, Known, Unknown, known

_MIB = 1 << 20


def proof_of(
    facts: Facts,
    stop: threading.Event | None = None,
    left_s: Callable[[], float | None] = lambda: None,
    told: Callable[[str], None] = lambda stage: None,
) -> Fact[Proof | None]:
    """Try the kernels on the chosen card; Unknown where there is none, or nothing to try.

    Raises:
        KeyboardInterrupt: it was asked to stop.
    """
    gpu = chosen_gpu(facts)
    python, torch = known(facts.interpreter), known(facts.torch)
    if gpu is None:
        return Unknown("no card is chosen that kernels could be tried on")
    if python is None or python.fault.real or torch is None or not torch.present:
        return Unknown("there is no Python with torch that kernels could be tried with")
    from klein_doctor.generate.prove import prove

    free = known(gpu.free_bytes)
    try:
        return Known(
            prove(
                python.path.real,
                gpu=gpu.uuid.real,
                env=os.environ,
                stop=stop,
                free_mib=free // _MIB if free is not None else None,
                left_s=left_s,
                told=told,
            )
        )
    except TimeoutError:
        return Unknown("the time for it was over")
