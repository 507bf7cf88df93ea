"""From a path to an Identity: read the header, what is remembered, what the Hub's client noted."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from klein_doctor.identity.digest import DigestStore, zero_tail
from klein_doctor.identity.headers import read_header
from klein_doctor.identity.hints import promised_digest
from klein_doctor.identity.identity import UNREADABLE, Evidence, Identity, judge_file
from klein_doctor.identity.walk import reason
from klein_doctor.recipe_assets import AssetRules


class Looked(NamedTuple):
    """What was found of one file. size: in bytes, -1 where not even that could be read."""

    path: Path
    size: int
    sha256: str
    identity: Identity
    problem: str = ""


def look(path: Path, assets: AssetRules, store: DigestStore, sha256: str = "") -> Looked:
    """Identify one file; never raises for what the file is or does.

    sha256: its digest if it was just computed, else what the store remembers is used.
    """
    try:
        reading, status = read_header(path)
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else "its name cannot be used"
        return unread(path, why)
    digest = sha256 or store.get(status)
    evidence = Evidence(
        name=path.name,
        folder=path.parent.name,
        size=status.st_size,
        sha256=digest,
        promised=promised_digest(path, status),
    )
    identity = judge_file(reading, evidence, assets)
    if identity.family and not identity.damage and identity.digest != "verified":
        # Only what its header calls sound is worth a look at the other end of the file.
        zeros = zero_tail(path)
        if zeros:
            identity = judge_file(reading, evidence._replace(zeros=zeros), assets)
    return Looked(path, status.st_size, digest, identity)


def unread(path: Path, why: str) -> Looked:
    """A file that could not be read."""
    return Looked(path, -1, "", UNREADABLE._replace(says=f"not looked into: {why}"), why)
