"""What is downloaded for each route, as rows of downloads.toml; sizes and digests in files.toml."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path
from typing import NamedTuple

from klein_doctor.recipe_assets import AssetRules, load_assets
from klein_doctor.rows import RECIPES, RecipeError, read, rows

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_TABLE = "downloads.toml"


class LicenseRow(NamedTuple):
    """A licence under which a file may be fetched."""

    name: str
    source: str
    as_of: str


class RefusedRow(NamedTuple):
    """What is never fetched: a pattern of repository names, as fnmatch has them, lower case."""

    pattern: str
    license: str
    says: str
    source: str
    as_of: str


class RepositoryRow(NamedTuple):
    """A repository of the Hub at one commit."""

    id: str
    name: str
    revision: str
    license: str
    source: str
    as_of: str


class AssetRow(NamedTuple):
    """A file to fetch. file, also: ids of rows of files.toml; else bytes and sha256 are here."""

    route: str
    role: str
    repository: str
    source: str
    as_of: str
    variant: str = ""
    file: str = ""
    path: str = ""
    bytes: int = 0
    sha256: str = ""
    also: tuple[str, ...] = ()


class Limits(NamedTuple):
    """How patiently to download; seconds and bytes, see downloads.toml."""

    hub: str
    read_s: int
    slow_bytes_per_s: int
    slow_window_s: int
    tries: int
    first_pause_s: int
    longest_pause_s: int
    retry_after_s: int
    mismatches: int
    at_once: int
    lock_idle_s: int
    orphan_age_s: int
    source: str
    as_of: str


class Asset(NamedTuple):
    """A file to fetch, with everything that is known of it.

    path: in the repository, with slashes. builds: (size in bytes, SHA-256) of every genuine build
    under this name, the one that is fetched first. folder: ComfyUI's category, "" for diffusers.
    """

    route: str
    role: str
    variant: str
    repository: str
    revision: str
    path: str
    name: str
    folder: str
    license: str
    builds: tuple[tuple[int, str], ...]

    @property
    def label(self) -> str:
        """How to call it where several are named."""
        return self.name if self.folder else self.path

    @property
    def size(self) -> int:
        """Bytes of the build that is fetched."""
        return self.builds[0][0]

    @property
    def sha256(self) -> str:
        """Digest of the build that is fetched."""
        return self.builds[0][1]


class Downloads(NamedTuple):
    """The tables."""

    assets: tuple[Asset, ...]
    licenses: tuple[str, ...]
    refused: tuple[RefusedRow, ...]
    limits: Limits
    rules: AssetRules

    def refusal(self, asset: Asset) -> str:
        """Why a file may not be fetched, naming its licence; "" where nothing speaks against it.

        Judged by repository, digest and the licence of its row: a row that calls a refused model
        by a free licence is refused all the same.
        """
        for row in self.refused:
            if fnmatch.fnmatchcase(asset.repository.lower(), row.pattern):
                return f"{row.says} is under the {row.license}"
        for _, digest in asset.builds:
            known = self.rules.digests.get(digest)
            family = self.rules.families[known.family] if known is not None else None
            if family is not None and family.verdict == "refused":
                return f"it is {family.says}, under the {family.license}: {family.why}"
            if family is not None and family.license not in self.licenses:
                return self._license(family.license)
        return self._license(asset.license)

    def _license(self, name: str) -> str:
        if name in self.licenses:
            return ""
        allowed = " and ".join(self.licenses)
        return f"its licence is {name or 'not known'}; only {allowed} is fetched"


def load_downloads(extra: str | Path = "") -> Downloads:
    """Read the tables; extra: a folder whose downloads.toml adds rows or overrides them.

    A repository is overridden by its id, an asset by route, role, variant and path.

    Raises:
        RecipeError: naming the file and row that is not what it should be.
    """
    rules = load_assets(str(extra))
    data = read(RECIPES / _TABLE)
    repositories = {row.id: row for row in rows(RepositoryRow, data, "repository")}
    limits = rows(Limits, data, "limits")[0]
    assets = [_asset(row, repositories, rules) for row in rows(AssetRow, data, "asset")]
    if extra and not _elsewhere(Path(extra)):
        more = read(Path(extra) / _TABLE)
        if "repository" in more:
            repositories.update({r.id: r for r in rows(RepositoryRow, more, "repository")})
        if "limits" in more:
            # The Hub's own host, to which a token may go, is not for a recipe to say.
            limits = rows(Limits, more, "limits")[0]._replace(hub=limits.hub)
        if "asset" in more:
            added = [_asset(row, repositories, rules) for row in rows(AssetRow, more, "asset")]
            by_key = {_key(asset): asset for asset in (*assets, *added)}
            assets = list(by_key.values())
    return Downloads(
        assets=tuple(assets),
        licenses=tuple(row.name for row in rows(LicenseRow, data, "license")),
        refused=rows(RefusedRow, data, "refused"),
        limits=limits,
        rules=rules,
    )


def _elsewhere(extra: Path) -> bool:
    """Whether a recipe folder is about other tables than this one."""
    others = ("torch.toml", "comfyui.toml", "files.toml", "assets.toml")
    return not (extra / _TABLE).exists() and any((extra / name).exists() for name in others)


def _key(asset: Asset) -> tuple[str, ...]:
    """A ComfyUI role is one file; a diffusers role is several."""
    return asset.route, asset.role, asset.variant, "" if asset.folder else asset.path


def _asset(row: AssetRow, repositories: dict[str, RepositoryRow], rules: AssetRules) -> Asset:
    where = f"recipe {_TABLE}: [[asset]] {row.file or row.path}"
    repository = repositories.get(row.repository)
    files = {file.id: file for file in rules.files}
    if repository is None or not {*filter(None, (row.file, *row.also))} <= set(files):
        raise RecipeError(f"{where}: no such repository or file")
    known = files.get(row.file)
    path = row.path or (known.path if known is not None else "")
    first = (known.bytes, known.sha256) if known is not None else (row.bytes, row.sha256)
    others = tuple((files[name].bytes, files[name].sha256) for name in row.also)
    folder = _folder(row, rules) if row.route == "comfyui" else ""
    asset = Asset(
        row.route, row.role, row.variant, repository.name, repository.revision, path,
        path.rpartition("/")[2], folder, repository.license, (first, *others),
    )  # fmt: skip
    sound = all(size > 0 and _SHA256.fullmatch(digest) for size, digest in asset.builds)
    named = _REPOSITORY.fullmatch(repository.name) and _COMMIT.fullmatch(repository.revision)
    if not (sound and named and _plain(path)):
        raise RecipeError(f"{where}: size, digest, repository, commit or path is not sound")
    return asset


def _folder(row: AssetRow, rules: AssetRules) -> str:
    family = next((f for f in rules.families.values() if f.role == row.role), None)
    if family is None:
        raise RecipeError(f"recipe {_TABLE}: no family of files has the role {row.role!r}")
    return family.belongs_in


def _plain(path: str) -> bool:
    """Whether a path in a repository stays below it, on every system."""
    parts = path.split("/")
    return bool(path) and not any(
        part in ("", ".", "..") or set(part) & set('\\:*?"<>|\0') for part in parts
    )
