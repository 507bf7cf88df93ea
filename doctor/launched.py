"""Facts about the environment that ComfyUI is started with, as its launchers name it."""

from __future__ import annotations

from typing import NamedTuple

from klein_doctor.values import Private


class Started(NamedTuple):
    """The environment that a launcher names, or the one around the interpreter that it calls.

    line: where its file names it. there: it holds an interpreter. activated: it is switched on by
    its activation script. plain: the line names the folder itself, so that another can be written
    in its place.
    """

    folder: Private
    python: Private
    line: int
    there: bool
    activated: bool
    plain: bool


class Moved(NamedTuple):
    """Where an environment leads that was moved or copied after it was made.

    activates: the folder that its activation script switches on where that is another one, else
    None; there: that one holds an interpreter. pip: the interpreter that its own pip starts where
    that is another one, else None.
    """

    activates: Private | None
    there: bool
    pip: Private | None
