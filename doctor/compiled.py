"""Facts about compiled extensions: which cards they hold code for, and whether they can load."""

from __future__ import annotations

from typing import NamedTuple

from klein_doctor.values import Fact, Private, Unknown


class Binary(NamedTuple):
    """One compiled file of an extension.

    file: below the package folder, with /. archs: ``sm_120`` (runs as it is), ``compute_90``
    (translated by the driver), none in a file without GPU code. python: the Python its name is
    for, as ``3.12``, ``abi3`` (any) or "". absent: libraries it asks for that are nowhere.
    undefined: functions of torch it asks for that this torch does not have (the first few);
    Unknown where that could not be compared. torch: what of torch it was built against: ""
    nothing, ``stable`` the C functions alone that every later torch keeps, ``exact`` more.
    """

    file: str
    archs: Fact[tuple[str, ...]]
    python: str
    absent: tuple[str, ...]
    undefined: Fact[tuple[str, ...]]
    torch: Fact[str] = Unknown("not in this report")


class Extension(NamedTuple):
    """A package with code for GPUs. version: "" where no record tells. location: its folder.

    binaries: none where it is Python alone (it compiles when it runs), or where they are lost.
    """

    name: str
    version: str
    location: Private
    binaries: tuple[Binary, ...]
