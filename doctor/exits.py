"""Exit codes, apart from everything else so that ``--help`` need not load the rest."""

import enum


class Exit(enum.IntEnum):
    """Exit codes: a contract, the same in every output format."""

    OK = 0
    PROBLEMS = 1
    USAGE = 2
    UNDECIDED = 3
    FIX_ROLLED_BACK = 4
    GENERATION_FAILED = 5
    ROLLBACK_FAILED = 6
    TRY_AGAIN = 7
    REBOOT = 8
    FAULT = 70
    INTERRUPTED = 130


# Where several hold, the first of these is told.
_ORDER = (
    Exit.FAULT, Exit.ROLLBACK_FAILED, Exit.INTERRUPTED, Exit.FIX_ROLLED_BACK,
    Exit.GENERATION_FAILED, Exit.REBOOT, Exit.TRY_AGAIN, Exit.USAGE, Exit.PROBLEMS,
    Exit.UNDECIDED, Exit.OK,
)  # fmt: skip


def leading(*codes: Exit) -> Exit:
    """The exit code that is told where several hold."""
    return min(codes, key=_ORDER.index)


class UsageError(ValueError):
    """Wrong usage, in one line that names the option."""
