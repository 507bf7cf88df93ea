"""The readers by the name rows call them: the public functions of these modules."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isfunction

from klein_doctor.triage import installs, kernels, memory, refusals, shapes
from klein_doctor.triage.values import Say, Seen

Reader = Callable[[Seen], "Say | None"]

# A reader that answers None leaves it to its row; one whose Say names no check says that the line
# is no such message after all.
READERS: dict[str, Reader] = {
    name: reader
    for module in (installs, kernels, memory, refusals, shapes)
    for name, reader in vars(module).items()
    if isfunction(reader) and reader.__module__ == module.__name__ and not name.startswith("_")
}
