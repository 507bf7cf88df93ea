"""Lengths of time as people type them."""

from __future__ import annotations

import re

from klein_doctor.exits import UsageError

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str, option: str = "--deadline") -> float:
    """A length of time such as ``90``, ``30m`` or ``1.5h``; 0 for "".

    Raises:
        UsageError: it is none; the message names the option.
    """
    if not text:
        return 0.0
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)\s*([smhd]?)", text.strip())
    if found is None or float(found.group(1)) == 0:
        raise UsageError(f"{option} {text[:40]}: use seconds, or for example 30m or 2h")
    return float(found.group(1)) * _UNITS[found.group(2)]
