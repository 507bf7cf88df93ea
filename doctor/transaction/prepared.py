"""The values of a change of packages, and what the programs that make it are told."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name as canonical

from klein_doctor.steps import StepFailed
from klein_doctor.transaction.records import Installed
from klein_doctor.transaction.transaction import Transaction
from klein_doctor.values import printable

# pip takes a list of nothing but a space as an empty one, which the user's pip.conf does not fill.
_NONE = " "


class Change(NamedTuple):
    """What is wanted of a target's packages.

    python: the target's interpreter. install: requirements such as ``torch==2.14.1+cu130``.
    remove: distributions to take out. index_url: the only index, "" as the tool is configured.
    keep: constraint lines in force while resolving. requirements: a file of more requirements.
    tool: pip or uv. isolated: packages of the user's own do not count (``python -s``).
    again: reinstall what is named even if that version is there. no_deps: nothing else.
    """

    python: str
    install: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    index_url: str = ""
    keep: tuple[str, ...] = ()
    requirements: str = ""
    tool: str = "pip"
    isolated: bool = False
    again: bool = False
    no_deps: bool = False


class Layout(NamedTuple):
    """Where an environment keeps what. path: every folder modules are imported from."""

    prefix: Path
    purelib: Path
    platlib: Path
    scripts: Path
    include: Path
    path: tuple[Path, ...]
    user_site: str = ""
    user_base: str = ""
    venv: bool = False

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders of packages that belong to the environment."""
        own = {str(self.purelib), str(self.platlib), self.user_site}
        return tuple(folder for folder in self.path if str(folder) in own) or (self.purelib,)

    @property
    def tops(self) -> tuple[Path, ...]:
        """The folders outside of which no package of the environment has anything."""
        user = (Path(self.user_base),) if self.user_base else ()
        return tuple(dict.fromkeys((self.prefix, self.purelib, self.platlib, self.scripts, *user)))

    @property
    def homes(self) -> tuple[Path, ...]:
        """What files are moved out of: each on one file system, narrow ones before wide ones."""
        found: list[Path] = []
        for top in self.tops:
            wide = [each for each in found if top.is_relative_to(each)]
            if top.is_dir() and not (wide and top.stat().st_dev == wide[0].stat().st_dev):
                found.append(top)
        return tuple(sorted(found, key=lambda top: -len(top.parts)))


class Pin(NamedTuple):
    """A distribution that a resolution came to.

    where: its address if it was named by one. hashes: lines such as ``sha256:...``.
    """

    name: str
    version: str
    where: str = ""
    hashes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def line(self) -> str:
        """As a requirement."""
        return f"{self.name} @ {self.where}" if self.where else f"{self.name}=={self.version}"


class Prepared(NamedTuple):
    """What lies ready: pins, the files they will become, their bytes, and what installs them."""

    pins: tuple[Pin, ...]
    files: tuple[Path, ...]
    bytes: int
    install: Callable[[], None]


class Tool(Protocol):
    """A program that installs packages. Every method raises StepFailed, as the program says."""

    def resolve(self, wanted: Sequence[str], requirements: str) -> list[Pin]:
        """What would be installed that is not there as wanted."""

    def resolve_again(self, wanted: Sequence[str]) -> list[Pin]:
        """These versions, although they are there."""

    def fetch(self, pins: Sequence[Pin], layout: Layout) -> tuple[list[Path], int]:
        """Bring them to this machine: the files they will become, and their bytes."""

    def install(self, pins: Sequence[Pin]) -> None:
        """Put in what was fetched, without network."""


