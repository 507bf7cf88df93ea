"""Where a ComfyUI looks for models, without judging it."""

from __future__ import annotations

from pathlib import Path

from klein_doctor.exits import UsageError
from klein_doctor.probes.comfyui_find import find
from klein_doctor.probes.comfyui_paths import base_of, read_folders
from klein_doctor.probes.launchers import read_launchers
from klein_doctor.probes.outside import Outside
from klein_doctor.values import Known


def search_path(root: Path) -> list[Path] | None:
    """The model folders of a ComfyUI by its files and launchers, in its own order, each once.

    None where the folder is no ComfyUI.
    """
    outside = Outside.real()
    try:
        _, found = find(outside, str(root), "", ())
    except UsageError:
        return None
    if found is None:
        return None
    launchers = read_launchers(outside, found, ())
    folders, _ = read_folders(outside, found.root, base_of(found, launchers), launchers, None)
    if not isinstance(folders, Known):
        return []
    return list(dict.fromkeys(Path(folder.path.real) for folder in folders.value))
