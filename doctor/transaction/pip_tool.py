"""Preparing a change with the target's own pip."""

from __future__ import annotations

import configparser
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
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
from klein_doctor.transaction.transaction import Transaction

_FIRST = (22, 2)  # the pip that learnt --report


class Pip:
    """The target's own pip, as a Tool.

    Raises:
        StepFailed: it is too old.
    """

    def __init__(self, change: Change, here: Path, transaction: Transaction):
        self._change = change
        self._here = here
        self._transaction = transaction
        self._argv = [change.python, *(["-s"] if change.isolated else []), "-m", "pip"]
        self._index = ["--index-url", change.index_url] if change.index_url else []
        self._refuse_if_too_old()

    def _refuse_if_too_old(self) -> None:
        said = self._run("--version", limit_s=120)
        match = re.match(r"pip (\d+)\.(\d+)", said)
        if match and (int(match.group(1)), int(match.group(2))) < _FIRST:
            raise StepFailed(
                f"pip {match.group(1)}.{match.group(2)} of {self._change.python} is too old to "
                f"tell what it would do: run {' '.join(self._argv)} install --upgrade pip first"
            )

    def resolve(self, wanted: Sequence[str], requirements: str) -> list[Pin]:
        """What would be installed that is not there as wanted."""
        return self._resolve(wanted, requirements)

    def resolve_again(self, wanted: Sequence[str]) -> list[Pin]:
        """These versions, although they are there."""
        return self._resolve(wanted, "", forced=True)

    def _resolve(self, wanted: Sequence[str], requirements: str, forced: bool = False) -> list[Pin]:
        if not wanted and not requirements:
            return []
        report = self._here / f"report-{'again' if forced else 'first'}.json"
        argv = ["install", "--dry-run", "--quiet", "--report", str(report), *self._index]
        if forced or self._change.no_deps:
            argv.append("--no-deps")
        if forced:
            argv.append("--force-reinstall")
        argv += constraints(self._change, self._here)
        if requirements:
            argv += ["-r", requirements]
        self._run(*argv, "--", *wanted)
        try:
            told = json.loads(report.read_text("utf-8"))
            return [_pin(each) for each in told["install"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StepFailed("pip's report of what it would do cannot be read") from error

    def fetch(self, pins: Sequence[Pin], layout: Layout) -> tuple[list[Path], int]:
        """The wheels of these pins, built from sources where there are none, by files and bytes."""
        wheels = self._here / "wheels"
        wheels.mkdir()
        hashed = [pin for pin in pins if pin.hashes and not pin.where]
        for name, some in (("hashed", hashed), ("other", [p for p in pins if p not in hashed])):
            if not some:
                continue
            rows = [
                " ".join([pin.line, *(f"--hash={each}" for each in pin.hashes if pin in hashed)])
                for pin in some
            ]
            listed = self._here / f"{name}.txt"
            listed.write_text("\n".join(rows) + "\n", encoding="utf-8")
            argv = ["wheel", "--quiet", "--no-deps", *self._index, "--wheel-dir", str(wheels)]
            self._run(*argv, "-r", str(listed))
        found = {_identity(path): path for path in wheels.glob("*.whl")}
        for pin in pins:
            if (pin.name, pin.version) not in found:
                raise StepFailed(f"pip did not fetch {pin}, which it had resolved")
        return _contents([found[pin.name, pin.version] for pin in pins], layout)

    def install(self, pins: Sequence[Pin]) -> None:
        """Put the wheels in: no network, no index; by name, so that no address is written down."""
        listed = self._here / "pins.txt"
        listed.write_text("".join(f"{p.name}=={p.version}\n" for p in pins), encoding="utf-8")
        argv = ["install", "--quiet", "--no-deps", "--no-index", "--ignore-installed"]
        argv += ["--no-compile", "--no-warn-script-location", "--only-binary", ":all:"]
        argv += ["--find-links", str(self._here / "wheels"), "-r", str(listed)]
        none = {"PIP_FIND_LINKS": " ", "PIP_CONSTRAINT": " ", "PIP_REQUIRE_HASHES": "0"}
        self._run(*argv, env=none)

    def _run(self, *argv: str, env: dict[str, str] | None = None, **options: Any) -> str:
        whole = {**children(self._change), **(env or {})}
        return called(self._transaction, "pip", [*self._argv, *argv], whole, self._here, **options)


def _pin(told: Any) -> Pin:
    """A row of the report's ``install``."""
    download = told["download_info"]
    archive = download.get("archive_info") or {}
    hashes = [f"{kind}:{value}" for kind, value in (archive.get("hashes") or {}).items()]
    if not hashes and archive.get("hash"):  # until pip 22.3
        hashes = [archive["hash"].replace("=", ":", 1)]
    hashes = [each for each in hashes if each.startswith(("sha256:", "sha384:", "sha512:"))]
    return Pin(
        canonical(told["metadata"]["name"]), told["metadata"]["version"],
        _address(download) if told.get("is_direct") else "", tuple(hashes),
    )  # fmt: skip


def _address(download: Any) -> str:
    version = download.get("vcs_info")
    if version:
        return f"{version['vcs']}+{download['url']}@{version['commit_id']}"
    return str(download["url"])


def _identity(path: Path) -> tuple[str, str]:
    try:
        name, version, _, _ = parse_wheel_filename(path.name)
    except InvalidWheelFilename:
        return path.name, ""
    return str(name), str(version)


def _contents(wheels: Sequence[Path], layout: Layout) -> tuple[list[Path], int]:
    """The files that wheels will become, and their bytes."""
    files: list[Path] = []
    size = 0
    for path in wheels:
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    size += entry.file_size
                    if not entry.is_dir():
                        files += _targets(entry.filename, path.name, layout)
                files += _entry_points(archive, layout)
        except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
            raise StepFailed(f"{path.name} is damaged: {error}") from error
    return files, size


def _targets(name: str, wheel: str, layout: Layout) -> Iterator[Path]:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise StepFailed(f"{wheel} holds a file outside of itself ({name[:100]})")
    if not pure.parts[0].endswith(".data") or len(pure.parts) < 3:
        yield from {folder.joinpath(*pure.parts) for folder in (layout.purelib, layout.platlib)}
        return
    scheme, rest = pure.parts[1], pure.parts[2:]
    if scheme == "headers":
        # pip: include/site/python3.13/NAME; the folder is watched as a whole.
        yield layout.prefix / "include" / "site" / "x"
        return
    tops = {
        "purelib": layout.purelib, "platlib": layout.platlib,
        "scripts": layout.scripts, "data": layout.prefix,
    }  # fmt: skip
    if scheme in tops:
        yield tops[scheme].joinpath(*rest)


def _entry_points(archive: zipfile.ZipFile, layout: Layout) -> Iterator[Path]:
    """The commands that are made from a wheel's list of them."""
    table = next((n for n in archive.namelist() if n.endswith(".dist-info/entry_points.txt")), "")
    if not table:
        return
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(archive.read(table).decode("utf-8"))
    except configparser.Error:
        return
    for section in ("console_scripts", "gui_scripts"):
        for name in parser[section] if parser.has_section(section) else ():
            suffixes = (".exe", "-script.py", "-script.pyw") if sys.platform == "win32" else ("",)
            for suffix in suffixes:
                if os.path.basename(name) == name:
                    yield layout.scripts / (name + suffix)
