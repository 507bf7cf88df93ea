"""Does something stand between this machine and the Hub? Nothing is asked: what is set and what
the last download met is all a diagnosis goes by."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from klein_doctor.absent import lacking
from klein_doctor.installation import PROXIES, Hub, HubTrouble
from klein_doctor.model import Fact, Facts, Harm, Known, Outcome, Private, Repair, Unknown, Verdict
from klein_doctor.outcomes import passed, pip_install, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check
from klein_doctor.routes import route_of

if TYPE_CHECKING:
    from klein_doctor.recipe_hub import HubRules, ReleaseRow, SettingRow, TroubleRow

Judged = list[Outcome] | Outcome | tuple[()]
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_ADDRESS = re.compile(
    r"https?://(?P<host>\[[0-9a-f:.]+\]|[^\s/?#:@\[\]]+)(?::[0-9]{1,5})?(?:/\S*)?", re.IGNORECASE
)
_WITHHELD = "set"  # what a setting is kept as whose value may hold a secret


def _rules() -> HubRules:
    """The tables; their types are not loaded before somebody judges by them."""
    from klein_doctor.recipe_hub import load_hub

    return load_hub()


@check(
    "hub-unreachable",
    family="hub",
    title="Nothing is known to stand between this machine and the Hub",
    harm=Harm.STOPS,
    reads="Where files are missing: the switches that forbid downloads (HF_HUB_OFFLINE, "
    "TRANSFORMERS_OFFLINE), the address in HF_ENDPOINT, which proxies and certificates are named, "
    "and what the last 'klein-doctor download' met. The network itself is not asked.",
    why="The libraries say 'check your internet connection' of a switch, a name that cannot be "
    "looked up, a dead proxy and a foreign certificate alike, half a minute later.",
    by_hand="'curl -I https://huggingface.co' shows which it is: could not resolve host (DNS), "
    "failed to connect (firewall, proxy), certificate problem (a company's own certificate). "
    "Unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE for the download.",
)
def hub_unreachable(facts: Facts, recipe: Recipe) -> Judged:
    title = "Whether the Hub can be reached is not known"
    wanted = lacking(facts, recipe)
    if wanted is False:
        return ()
    if isinstance(wanted, Unknown):
        return unknown(title, wanted)
    rules = _rules()
    found: list[Outcome] = []
    doubt: Unknown | None = None
    if isinstance(facts.settings, Unknown):
        doubt = facts.settings
    else:
        values = _values(facts)
        found += [*_switched_off(values, rules), *_address(values, rules)]
    if isinstance(facts.hub, Unknown):
        doubt = doubt or facts.hub
    else:
        met = _met(facts.hub.value, "hub-unreachable", rules)
        found += [_unreached(*met, facts)] if met is not None else []
    if doubt is not None and not found:
        return unknown(title, doubt)
    # What stops a download comes before what is only unwise.
    found.sort(key=lambda outcome: outcome.verdict is not Verdict.FAIL)
    return found or passed("Nothing is known to stand between this machine and the Hub")


def _switched_off(values: dict[str, Private], rules: HubRules) -> list[Outcome]:
    """huggingface_hub reads the first of its switches that is set, and the others not at all."""
    name = next((row.name for row in rules.offline if row.name in values), "")
    if not name or not rules.truthy(values[name].real):
        return []
    return [
        Outcome(
            Verdict.FAIL,
            f"{name} forbids the download of what is missing",
            f"With {name} set, huggingface_hub and what builds on it send no request at all, and "
            "report files that are not there as if the network were down.",
            evidence={"setting": name},
            fixes=(
                Repair("allow-hub", "config", "manual", f"unset {name}, at least for the download"),
            ),
        )
    ]


def _address(values: dict[str, Private], rules: HubRules) -> list[Outcome]:
    value = values.get("HF_ENDPOINT")
    if value is None or value.real == _WITHHELD:
        return []
    host = _host(value.real)
    if not host:
        return [_no_address(value)]
    if host in {row.name for row in rules.hosts}:
        return []
    quiet = values.get("HF_HUB_DISABLE_IMPLICIT_TOKEN")
    tokens = [name for name in _TOKENS if name in values]
    if not tokens or (quiet is not None and rules.truthy(quiet.real)):
        return []
    return [
        Outcome(
            Verdict.WARN,
            f"{tokens[0]} would be sent to the mirror that HF_ENDPOINT names",
            "Programs that use huggingface_hub send the token to whatever address is set there. "
            "klein-doctor sends none, and the 4B files need none.",
            subject=value,
            evidence={"token": tokens[0]},
            fixes=(
                Repair(
                    "withhold-token",
                    "config",
                    "manual",
                    f"unset {tokens[0]}, or set HF_HUB_DISABLE_IMPLICIT_TOKEN=1",
                ),
            ),
        )
    ]


def _no_address(value: Private) -> Outcome:
    return Outcome(
        Verdict.FAIL,
        "HF_ENDPOINT is no address",
        "It takes the place of https://huggingface.co, and begins like that one with https://. "
        "As it stands no request can be sent.",
        subject=value,
        evidence={"setting": "HF_ENDPOINT"},
        fixes=(
            Repair(
                "mend-endpoint",
                "config",
                "manual",
                "unset HF_ENDPOINT, or give it a whole address such as https://huggingface.co",
            ),
        ),
    )


def _host(text: str) -> str:
    """The host of an address, in small letters; "" where no request can be sent to it."""
    found = _ADDRESS.fullmatch(text.strip())
    return found["host"].lower() if found is not None else ""


def _unreached(last: HubTrouble, row: TroubleRow, facts: Facts) -> Outcome:
    settings = _values(facts)
    proxies = tuple(name for name in PROXIES if name in settings)
    return Outcome(
        Verdict.FAIL,
        f"The last download did not reach the Hub: {row.title}",
        f"{_seen(last)} {row.says}{_named(row, settings)}",
        subject=last.endpoint if last.endpoint.real else None,
        evidence={"cause": last.cause, "when": last.when, "proxies": proxies},
        fixes=(Repair("reach-hub", "config", "manual", row.do),),
    )


@check(
    "hub-access-refused",
    family="hub",
    title="The Hub gives the files out",
    harm=Harm.STOPS,
    reads="Where files are missing: whether the last 'klein-doctor download' was refused (401, "
    "403), told that a repository is gated, or that something is not there (404).",
    why="All repositories of the 4B model are open and need no login. A refusal means another "
    "repository, a mirror, or a token that is no longer valid.",
    by_hand="Open the repository's page in a browser without being logged in. Then try once "
    "without HF_TOKEN, without HF_ENDPOINT and without a stored login (hf auth logout).",
)
def hub_access_refused(facts: Facts, recipe: Recipe) -> Judged:
    title = "Whether the Hub gives the files out is not known"
    wanted = lacking(facts, recipe)
    if wanted is False:
        return ()
    if isinstance(wanted, Unknown):
        return unknown(title, wanted)
    if isinstance(facts.hub, Unknown):
        return unknown(title, facts.hub)
    met = _met(facts.hub.value, "hub-access-refused", _rules())
    if met is None:
        return ()
    last, row = met
    why = row.open if row.open and last.repo in _open_repositories(recipe) else row.says
    return Outcome(
        Verdict.FAIL,
        f"The last download could not have {last.repo}: {row.title}",
        f"{_seen(last)} {why}{_named(row, _values(facts))}",
        subject=last.endpoint if last.endpoint.real else None,
        evidence={"cause": last.cause, "when": last.when, "repository": last.repo},
        fixes=(Repair("gain-access", "config", "manual", row.do),),
    )


def _open_repositories(recipe: Recipe) -> frozenset[str]:
    from klein_doctor.recipe_downloads import load_downloads

    return frozenset(asset.repository for asset in load_downloads(recipe.extra).assets)


@check(
    "hub-client-outdated",
    family="hub",
    title="The Hub's client has no known fault",
    harm=Harm.SLOW,
    reads="The versions of huggingface_hub and hf-xet in the target, and the settings they read: "
    "HF_HUB_ENABLE_HF_TRANSFER, HF_HUB_DISABLE_XET, HF_HUB_DOWNLOAD_TIMEOUT, HF_HUB_ETAG_TIMEOUT.",
    why="Some versions hang in large downloads, and some settings of older ones now do nothing or "
    "end every program that imports huggingface_hub. klein-doctor download needs none of it.",
    by_hand="Update with 'pip install --upgrade hf-xet' in the Python that runs the model, or set "
    "HF_HUB_DISABLE_XET=1 before it starts; unset the settings named above.",
)
def hub_client_outdated(facts: Facts, recipe: Recipe) -> Judged:
    title = "Whether the Hub's client has a known fault is not known"
    if isinstance(facts.settings, Unknown):
        return unknown(title, facts.settings)
    rules, values = _rules(), _values(facts)
    used = route_of(facts, recipe) == "diffusers" or lacking(facts, recipe)
    judged = [(row.always, _setting(row, facts, values, rules)) for row in rules.settings]
    judged += [(False, _release(row, facts, values, rules)) for row in rules.releases]
    found: list[Outcome] = []
    doubts: list[Unknown] = []
    for always, each in judged:
        if each is None or (used is False and not always):
            continue
        if isinstance(each, Unknown):
            doubts.append(each)
        elif isinstance(used, Unknown) and not always:
            doubts.append(used)  # a fault, of something that may not be needed
        else:
            found.append(each)
    if found:
        return found
    if doubts:
        return unknown(title, doubts[0])
    return passed("The Hub's client has no known fault") if used is True else ()


def _setting(
    row: SettingRow, facts: Facts, values: dict[str, Private], rules: HubRules
) -> Outcome | Unknown | None:
    value = values.get(row.name)
    if value is None:
        return None
    wrong = rules.speaks(row, value.real)
    holds = _installed(row.package, row.versions, facts) if wrong else Known(False)
    if isinstance(holds, Unknown):
        return holds
    if not holds.value or (row.lacks and _version(row.lacks, facts) is not None):
        return None
    return Outcome(
        Verdict.WARN,
        row.title,
        row.says,
        evidence={"setting": row.name, "source": row.source},
        fixes=(Repair("mend-setting", "config", "manual", row.do),),
    )


def _release(
    row: ReleaseRow, facts: Facts, values: dict[str, Private], rules: HubRules
) -> Outcome | Unknown | None:
    unless = values.get(row.unless)
    if unless is not None and rules.truthy(unless.real):
        return None
    holds = _installed(row.package, row.versions, facts)
    if isinstance(holds, Unknown):
        return holds
    if not holds.value:
        return None
    version = _version(row.package, facts)
    if isinstance(facts.interpreter, Known):
        command = (*pip_install(facts.interpreter.value), row.wanted)
        fix = Repair("update-hub-client", "packages", "ask", row.do, (command,))
    else:
        fix = Repair("update-hub-client", "packages", "manual", row.do)
    return Outcome(
        Verdict.WARN,
        row.title,
        f"{row.package} {version} is installed. {row.says}",
        evidence={"package": row.package, "version": version, "source": row.source},
        fixes=(fix,),
    )


def _installed(package: str, versions: str, facts: Facts) -> Fact[bool]:
    """Whether a package of such a version is in the target."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    if isinstance(facts.packages, Unknown):
        return facts.packages
    version = _version(package, facts)
    if version is None:
        return Known(False)
    try:
        return Known(SpecifierSet(versions).contains(Version(version), prereleases=True))
    except InvalidVersion:
        return Unknown(f"{package}'s version {version[:40]!r} is not one")


def _version(package: str, facts: Facts) -> str | None:
    return facts.packages.value.version(package) if isinstance(facts.packages, Known) else None


def _values(facts: Facts) -> dict[str, Private]:
    """What is set in the environment, by name; nothing where that could not be read."""
    if isinstance(facts.settings, Unknown):
        return {}
    return {setting.name: setting.value for setting in facts.settings.value}


def _met(hub: Hub, check: str, rules: HubRules) -> tuple[HubTrouble, TroubleRow] | None:
    """The trouble on record and its row, where it is one that a check judges."""
    row = rules.troubles.get(hub.last.cause) if hub.last is not None else None
    if hub.last is None or row is None or row.check != check:
        return None
    return hub.last, row


def _seen(last: HubTrouble) -> str:
    """When it was, and what was said then: it may have passed since."""
    day, _, time = last.when.rstrip("Z").partition("T")
    said = last.says.strip().rstrip(".")
    return f"On {day} at {time[:5]} UTC: {said or 'it was tried'}."


def _named(row: TroubleRow, settings: dict[str, Private]) -> str:
    """The settings that can have to do with it, by name alone: a value may hold a password."""
    there = [name for name in row.names if name in settings]
    if not there:
        return ""
    return f" Set here: {', '.join(there)}."
