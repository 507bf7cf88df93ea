"""What was seen at earlier runs: one small file each, in the state folder, for its owner alone."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from klein_doctor.changes import State
from klein_doctor.codec import DecodeError, decode, encode
from klein_doctor.model import Private, Target
from klein_doctor.state import make_folder, replace_file

SCHEMA = "klein-doctor/snapshot/1"
FOLDER = "history"
_MOST = 40  # of one target; the last healthy one stays beyond that
_LARGEST = 256 << 10
_MARK = {True: "healthy", False: "not"}  # in the file's name, so that most need not be read


class Seen(NamedTuple):
    """One run. created: ``YYYY-MM-DDThh:mm:ssZ``. healthy: nothing failed and nothing was unknown.

    verified: a test generation was verified in it. exit_code: of the run.
    """

    created: str
    healthy: bool
    verified: bool
    exit_code: int
    state: State


def target_key(target: Target) -> str:
    """Tells one target from another: the Python and the ComfyUI that were judged."""
    text = f"{target.python.real}\n{target.comfyui.real}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def remember(folder: Path, target: Target, seen: Seen) -> None:
    """Keep what was seen; the same as last time takes that one's place.

    Raises:
        OSError: it cannot be written.
    """
    place, key = folder / FOLDER, target_key(target)
    make_folder(place)
    earlier = _files(place, key)
    text = json.dumps({"schema": SCHEMA, **encode(seen, "local"), **_forms(seen.state)})
    if len(text) > _LARGEST:
        return
    name = seen.created.replace(":", "").replace("-", "")
    path = place / f"{name}-{_MARK[seen.healthy]}-{key}.json"
    replace_file(path, text)
    earlier = [each for each in earlier if each != path]  # two runs in the same second
    last = _read(earlier[-1]) if earlier else None
    if last is not None and _told(last) == _told(seen):
        earlier[-1].unlink(missing_ok=True)
        earlier = earlier[:-1]
    _prune(earlier)


def recall_healthy(folder: Path, target: Target) -> Seen | None:
    """The newest run on this target in which all was well; quick, whatever else is kept."""
    files = (p for p in reversed(_files(folder / FOLDER, target_key(target))) if _healthy(p))
    return next((seen for path in files if (seen := _read(path)) is not None), None)


def recall(folder: Path, target: Target) -> tuple[Seen, ...]:
    """What was seen of this target, the oldest first; files that are damaged are passed over."""
    found = (_read(path) for path in _files(folder / FOLDER, target_key(target)))
    return tuple(seen for seen in found if seen is not None)


def _files(place: Path, key: str) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(place.glob(f"*-{key}.json"))
    return []


def _told(seen: Seen) -> Any:
    return encode(seen._replace(created=""), "local")


def _prune(files: list[Path]) -> None:
    extra = files[: max(0, len(files) + 1 - _MOST)]
    newest = next((path for path in reversed(files) if _healthy(path)), None)
    for path in extra:
        if path != newest:
            path.unlink(missing_ok=True)


def _healthy(path: Path) -> bool:
    return f"-{_MARK[True]}-" in path.name


def _forms(state: State) -> dict[str, Any]:
    """How the things are called in what is made to be pasted, in the order of the entries."""
    return {"public": [entry.what.public for entry in state.entries]}


def _read(path: Path) -> Seen | None:
    try:
        if path.stat().st_size > _LARGEST:
            return None
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("schema", None) != SCHEMA:
            return None
        public = data.pop("public")
        seen = decode(Seen, data, "snapshot")
        entries = tuple(
            e._replace(what=Private(e.what.local, e.what.local, str(shown)))
            for e, shown in zip(seen.state.entries, public, strict=True)
        )
        return seen._replace(state=seen.state._replace(entries=entries))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, DecodeError):
        return None
