"""Where the user's own scripts are: the current folder, if it is one of sources."""

from __future__ import annotations

from pathlib import Path

from klein_doctor.probes.outside import Outside, is_file, names

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
