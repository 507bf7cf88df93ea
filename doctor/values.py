"""What every fact is made of: known or unknown, and texts that may identify somebody.

A fact is ``Known(value)`` or ``Unknown(reason)``; it is never None for "could not tell".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar, Union

T = TypeVar("T")


@dataclass(frozen=True)
class Known(Generic[T]):
    """A fact that was read."""

    value: T


@dataclass(frozen=True)
class Unknown:
    """A fact that could not be read, and why, in words a user understands."""

    reason: str


Fact = Union[Known[T], Unknown]


def known(fact: Known[T] | Unknown | None, default: Any = None) -> Any:
    """The value of a fact that was read, else the default: for showing, never for judging."""
    return fact.value if isinstance(fact, Known) else default


def printable(text: str, longest: int | None = None) -> str:
    """The beginning of a text nobody vouches for, fit for one line: no control characters."""
    return "".join(sign if sign.isprintable() else "?" for sign in text[:longest])


@dataclass(frozen=True)
class Private:
    """A text that may identify somebody, with the forms it may be shown in.

    real: as read; for acting on this machine only.
    local: as shown on the owner's own screen (home as ``~``).
    public: as shown in anything made to be pasted elsewhere.
    """

    real: str
    local: str
    public: str

    @staticmethod
    def plain(text: str) -> Private:
        """A text that identifies nobody."""
        return Private(text, text, text)

    def below(self, name: str) -> Private:
        """What has this name in the folder that this is, by the separator its path has."""
        mark = "\\" if "\\" in self.real else "/"
        return Private(*(f"{form}{mark}{name}" for form in (self.real, self.local, self.public)))
