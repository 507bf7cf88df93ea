"""pyenv puts scripts in place of interpreters; this tells which interpreter one stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from klein_doctor.probes.outside import is_dir, is_file, names, read_text


def behind(path: Path, env: Mapping[str, str], folder: Path) -> Path:
    """The interpreter a pyenv shim would start from folder, or path itself if it is none.

    Source: pyenv's own order of PYENV_VERSION, .python-version upwards, the global version file.
    """
    root = path.parent.parent
    if path.parent.name != "shims" or not is_dir(root / "versions"):
        return path
    for version in _wanted(root, env, folder):
        real = _installed(root / "versions", version) / "bin" / path.name
        if is_file(real):
            return real
    return path


def _installed(versions: Path, wanted: str) -> Path:
    """The folder of a version; ``3.12`` stands for the newest 3.12.x that is installed."""
    wanted = wanted.removeprefix("python-")
    if is_dir(versions / wanted):
        return versions / wanted
    fitting = [name for name in names(versions) if re.fullmatch(re.escape(wanted) + r"\.\d+", name)]
    return versions / max(fitting, key=lambda name: int(name.rpartition(".")[2]), default=wanted)


def _wanted(root: Path, env: Mapping[str, str], folder: Path) -> list[str]:
    texts = [env.get("PYENV_VERSION", "").replace(":", "\n")]
    texts += [read_text(place / ".python-version", 4096) for place in (folder, *folder.parents)]
    texts.append(read_text(root / "version", 4096))
    return next((text.split() for text in texts if text.strip()), [])
