"""What ComfyUI's newest log speaks for, in a few lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from klein_doctor.diagnose import Request

_CHUNK, _MOST_CHUNKS = 1 << 20, 16
_SHOWN = 3


def of_log(request: Request) -> tuple[tuple[str, str], ...]:
    """(check, line to show) of the likeliest causes; a first line without a check names the log."""
    from klein_doctor.probes.outside import Outside
    from klein_doctor.recipe_messages import load_known
    from klein_doctor.target import resolve
    from klein_doctor.triage.logs import newest_log
    from klein_doctor.triage.rank import guesses
    from klein_doctor.triage.shown import shown
    from klein_doctor.triage.text import excerpt_of

    outside = Outside.real()
    log = newest_log(outside, resolve(outside, request.wish))
    if log is None:
        return (("", "No log of ComfyUI was found; klein-doctor triage explains a pasted one."),)
    try:
        chunks = iter([log.data or b""]) if log.path is None else _chunks(str(log.path))
        made = guesses(excerpt_of(chunks), load_known())[:_SHOWN]
    except OSError as error:
        return (("", f"{log.said}: {error.strerror or error}"),)
    if not made:
        return (("", f"{log.said} holds no error that is known."),)
    lines = [(guess.check, shown(outside.redactor, guess.cause).local) for guess in made]
    return (("", f"Of {log.said}:"), *lines)


def _chunks(path: str) -> Iterator[bytes]:
    with open(path, "rb") as stream:
        yield from itertools.islice(iter(lambda: stream.read(_CHUNK), b""), _MOST_CHUNKS)