def children(change: Change) -> dict[str, str]:
    """The environment of the programs; an empty value takes a variable out.

    The user's proxies, certificates and configuration stay; where they would put what is
    installed elsewhere, and other indexes than the one that is named, do not.
    """
    env = {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1" if change.isolated else "",
        "PYTHONUTF8": "1",
        "NO_COLOR": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_PROGRESS_BAR": "off",
        "PIP_NO_COLOR": "1",
        "PIP_USER": "0",
        "PIP_TARGET": "",
        "PIP_PREFIX": "",
        "PIP_ROOT": "",
        "PIP_DRY_RUN": "",
        "PIP_REPORT": "",
        "PIP_REQUIRE_VIRTUALENV": "0",
        "UV_NO_PROGRESS": "1",
        "UV_SYSTEM_PYTHON": "",
        "UV_PYTHON": "",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_COMPILE_BYTECODE": "",
        "UV_OFFLINE": "",
    }
    if change.index_url:
        env |= {"PIP_EXTRA_INDEX_URL": _NONE, "PIP_FIND_LINKS": _NONE, "PIP_NO_INDEX": "0"}
        gone = ("UV_EXTRA_INDEX_URL", "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
        env |= dict.fromkeys((*gone, "UV_FIND_LINKS", "UV_NO_INDEX", "UV_TORCH_BACKEND"), "")
    return env


def constraints(change: Change, here: Path) -> list[str]:
    """The arguments that keep what is to stay."""
    if not change.keep:
        return []
    path = here / "keep.txt"
    path.write_text("\n".join(change.keep) + "\n", encoding="utf-8")
    return ["-c", str(path)]


def called(
    transaction: Transaction, tool: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path,
    told: Callable[[str], None] | None = None, limit_s: float = 3600.0,
) -> str:  # fmt: skip
    """Run pip or uv; what it says on failing is told under its own name.

    Raises:
        StepFailed: it failed; again where the network is the likely reason.
    """
    lines: list[str] = []

    def heard(line: str) -> None:
        lines.append(line)
        if told is not None:
            told(line)

    try:
        return transaction.run(argv, env=env, cwd=cwd, told=heard, limit_s=limit_s)
    except StepFailed as error:
        says = error.says.removeprefix(f"{Path(argv[0]).name} says: ")
        if says == error.says:
            raise
        away = next((line for line in lines if _UNREACHED.search(line)), None)
        if away is not None and "no matching distribution" in says.lower():
            reason = _REASON.search(away)
            told_why = f" ({printable(reason[1], 100)})" if reason else ""
            says = f"the package index could not be reached{told_why}: {says}"
        again = away is not None or any(word in says.lower() for word in _NETWORK)
        raise StepFailed(f"{tool} says: {says}{_why(lines)}", again=again) from error


def _why(lines: Sequence[str]) -> str:
    """What pip and uv print below their error: which packages do not go together."""
    found: list[str] = []
    for number, line in enumerate(lines):
        if line.startswith("The conflict is caused by"):
            found = [each.strip() for each in itertools.takewhile(str.strip, lines[number + 1 :])]
        elif line.strip().startswith(("cause: ", "Caused by: ", "\u2570\u2500\u25b6 ")):
            rest = itertools.takewhile(str.strip, lines[number:])
            found.append(" ".join(each.strip(" \u2570\u2500\u25b6") for each in rest))
    text = "; ".join(dict.fromkeys(found))
    return f" ({printable(text, 400)})" if text else ""


_NETWORK = (
    "connection", "timed out", "incompleteread", "incomplete", "temporary failure", "broken",
    "max retries", "failed to fetch", "failed to download", "unreachable", "do not match the hash",
)  # fmt: skip


# What pip says on its way of an index that it does not reach, before it ends with "no matching
# distribution", as if the package did not exist.
_UNREACHED = re.compile(
    r"after connection broken by|Could not fetch URL|Cannot connect to proxy|"
    r"Failed to establish a new connection|name resolution"
)
_REASON = re.compile(r"\[Errno -?\d+\] ([\w ,.-]+)")


def named(change: Change) -> list[str]:
    """The names of what is to be installed; what is an address or a path has none."""
    found: list[str] = []
    for each in change.install:
        with contextlib.suppress(InvalidRequirement):
            found.append(canonical(Requirement(each).name))
    return found


def once_more(change: Change, pins: Sequence[Pin], there: Sequence[Installed]) -> list[str]:
    """The versions that are there of what is named and would not change by itself."""
    changing = {pin.name for pin in pins}
    versions = {one.name: one.version for one in reversed(there)}
    found = []
    for name in named(change):
        if name not in changing and name in versions:
            found.append(f"{name}=={versions[name]}")
    return found
