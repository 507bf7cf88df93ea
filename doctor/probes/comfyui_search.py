"""Where a ComfyUI looks for models, without judging it."""

from __future__ import annotations

from pathlib import Path

from klein_doctor.exits import UsageError
from klein_doctor.installation import ModelFolder
from klein_doctor.probes.comfyui_find import find
from klein_doctor.probes.comfyui_paths import base_of, read_folders
from klein_doctor.probes.found import Answer, Found
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
    return list(dict.fromkeys(Path(folder.path.real) for folder in searched(outside, found, ())))


def searched(
    outside: Outside, found: Found, answers: tuple[Answer, ...]
) -> tuple[ModelFolder, ...]:
    """The model folders of a ComfyUI that was found; none where they cannot be told.

    answers: of servers that run; the one of this ComfyUI knows best.
    """
    launchers = read_launchers(outside, found, answers)
    running = next((a for a in answers if found.port and a.server.port == found.port), None)
    told = running.folders if running is not None else None
    folders, _ = read_folders(outside, found.root, base_of(found, launchers), launchers, told)
    return folders.value if isinstance(folders, Known) else ()
