"""Preparing a change with uv, for environments that have no pip or are uv's own."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name as canonical

from klein_doctor.steps import StepFailed
from klein_doctor.transaction.prepared import (
    Change,
    Layout,
    Pin,
    called,
    children,
    constraints,
)
from klein_doctor.transaction.records import installed
from klein_doctor.transaction.transaction import Transaction

_LINE = re.compile(r"^\s*([+~])\s+([A-Za-z0-9._-]+)==(\S+)(?:\s+\(from (.+)\))?\s*$")


class Uv:
    """uv, as a Tool, for environments that have no pip or are uv's own.

    Raises:
        StepFailed: it is not there.
    """

    def __init__(self, change: Change, here: Path, transaction: Transaction):
        found = shutil.which("uv")
        if found is None:
            raise StepFailed(
                f"{change.python} is used without pip, and uv, which would do, is not on the PATH: "
                "install uv (https://docs.astral.sh/uv), or put its folder on the PATH"
            )
        self._change = change
        self._here = here
        self._transaction = transaction
        self._argv = [found, "pip"]
        self._common = ["--python", change.python]
        if change.index_url:
            self._common += ["--index-url", change.index_url]
        if os.environ.get("UV_NO_CACHE"):  # what is fetched has to lie somewhere until it is used
            self._common += ["--cache-dir", str(here / "cache")]

    def resolve(self, wanted: Sequence[str], requirements: str) -> list[Pin]:
        """What would be installed that is not there as wanted."""
        return self._resolve(wanted, requirements)

    def _resolve(self, wanted: Sequence[str], requirements: str, *more: str) -> list[Pin]:
        if not wanted and not requirements:
            return []
        argv = ["install", "--dry-run", *self._common, *more]
        if self._change.no_deps and "--no-deps" not in more:
            argv.append("--no-deps")
        argv += constraints(self._change, self._here)
        if requirements:
            argv += ["-r", requirements]
        lines: list[str] = []
        self._run(*argv, "--", *wanted, told=lines.append)
        found = [match for line in lines if (match := _LINE.match(line))]
        return [Pin(canonical(m[2]), m[3], m[4] or "") for m in found]

    def resolve_again(self, wanted: Sequence[str]) -> list[Pin]:
        """These versions, although they are there."""
        named = [part for each in wanted for part in ("--reinstall-package", each.split("==")[0])]
        return self._resolve(wanted, "", "--no-deps", *named)

    def fetch(self, pins: Sequence[Pin], layout: Layout) -> tuple[list[Path], int]:
        """Install into a folder of our own, which brings everything into the cache."""
        (self._here / "pins.txt").write_text(
            "".join(f"{pin.line}\n" for pin in pins), encoding="utf-8"
        )
        whole = self._here / "prefix"
        self._run("install", "--no-deps", *self._common, "--prefix", str(whole), *self._listed)
        return _contents(whole, layout)

    def install(self, _: Sequence[Pin]) -> None:
        """Put into the environment what the cache holds."""
        self._run("install", "--no-deps", "--offline", *self._common, *self._listed)

    @property
    def _listed(self) -> list[str]:
        return ["-r", str(self._here / "pins.txt")]

    def _run(self, *argv: str, **options: Any) -> str:
        env = children(self._change)
        return called(self._transaction, "uv", [*self._argv, *argv], env, self._here, **options)


def _contents(whole: Path, layout: Layout) -> tuple[list[Path], int]:
    """The files that will be there, and the bytes that they will take.

    Files that share their content with the cache cost nothing where the environment can, too.
    """
    site = _site(whole)
    device = _device(layout.purelib)
    files: list[Path] = []
    size = 0
    for top, _, names in os.walk(whole):
        for name in names:
            path = Path(top, name)
            status = path.lstat()
            if status.st_nlink < 2 or status.st_dev != device:
                size += status.st_size
            if path != whole / ".lock":
                files.append(_target(path, whole, site, layout))
    return files, size


def _site(whole: Path) -> Path:
    for top, folders, _ in os.walk(whole):
        if any(name.endswith(".dist-info") for name in folders) and installed([Path(top)]):
            return Path(top)
    raise StepFailed("uv put nothing where it was told to")


def _target(path: Path, whole: Path, site: Path, layout: Layout) -> Path:
    if path.is_relative_to(site):
        return layout.purelib / path.relative_to(site)
    inside = path.relative_to(whole)
    if inside.parts[0] in ("bin", "Scripts"):
        return layout.scripts.joinpath(*inside.parts[1:])
    return layout.prefix / inside


def _device(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return folder.stat().st_dev
