"""What every message is held to: what is wrong, where, why here, what to do; in plain words."""

from __future__ import annotations

import re

from klein_doctor.model import Finding, Outcome, Repair, Verdict
from klein_doctor.registry import Check

# Words of the trade, each with words one of which must stand beside it the first time.
GLOSSED = {
    "NVML": r"query library",
    "PTX": r"translate|driver|code",
    "ABI": r"built for|compiled for",
    "WDDM": r"driver",
    "NaN": r"not a number|black|broken",
    "PEP 668": r"marker|system|mark",
    "LFS": r"pointer|git",
    "zram": r"compressed|RAM",
    "cgroup": r"limit|container",
    "MIG": r"slice|split",
    "UVM": r"memory|module|device",
    "ReBAR": r"firmware|BIOS",
}
_BLAME = re.compile(
    r"(?i)\b(you forgot|your fault|obviously|simply|just run|oops|sorry|unfortunately|stupid)\b"
)
_RAW = re.compile(r"Traceback \(most recent|<[a-z_.]+ object at 0x|\bNone\b$|\{\w+\}")


def faults_of(title: str, detail: str) -> list[str]:
    """What is wrong with the words of a finding."""
    found = []
    if not title or title != title.strip() or title.endswith((".", ":", ";")):
        found.append(f"the title is no headline: {title!r}")
    if detail and not detail.rstrip("'\")").endswith((".", "?")):
        found.append(f"the detail ends in the middle: {detail[-40:]!r}")
    text = f"{title}. {detail}"
    if re.search(r"[a-z]{3}!(?:[\s.]|$)", text):
        found.append("an exclamation mark")
    if _BLAME.search(text):
        found.append(f"blame or filling: {_BLAME.search(text)}")
    if _RAW.search(text):
        found.append(f"raw data: {_RAW.search(text)}")
    for word, gloss in GLOSSED.items():
        if re.search(rf"\b{word}\b", text) and not re.search(gloss, text):
            found.append(f"{word} is not explained")
    return found


def faults_of_repair(repair: Repair) -> list[str]:
    """What is wrong with the words of a repair."""
    found = []
    if not repair.summary or repair.summary.endswith(".") or "!" in repair.summary:
        found.append(f"{repair.id}: {repair.summary!r}")
    if any(not part for command in repair.commands for part in command):
        found.append(f"{repair.id}: an empty word in a command")
    return found


def hold(found: Finding | Outcome, check: Check) -> None:
    """Assert that a finding says what is wrong, why it matters here and what to do."""
    faults = faults_of(found.title, found.detail)
    for repair in found.fixes:
        faults += faults_of_repair(repair)
    if found.verdict in (Verdict.FAIL, Verdict.WARN):
        if not found.detail and len(found.title) < 30:
            faults.append("no word of why it matters here")
        if not (found.fixes or check.by_hand):
            faults.append("no word of what to do")
    if found.verdict is Verdict.UNKNOWN and not found.reason:
        faults.append("no reason for not knowing")
    assert not faults, (check.name, faults)
