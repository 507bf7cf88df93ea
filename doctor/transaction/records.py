"""Installed distributions as their own records tell them: which there are, which files are theirs.

Nothing is run or imported: ``*.dist-info`` folders and their RECORD are read.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from packaging.utils import canonicalize_name as canonical

from klein_doctor.steps import StepFailed
from klein_doctor.values import printable

_LONGEST = 64 << 20  # of a RECORD, in bytes: torch's has 2 MiB
_KINDS = (".dist-info", ".egg-info", ".egg-link")
# Conda's names of what others call otherwise.
_CONDA = {"torch": ("pytorch", "pytorch-cpu", "pytorch-gpu", "libtorch")}


class Installed(NamedTuple):
    """A distribution in a folder of packages.

    name: as indexes spell it. info: its ``.dist-info`` (or older) folder or file.
    installer: pip, uv, conda or "". editable: the folder it is developed in, "" for none.
    """

    name: str
    version: str
    info: Path
    installer: str = ""
    editable: str = ""

    @property
    def site(self) -> Path:
        """The folder of packages it lies in."""
        return self.info.parent

    def __str__(self) -> str:
        return printable(f"{self.name} {self.version}", 120)


def installed(folders: Iterable[Path]) -> list[Installed]:
    """Every distribution that these folders of packages hold, damaged ones, too."""
    found = []
    for folder in dict.fromkeys(folders):
        try:
            entries = sorted(os.listdir(folder))
        except OSError:
            continue
        for entry in entries:
            # "~orch-2.9.dist-info" is what pip leaves of an uninstallation that failed.
            if entry.endswith(_KINDS) and not entry.startswith(("~", ".", "-")):
                found.append(_read(folder / entry))
    return found


def _read(info: Path) -> Installed:
    stem = info.name.rpartition(".")[0]
    name, _, version = stem.partition("-")
    fields = _headers(info)
    installer = _text(info / "INSTALLER", 100).strip()
    return Installed(
        canonical(fields.get("name", name)),
        fields.get("version", re.sub(r"-py\d.*$", "", version)),
        info,
        installer.split("\n")[0][:40].lower(),
        _editable(_text(info / "direct_url.json", 1 << 16)),
    )


def _headers(info: Path) -> dict[str, str]:
    about = info
    if info.is_dir():
        about = info / ("METADATA" if info.suffix == ".dist-info" else "PKG-INFO")
    found: dict[str, str] = {}
    if info.suffix == ".egg-link":
        return found
    for line in _text(about, 1 << 16).splitlines():
        if not line.strip():
            break
        key, colon, value = line.partition(":")
        if colon and key.lower() in ("name", "version") and value.strip():
            found.setdefault(key.lower(), value.strip())
    return found


def _editable(origin: str) -> str:
    try:
        told = json.loads(origin)
        return str(told.get("url", "?")) if told["dir_info"]["editable"] is True else ""
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""


def _text(path: Path, longest: int) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(longest).decode("utf-8", "replace")
    except OSError:
        return ""


def files_of(one: Installed, within: Sequence[Path]) -> list[Path]:
    """The files of a distribution that are there, with what Python compiled of its modules.

    within: folders outside of which nothing of it may lie.

    Raises:
        StepFailed: it is not pip's or uv's to move, or its files cannot be told.
    """
    refuse_if_not_ours(one)
    record = one.info / "RECORD"
    if not record.is_file() and not (one.info / "METADATA").exists():
        return _all_below(one.info)  # what an uninstallation left over
    claimed = claims(one)
    if not claimed:
        raise StepFailed(
            f"{one} in {one.site} keeps no list of its files (RECORD): take it out by hand "
            f"(pip install --force-reinstall --no-deps {one.name}, or delete its folder)"
        )
    tops = [os.path.join(os.path.normpath(top), "") for top in within]
    for path in claimed:
        if not path.startswith(tuple(tops)):
            raise StepFailed(
                f"{record} lists {printable(path, 200)}, which is outside of the environment; "
                "reinstall this package by hand"
            )
    found = {path for path in claimed if os.path.islink(path) or os.path.isfile(path)}
    found.update(str(path) for path in _all_below(one.info))
    return [Path(path) for path in sorted(found | _compiled(found))]


def refuse_if_not_ours(one: Installed) -> None:
    """Raises StepFailed where a distribution is not one that pip or uv copied here."""
    if one.installer == "conda":
        raise StepFailed(f"{one} in {one.site} was installed by conda: change it with conda")
    if one.editable or one.info.suffix == ".egg-link":
        raise StepFailed(
            f"{one} is installed from a folder in which it is developed "
            f"({printable(one.editable or str(one.info), 200)}): change it there"
        )
    if one.info.suffix != ".dist-info":
        raise StepFailed(
            f"{one} was installed in an old way that keeps no list of its files ({one.info}): "
            f"take it out by hand (pip uninstall {one.name})"
        )


def claims(one: Installed) -> list[str]:
    """The absolute paths a RECORD lists, without those of compiled files; [] where it has none."""
    rows = csv.reader(_text(one.info / "RECORD", _LONGEST).splitlines())
    site, found = str(one.site), []
    try:
        for row in rows:
            if not row or not row[0] or "\0" in row[0] or row[0].endswith(".pyc"):
                continue
            path = os.path.join(site, row[0])
            # Only few are not plain, and this is done for each of 50,000 names.
            if ".." in row[0] or "./" in row[0] or "\\" in row[0] or os.path.isabs(row[0]):
                path = os.path.normpath(path)
            elif os.sep != "/":
                path = path.replace("/", os.sep)
            found.append(path)
    except csv.Error:
        return []
    return found


def _all_below(folder: Path) -> list[Path]:
    return [Path(top, name) for top, _, names in os.walk(folder) for name in names]


def _compiled(files: Iterable[str]) -> set[str]:
    """The ``__pycache__`` files of these modules."""
    modules: dict[str, set[str]] = {}
    for path in files:
        if path.endswith(".py"):
            folder, name = os.path.split(path)
            modules.setdefault(folder, set()).add(name[:-3])
    return {path for folder, names in modules.items() for path in compiled_in(folder, names)}


def compiled_in(folder: str, modules: set[str]) -> list[str]:
    """The compiled files of these modules (names without ``.py``) of a folder."""
    cache = os.path.join(folder, "__pycache__")
    try:
        entries = os.listdir(cache)
    except OSError:
        return []
    found = []
    for entry in entries:
        # module.cpython-313.pyc, module.cpython-313.opt-1.pyc
        match = re.fullmatch(r"(.+?)\.[A-Za-z0-9_-]+(?:\.opt-\w+)?\.pyc(?:\.\d+)?", entry)
        if match and match.group(1) in modules:
            found.append(os.path.join(cache, entry))
    return found


def conda_record(prefix: Path, name: str) -> str:
    """The name of conda's own record of a package, "" where it has none."""
    wanted = {name, *_CONDA.get(name, ())}
    try:
        entries = os.listdir(prefix / "conda-meta")
    except OSError:
        return ""
    for entry in entries:
        match = re.fullmatch(r"(.+)-[^-]+-[^-]+\.json", entry)
        if match and canonical(match.group(1)) in wanted:
            return entry
    return ""
