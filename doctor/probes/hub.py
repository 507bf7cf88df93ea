"""What the last download met at the Hub, out of the state folder: a diagnosis asks no network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from klein_doctor.identity.headers import read_small
from klein_doctor.installation import Hub, HubTrouble
from klein_doctor.privacy import hub_token, without_signature
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.settings import without_secrets
from klein_doctor.values import Private, printable

# As the downloader writes it; the file is gone once files were fetched.
STORE = "hub.json"
SCHEMA = "klein-doctor/hub/1"
CAUSES = frozenset(
    {
        "dns", "connect", "tls", "proxy", "portal", "offline", "gated", "refused", "missing",
        "quota", "server", "stalled",
    }
)  # fmt: skip
_LONGEST = 1 << 16
_LONGEST_SENTENCE, _LONGEST_ADDRESS = 600, 300
_WHEN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_TOKEN = re.compile(hub_token(8))


def read_hub(outside: Outside, state: Path | None) -> Hub:
    """The trouble on record in a state folder; none where there is no folder or no sound record.

    What is damaged, or written by a doctor that keeps it otherwise, tells nothing.
    """
    if state is None:
        return Hub(None)
    try:
        raw = read_small(state / STORE, _LONGEST + 1)
        if len(raw) > _LONGEST:
            return Hub(None)
        return Hub(_trouble(outside, json.loads(raw.decode("utf-8"))))
    except (OSError, ValueError, RecursionError):
        return Hub(None)


def _trouble(outside: Outside, data: Any) -> HubTrouble | None:
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        return None
    wanted = ("when", "endpoint", "cause", "says", "repo")
    texts = [text for text in map(data.get, wanted) if isinstance(text, str)]
    if len(texts) != len(wanted):
        return None
    when, endpoint, cause, says, repo = texts
    if not _WHEN.fullmatch(when) or cause not in CAUSES or not _REPOSITORY.fullmatch(repo):
        return None
    return HubTrouble(
        when=when,
        endpoint=_address(outside, endpoint),
        cause=cause,
        says=_sentence(outside, says),
        repo=outside.redactor.text(repo).public,
    )


def _address(outside: Outside, text: str) -> Private:
    bare = without_secrets(printable(text, _LONGEST_ADDRESS))
    if bare is None or _TOKEN.search(bare):
        return Private.plain("")
    return outside.redactor.text(bare)


def _sentence(outside: Outside, text: str) -> str:
    """A sentence without what is secret in an address, and without names of this machine."""
    bare = without_signature(text[: 2 * _LONGEST_SENTENCE])
    bare = _TOKEN.sub("hf_...", printable(bare, _LONGEST_SENTENCE))
    return outside.redactor.text(bare).public[:_LONGEST_SENTENCE]
