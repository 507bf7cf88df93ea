"""The way to the Hub, as rows of ``recipes/hub.toml``: switches, troubles, faulty clients."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from klein_doctor.rows import RECIPES, RecipeError, read, rows

_TABLE = "hub.toml"
_WHEN = frozenset({"on", "no-number"})
_CHECKS = frozenset({"hub-unreachable", "hub-access-refused"})


class OnRow(NamedTuple):
    """The values of a setting that mean yes, in capitals."""

    words: tuple[str, ...]
    source: str
    as_of: str


class HostRow(NamedTuple):
    """A host name of the Hub itself."""

    name: str
    source: str
    as_of: str


class OfflineRow(NamedTuple):
    """A switch that forbids every request."""

    name: str
    source: str
    as_of: str


class TroubleRow(NamedTuple):
    """What a download can meet. title: ends a headline. says: why; do: what to do about it.

    open: what it means at a repository of this model, which is open to all; "" where that is the
    same. names: settings to name where they are set.
    """

    cause: str
    check: str
    title: str
    says: str
    open: str
    do: str
    names: tuple[str, ...]
    source: str
    as_of: str


class SettingRow(NamedTuple):
    """A setting that the installed client ignores or stumbles over.

    when: ``on`` (switched on) or ``no-number``. versions: of package, "" for every one; lacks: a
    package that must be absent for it to matter, "" for none. always: also where nothing is to be
    downloaded.
    """

    name: str
    when: str
    package: str
    versions: str
    lacks: str
    always: bool
    title: str
    says: str
    do: str
    source: str
    as_of: str


class ReleaseRow(NamedTuple):
    """Versions of a client that are known to fail; unless: the switch that leaves it unused."""

    package: str
    versions: str
    unless: str
    title: str
    says: str
    wanted: str
    do: str
    source: str
    as_of: str


class HubRules(NamedTuple):
    """The tables. on: what counts as switched on, in capitals."""

    on: tuple[str, ...]
    hosts: tuple[HostRow, ...]
    offline: tuple[OfflineRow, ...]
    troubles: dict[str, TroubleRow]
    settings: tuple[SettingRow, ...]
    releases: tuple[ReleaseRow, ...]

    def speaks(self, row: SettingRow, value: str) -> bool:
        """Whether a value is one that a row is about."""
        return self.truthy(value) if row.when == "on" else not _whole_number(value)

    def truthy(self, text: str) -> bool:
        """Whether huggingface_hub takes a value for yes."""
        return text.upper() in self.on


@lru_cache(maxsize=1)
def load_hub(folder: Path = RECIPES) -> HubRules:
    """Read the tables.

    Raises:
        RecipeError: naming the row that is not what it should be.
    """
    data = read(folder / _TABLE)
    troubles: dict[str, TroubleRow] = {}
    for row in rows(TroubleRow, data, "trouble"):
        if row.cause in troubles or row.check not in _CHECKS:
            raise RecipeError(f"recipe {_TABLE}: {row.cause} stands twice or has an unknown check")
        troubles[row.cause] = row
    settings, releases = rows(SettingRow, data, "setting"), rows(ReleaseRow, data, "release")
    for setting in settings:
        if setting.when not in _WHEN or not _specifier(setting.versions):
            raise RecipeError(f"recipe {_TABLE}: {setting.name} has an unknown word or versions")
    for release in releases:
        if not _specifier(release.versions):
            raise RecipeError(f"recipe {_TABLE}: {release.package} has versions that are none")
    return HubRules(
        on=tuple(word for row in rows(OnRow, data, "on") for word in row.words),
        hosts=rows(HostRow, data, "host"),
        offline=rows(OfflineRow, data, "offline"),
        troubles=troubles,
        settings=settings,
        releases=releases,
    )


def _whole_number(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def _specifier(text: str) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return False
    return True
