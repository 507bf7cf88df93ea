"""Whether a finding of before is still there in a second look; pure."""

from __future__ import annotations

from collections.abc import Sequence

from klein_doctor.model import Finding, Private, Verdict

# What says that a fault is there, or that it cannot be told.
RED = (Verdict.FAIL, Verdict.UNKNOWN, Verdict.CRASHED, Verdict.SKIPPED)


def counterpart(was: Finding, fix: str, now: Sequence[Finding]) -> Finding | None:
    """The finding of now that says that a fault is still there, or cannot be told."""
    red = (*RED, Verdict.WARN) if was.verdict is Verdict.WARN else RED
    return next(
        (
            f
            for f in now
            if f.check == was.check
            and f.verdict in red
            and (_subject(f) == _subject(was) or _same_cure(f, was, fix))
        ),
        None,
    )


def _same_cure(one: Finding, other: Finding, fix: str) -> bool:
    """Whether the same commands of a fix mend both: the same fault, told of another file."""
    mine, others = (
        {repair.commands for repair in finding.fixes if repair.id == fix and repair.commands}
        for finding in (one, other)
    )
    return bool(mine & others)


def _subject(finding: Finding) -> str:
    subject = finding.subject
    return subject.real if isinstance(subject, Private) else ""
