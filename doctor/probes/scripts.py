"""Sources outside ComfyUI: the user's own scripts, and what an interpreter runs as it starts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from klein_doctor.probes.outside import Outside, is_file, names

_AT_START = ("sitecustomize.py", "usercustomize.py")
_MARKS = ("pyproject.toml", "requirements.txt", "setup.py")


def own_scripts(outside: Outside) -> list[Path]:
    """The current folder where it holds Python sources; never a home or the top of a disk."""
    here = outside.here()
    homes = {outside.env.get(name, "") for name in ("HOME", "USERPROFILE")}
    if here == here.parent or str(here) in homes:
        return []
    found = names(here)
    sources = any(name.endswith(".py") and is_file(here / name) for name in found)
    return [here] if sources or any(name in found for name in _MARKS) else []


def run_at_start(sites: Iterable[Path]) -> list[Path]:
    """The files of package folders that Python runs at its start; .pth files may hold code."""
    return [
        site / name for site in sites for name in names(site)
        if name in _AT_START or name.endswith(".pth")
    ]  # fmt: skip
