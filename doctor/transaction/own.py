"""What the doctor itself runs on: not moved under its feet where it lives in the target."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name as canonical

_NAME = "klein-doctor"


def lives_in(prefix: Path) -> bool:
    """Whether this environment is the one that runs the doctor."""
    return os.path.realpath(prefix) == os.path.realpath(sys.prefix)


def own_packages() -> frozenset[str]:
    """The distributions that the doctor imports from, and itself; normalised names."""
    found: set[str] = set()
    left = [_NAME]
    while left:
        name = canonical(left.pop())
        if name in found:
            continue
        found.add(name)
        try:
            needs = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:
            continue
        for text in needs:
            try:
                need = Requirement(text)
            except InvalidRequirement:
                continue
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                left.append(need.name)
    return frozenset(found)
