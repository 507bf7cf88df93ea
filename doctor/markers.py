"""Whether environment markers (PEP 508) hold for a target, which is not this Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from klein_doctor.model import Facts, known

if TYPE_CHECKING:
    from packaging.markers import Marker

_SYSTEMS = {"win32": "Windows", "darwin": "Darwin", "linux": "Linux"}


def environment(platform: str, machine: str, python: tuple[int, ...]) -> dict[str, str]:
    """What markers are judged by; platform as sys.platform has it."""
    return {
        "sys_platform": platform,
        "platform_system": _SYSTEMS.get(platform, platform),
        "platform_machine": machine,
        "os_name": "nt" if platform == "win32" else "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "python_version": ".".join(str(part) for part in python[:2]),
        "python_full_version": ".".join(str(part) for part in (*python, 0, 0)[:3]),
        "extra": "",
    }


def target(facts: Facts) -> dict[str, str] | None:
    """The target's environment; None where its system or its Python's version is not known."""
    system, python = known(facts.system), known(facts.interpreter)
    version = known(python.version) if python is not None else None
    if system is None or version is None:
        return None
    platform = "win32" if system.os == "windows" else system.os
    return environment(platform, system.machine, version)


def holds(marker: Marker | None, judged_by: Mapping[str, str] | None) -> bool | None:
    """Whether a marker holds, as no marker does everywhere; None where that cannot be told."""
    if marker is None:
        return True
    if judged_by is None:
        return None
    try:
        return marker.evaluate(dict(judged_by))
    except Exception:  # packaging raises several kinds for markers it cannot compare
        return None
