"""Where a ComfyUI looks for models, without judging it."""

from __future__ import annotations

from pathlib import Path

from klein_doctor.probes.comfyui_find import find
from klein_doctor.probes.comfyui_paths import base_of, read_folders
from klein_doctor.probes.launchers import read_launchers
from klein_doctor.probes.outside import Outside
from klein_doctor.values import Known


def search_path(root: Path) -> list[Path]:
    """The model folders of a ComfyUI by its files and launchers, in its own order, each once."""
    outside = Outside.real()
    _, found = find(outside, str(root), "", ())
    if found is None:
        return []
    launchers = read_launchers(outside, found, ())
    folders, _ = read_folders(outside, found.root, base_of(found, launchers), launchers, None)
    if not isinstance(folders, Known):
        return []
    return list(dict.fromkeys(Path(folder.path.real) for folder in folders.value))
